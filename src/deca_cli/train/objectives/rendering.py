"""Rendered pictures with gradients, for the objectives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from deca_cli.errors import ModelError
from deca_cli.render import passes
from deca_cli.render.interpolate import interpolate
from deca_cli.render.rasterize import rasterize
from deca_cli.render.uv import texture_grid

if TYPE_CHECKING:
    from deca_cli.heads.model import HeadModel
    from deca_cli.networks.deca import Deca
    from deca_cli.render.fragments import Rule

RULE: Rule = "pytorch3d"  # training always used its barycentrics (spec section 6.2)


@dataclass(frozen=True, eq=False)
class Rendered:
    """What the objectives need of every pixel; 0 in the background.

    Attributes:
        alpha: [N, 1, S, S], 1 where the head is seen.
        normals: [N, 3, S, S], head frame, interpolated.
        grid: [N, S, S, 2], where the pixel looks into the UV map; (0, 0), its middle, in the background.
        mask: [N, 1, S, S], the head's mask of the face at that place, the middle's in the background; no gradient.
    """

    alpha: Tensor
    normals: Tensor
    grid: Tensor
    mask: Tensor

    @property
    def face(self) -> Tensor:
        """[N, 1, S, S], the mask where the head is seen, 0 in the background."""
        return self.mask * self.alpha


def render(head: HeadModel, projected: Tensor, normals: Tensor, size: int) -> Rendered:
    """Draw heads.

    Args:
        head: whose mesh, chart and mask.
        projected: [N, V, 3] NDC.
        normals: [N, V, 3] head frame.
        size: S.
    """
    fragments = rasterize(projected, head.faces, size, size, rule=RULE)
    grid = texture_grid(fragments, head.uv_coordinates, head.uv_faces)
    mask = head.face_eye_mask.expand(len(projected), 1, -1, -1)
    return Rendered(
        alpha=fragments.covered[:, None].to(projected.dtype),
        normals=interpolate(fragments, head.faces, normals),
        grid=grid,
        mask=sample(mask, grid.detach()),
    )


def sample(texture: Tensor, grid: Tensor) -> Tensor:
    """Look [N, D, U, U] up at [N, S, S, 2], bilinear: [N, D, S, S]."""
    return F.grid_sample(texture, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


@torch.no_grad()
def grey_heads(head: HeadModel, vertices: Tensor, normals: Tensor, projected: Tensor, size: int) -> Tensor:
    """[N, 3, S, S] grey heads to look at."""
    fragments = rasterize(projected, head.faces, size, size, rule=RULE)
    surface = passes.read_surface(
        fragments, head.faces, head.uv_coordinates, head.uv_faces, vertices, normals, projected
    )
    return passes.shape_pass(surface)


def check_colours(deca: Deca, what: str, off: str) -> None:
    """Refuse to compare colours with a model that has none.

    Raises:
        ModelError: no albedo or no light.
    """
    components = 0 if deca.albedo is None else deca.albedo.components
    if not components or deca.sizes.albedo != components or not deca.sizes.light:
        raise ModelError(
            f"{what} compares colours, but the model with the head `{deca.head.name}` has {components} albedo components in "
            f"its head, {deca.sizes.albedo} in its encoder's answer and {deca.sizes.light} light coefficients. Use a head "
            f"with an albedo model and an encoder that answers albedo and light, or train without: {off}."
        )
