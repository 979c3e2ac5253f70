"""What a rasteriser returns: for every pixel the triangle that is seen there, and where on it."""

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

Rule = Literal["standard", "pytorch3d"]
Backend = Literal["auto", "reference", "cpu", "cuda"]
RULES: tuple[Rule, ...] = ("standard", "pytorch3d")

BACKENDS: tuple[Backend, ...] = ("auto", "reference", "cpu", "cuda")

EMPTY = -1
DEFAULT_Z_OFFSET = 10.0


@dataclass(frozen=True)
class Fragments:
    """The visible surface of a batch of meshes, one entry per pixel.

    Attributes:
        triangle: int32 ``[B, H, W]``, index into ``faces``, or -1 where nothing is seen.
        barycentrics: ``[B, H, W, 3]``, screen-space weights of the triangle's corners in the order of its
            face, 0 where nothing is seen. They sum to 1 (rule ``pytorch3d``: to A / (A + 1e-8)). Part of the
            autograd graph when the vertices require gradients. dtype of the vertices.
        depth: ``[B, H, W]``, z as given (smaller is nearer), +inf where nothing is seen. Differentiable like
            the barycentrics.
        backend: what drew them. `interpolate` keeps to it: the CUDA kernel after ``cuda``, else plain torch;
            ``auto`` goes by the device.
    """

    triangle: Tensor
    barycentrics: Tensor
    depth: Tensor
    backend: Backend = "auto"

    @property
    def covered(self) -> Tensor:
        """Bool ``[B, H, W]``: true where a triangle is seen."""
        return self.triangle >= 0

    @property
    def height(self) -> int:
        """H."""
        return int(self.triangle.shape[1])

    @property
    def width(self) -> int:
        """W."""
        return int(self.triangle.shape[2])
