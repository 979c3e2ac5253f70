"""Other rasterisers, as far as they are installed, on the same problem as ours."""

import importlib.util
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

Call = Callable[[], object]


class Peer(NamedTuple):
    """A rasteriser: (vertices, faces, attributes, size) -> calls that rasterise alone, and with channels."""

    name: str
    calls: Callable[[Tensor, Tensor, Tensor, int], tuple[Call, Call]]


def importable() -> list[Peer]:
    """Those that this machine has."""
    known = (Peer("nvdiffrast", _nvdiffrast), Peer("pytorch3d", _pytorch3d))
    return [peer for peer in known if importlib.util.find_spec(peer.name)]


def _nvdiffrast(vertices: Tensor, faces: Tensor, attributes: Tensor, size: int) -> tuple[Call, Call]:
    import nvdiffrast.torch as dr

    context = dr.RasterizeCudaContext()
    clip = torch.nn.functional.pad(vertices, (0, 1), value=1.0)

    def alone() -> Tensor:
        return dr.rasterize(context, clip, faces, (size, size))[0]

    def with_channels() -> Tensor:
        return dr.interpolate(attributes, alone(), faces)[0]

    return alone, with_channels


def _pytorch3d(vertices: Tensor, faces: Tensor, attributes: Tensor, size: int) -> tuple[Call, Call]:
    from pytorch3d.ops import interpolate_face_attributes
    from pytorch3d.renderer.mesh import rasterize_meshes
    from pytorch3d.structures import Meshes

    points = vertices * vertices.new_tensor([-1.0, -1.0, 1.0]) + vertices.new_tensor([0.0, 0.0, 10.0])
    meshes = Meshes(points, faces.long()[None].expand(len(points), -1, -1))
    corners = attributes[:, faces.long()].flatten(0, 1)  # [B F, 3, D]

    def alone() -> tuple[Tensor, ...]:
        return rasterize_meshes(
            meshes, (size, size), blur_radius=0.0, faces_per_pixel=1, perspective_correct=False
        )

    def with_channels() -> Tensor:
        found, _, barycentrics, _ = alone()
        return interpolate_face_attributes(found, barycentrics, corners)

    return alone, with_channels
