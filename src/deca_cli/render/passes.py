"""The pictures of a head as pure functions of one rasterisation (specification 6.4, 6.6, 6.7, 6.9)."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from deca_cli.render.fragments import Fragments
from deca_cli.render.interpolate import interpolate
from deca_cli.render.lighting import directional_shading, sh_shading
from deca_cli.render.normals import vertex_normals
from deca_cli.render.uv import texture_grid

# A pixel, or a landmark, counts as turned to the camera when its projected normal has n_z below these [K9].
SHAPE_FACING = 0.15
TEXTURE_FACING = -0.05

SHAPE_GREY = 180 / 255
SHAPE_LIGHTS = tuple(
    (*direction, 1.7, 1.7, 1.7) for direction in ((-1, 1, 1), (1, 1, 1), (-1, -1, 1), (1, -1, 1), (0, 0, 1))
)  # direction towards the light in the head frame, RGB intensity


@dataclass(frozen=True)
class Surface:
    """What lies under every pixel, read once from the fragments and shared by all passes; 0 in the background.

    Attributes:
        alpha: ``[B, 1, H, W]``, 1 where the head is seen.
        positions: ``[B, 3, H, W]``, head frame, metres.
        normals: ``[B, 3, H, W]``, head frame, interpolated and not renormalised [K7].
        facing: ``[B, 1, H, W]``, z of the normal of the projected mesh; negative towards the camera.
        grid: ``[B, H, W, 2]``, for ``grid_sample`` in the UV map; (0, 0) in the background.
    """

    alpha: Tensor
    positions: Tensor
    normals: Tensor
    facing: Tensor
    grid: Tensor

    def facing_mask(self, threshold: float) -> Tensor:
        """1 where the surface is seen and its facing is below the threshold: ``[B, 1, H, W]``."""
        return self.alpha * (self.facing < threshold)


def read_surface(
    fragments: Fragments,
    faces: Tensor,  # [F, 3]
    uv_coordinates: Tensor,  # [T, 2]
    uv_faces: Tensor,  # [F, 3]
    vertices: Tensor,  # [B, V, 3] head frame, metres
    normals: Tensor,  # [B, V, 3] head frame
    projected: Tensor,  # [B, V, 3] NDC, as rasterised
) -> Surface:
    """Interpolate everything that the passes need."""
    facing = vertex_normals(projected, faces)[..., 2:]
    values = interpolate(fragments, faces, torch.cat([vertices, normals, facing], -1))
    return Surface(
        alpha=fragments.covered[:, None].to(values.dtype),
        positions=values[:, :3],
        normals=values[:, 3:6],
        facing=values[:, 6:],
        grid=texture_grid(fragments, uv_coordinates, uv_faces),
    )


def over(image: Tensor, alpha: Tensor, background: Tensor | None) -> Tensor:
    """``image * alpha + background * (1 - alpha)``; black without a background."""
    return image * alpha if background is None else image * alpha + background * (1 - alpha)


def sample_texture(surface: Surface, texture: Tensor) -> Tensor:
    """Look up UV maps ``[B, D, U, U]`` at every pixel, bilinear: ``[B, D, H, W]``; not masked."""
    return F.grid_sample(texture, surface.grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def texture_pass(
    surface: Surface, albedo: Tensor, light: Tensor | None, background: Tensor | None = None
) -> Tensor:
    """The textured head ``[B, 3, H, W]``; the plain twin of what `pipeline.pictures` draws in few operations.

    Args:
        surface: of `read_surface`.
        albedo: UV map ``[B, 3, U, U]``.
        light: spherical harmonics ``[B, 9, 3]``, as training needs it; None gives the albedo unlit, which is what
            the official release writes (specification 6.4).
        background: ``[B, 3, H, W]``.
    """
    colour = sample_texture(surface, albedo)
    if light is not None:
        colour = colour * sh_shading(surface.normals, light)
    return over(colour, surface.alpha, background)


def shape_pass(
    surface: Surface, detail_normals: Tensor | None = None, background: Tensor | None = None
) -> Tensor:
    """The grey head under five fixed lights ``[B, 3, H, W]``, where it faces the camera; not clamped.

    Args:
        surface: of `read_surface`.
        detail_normals: ``[B, 3, H, W]`` of `detail_normal_pass`, in place of the coarse ones.
        background: ``[B, 3, H, W]``.
    """
    normals = surface.normals if detail_normals is None else detail_normals
    lights = normals.new_tensor(SHAPE_LIGHTS).expand(len(normals), -1, -1)
    shaded = SHAPE_GREY * directional_shading(normals, lights)
    return over(shaded, surface.facing_mask(SHAPE_FACING), background)


def detail_normal_pass(surface: Surface, uv_normals: Tensor) -> Tensor:
    """Normals of the detailed surface ``[B, 3, H, W]`` from their UV map, where it faces the camera."""
    return sample_texture(surface, uv_normals) * surface.facing_mask(SHAPE_FACING)


def depth_pass(fragments: Fragments, faces: Tensor, projected: Tensor) -> Tensor:
    """Relative depth ``[B, 1, H, W]``: nearest vertex 1, farthest 0, background 0.

    Normalised over all vertices of the batch, hidden ones included, as official (specification 6.7). For a
    batch of one the plain twin of what `pipeline.pictures` draws, which normalises every head by itself. For depth
    in metres interpolate z of the vertices.
    """
    z = projected[..., 2:]
    shifted = z - z.min()
    nearness = shifted.max() - shifted
    low, high = nearness.min(), nearness.max()
    # A flat mesh has no range; all of it is equally near.
    return interpolate(fragments, faces, (nearness - low) / (high - low).clamp(min=1e-12))
