"""Colour every pixel of heads in plain torch: runs on a GPU, and says what `shade` has to give."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from deca_cli.animate.looks import ALBEDO, DETAIL, GREY, NORMALS, SHAPE, TEXTURED
from deca_cli.animate.shade import LEAST_SHADE, RELIEF, lifts_clay
from deca_cli.export.clay import lifted
from deca_cli.render.interpolate import interpolate
from deca_cli.render.passes import SHAPE_FACING
from deca_cli.render.uv import texture_grid

if TYPE_CHECKING:
    from deca_cli.animate.looks import Light
    from deca_cli.render.fragments import Fragments


def brightness(normals: Tensor, light: Light) -> Tensor:
    """[B, 3, H, W] normals -> [B, 1, H, W]."""
    lights = torch.from_numpy(light.lights).to(normals)
    cosine = torch.einsum("ld,bdhw->blhw", lights[:, :3], normals).clamp(0, 1)
    return light.ambient + torch.einsum("l,blhw->bhw", lights[:, 3], cosine)[:, None]


def shade_plain(
    fragments: Fragments,
    faces: Tensor,  # [F, 3]
    uv_coordinates: Tensor,  # [T, 2]
    uv_faces: Tensor,  # [F, 3]
    normals: Tensor,  # [B, V, 3]
    detail: Tensor | None,  # [B, 3, u, u]
    texture: Tensor | None,  # float [3, U, U] in 0..1
    light: Light,
    kind: str,
    opacity: Tensor | None = None,  # [1, u, u] in 0..1
    facing_limit: Tensor | None = None,  # [B, V], cosine from which surface facing away is not drawn
    clay_light: Tensor | None = None,  # [V], share of the light that clay gets
) -> tuple[Tensor, Tensor]:
    """Colours [B, 3, H, W] in 0..1, not clamped, times the mask [B, 1, H, W] of where the head is seen."""
    coarse = interpolate(fragments, faces, normals)
    limit = (
        SHAPE_FACING if facing_limit is None else interpolate(fragments, faces, facing_limit[..., None])[:, 0]
    )
    mask = (fragments.covered & (-coarse[:, 2] < limit))[:, None].to(coarse.dtype)
    fine = coarse
    grid = None
    if (
        opacity is not None
        or (detail is not None and kind in {DETAIL, TEXTURED, NORMALS})
        or kind in {TEXTURED, ALBEDO}
    ):
        grid = texture_grid(fragments, uv_coordinates, uv_faces)
    if opacity is not None:
        mask = mask * _look_up(opacity, grid)
    if detail is not None and kind in {DETAIL, TEXTURED, NORMALS}:
        fine = F.grid_sample(
            detail, _needed(grid), mode="bilinear", padding_mode="border", align_corners=False
        )
    if kind in {SHAPE, DETAIL}:
        grey = GREY * brightness(fine, light)
        if clay_light is not None:
            grey = grey * interpolate(fragments, faces, clay_light[:, None])
            grey = lifted(grey) if lifts_clay(light) else grey
        return grey.expand(-1, 3, -1, -1) * mask, mask
    if kind == NORMALS:
        length = fine.norm(dim=1, keepdim=True).clamp(min=1e-6)
        return (fine / length + 1) / 2 * mask, mask
    if texture is None:
        raise ValueError(f"a texture is needed to draw {kind}")
    colour = _look_up(texture, grid)
    if kind == TEXTURED and light.on_texture:
        colour = colour * brightness(fine, light)
    elif kind == TEXTURED and detail is not None:
        relief = brightness(fine, light) / brightness(coarse, light).clamp(min=LEAST_SHADE)
        colour = colour * relief.clamp(*RELIEF)
    return colour * mask, mask


def _look_up(picture: Tensor, grid: Tensor | None) -> Tensor:
    """[D, U, U] at every pixel: [B, D, H, W]; beyond the border it repeats."""
    grid = _needed(grid)
    every = picture[None].expand(len(grid), -1, -1, -1)
    return F.grid_sample(every, grid, mode="bilinear", padding_mode="border", align_corners=False)


def _needed(grid: Tensor | None) -> Tensor:
    if grid is None:
        raise ValueError("nothing said that places in the UV map are needed")
    return grid
