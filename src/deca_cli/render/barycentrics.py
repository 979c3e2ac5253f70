"""Barycentrics and depth of given triangles at given pixels: the arithmetic that all rasterisers share.

Plain torch, float64 inside, differentiable. `cpu.py` and `rasterize.cu` repeat `weights_at` and `depth_of`
operation by operation (no fused multiply-add), so that all back ends choose the same triangles bit for bit.
"""

import torch
from torch import Tensor

from deca_cli.render.fragments import Rule

# Corners whose two cross-product terms cancel to this relative size lie on one line, up to rounding.
COLLINEAR = 1e-12
# pytorch3d adds this to the doubled area, measured in its own NDC, and skips triangles smaller than it.
PYTORCH3D_AREA = 1e-8


def to_pixels(vertices: Tensor, height: int, width: int, z_offset: float) -> Tensor:
    """NDC ``[..., 3]`` to float64 pixel positions (x, y) in which pixel centres are integers, and z + offset."""
    x, y, z = vertices.double().unbind(-1)
    return torch.stack(
        (x * (width / 2) + (width / 2 - 0.5), y * (height / 2) + (height / 2 - 0.5), z + z_offset), -1
    )


def area_epsilon(rule: Rule, height: int, width: int) -> float:
    """What the rule takes off the doubled signed area, in square pixels.

    pytorch3d's NDC spans [-1, 1] over the shorter side and its area has the opposite sign of ours (it counts
    y upwards), so its ``A + 1e-8`` is ``area - 1e-8 * (side / 2)**2`` here.
    """
    return PYTORCH3D_AREA * (min(height, width) / 2) ** 2 if rule == "pytorch3d" else 0.0


def doubled_area(corners: Tensor) -> tuple[Tensor, Tensor]:
    """Signed doubled area of corners ``[..., 3, >=2]`` and whether the triangle is more than a line."""
    (x0, x1, x2), (y0, y1, y2) = corners[..., 0].unbind(-1), corners[..., 1].unbind(-1)
    left, right = (x1 - x0) * (y2 - y0), (x2 - x0) * (y1 - y0)
    area = left - right
    return area, area.abs() > COLLINEAR * (left.abs() + right.abs())


def weights_at(corners: Tensor, x: Tensor, y: Tensor, inverse_area: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Barycentrics of the pixel (x, y) in the triangles ``corners [..., 3, >=2]``.

    Edge functions of the corners taken relative to the pixel: the two triangles at a shared edge compute the
    same number with opposite signs, whatever the rounding, so no pixel is lost between them.
    """
    (x0, x1, x2), (y0, y1, y2) = corners[..., 0].unbind(-1), corners[..., 1].unbind(-1)
    x0, x1, x2, y0, y1, y2 = x0 - x, x1 - x, x2 - x, y0 - y, y1 - y, y2 - y
    return (
        (x1 * y2 - x2 * y1) * inverse_area,
        (x2 * y0 - x0 * y2) * inverse_area,
        (x0 * y1 - x1 * y0) * inverse_area,
    )


def depth_of(weights: tuple[Tensor, Tensor, Tensor], corner_depths: Tensor, rule: Rule) -> Tensor:
    """Depth at the weights: harmonic for ``standard``, linear for ``pytorch3d`` (specification 6.2)."""
    b0, b1, b2 = weights
    z0, z1, z2 = corner_depths.unbind(-1)
    if rule == "standard":
        return 1.0 / (b0 * (1.0 / z0) + b1 * (1.0 / z1) + b2 * (1.0 / z2))
    return b0 * z0 + b1 * z1 + b2 * z2


def surface_at_pixels(
    vertices: Tensor, faces: Tensor, triangle: Tensor, rule: Rule, z_offset: float
) -> tuple[Tensor, Tensor]:
    """Barycentrics ``[B, H, W, 3]`` and depth ``[B, H, W]`` of known triangles, differentiable to the vertices.

    Args:
        vertices: NDC ``[B, V, 3]``.
        faces: int ``[F, 3]``.
        triangle: int ``[B, H, W]``, -1 where nothing is seen.
        rule: see `rasterize`.
        z_offset: see `rasterize`.
    """
    _, height, width = triangle.shape
    points = to_pixels(vertices, height, width, z_offset)
    covered = triangle >= 0
    x = torch.arange(width, dtype=torch.float64, device=points.device)
    y = torch.arange(height, dtype=torch.float64, device=points.device)[:, None]
    corners = _corners_seen(points, faces, triangle)
    # Empty pixels get a harmless triangle of their own, so that no NaN enters the gradient.
    harmless = points.new_tensor([[-1.0, -1.0, 1.0], [2.0, -1.0, 1.0], [-1.0, 2.0, 1.0]])
    pixel = torch.stack(torch.broadcast_tensors(x, y, torch.zeros_like(x)), -1)
    corners = torch.where(covered[..., None, None], corners, harmless + pixel[:, :, None, :])
    area, _ = doubled_area(corners)
    weights = weights_at(corners, x, y, 1.0 / (area - area_epsilon(rule, height, width)))
    depth = depth_of(weights, corners[..., 2], rule) - z_offset
    barycentrics = torch.where(covered[..., None], torch.stack(weights, -1), 0.0)
    return barycentrics.to(vertices.dtype), torch.where(covered, depth, torch.inf).to(vertices.dtype)


def _corners_seen(points: Tensor, faces: Tensor, triangle: Tensor) -> Tensor:
    """Points ``[B, V, 3]`` of the triangle at every pixel: ``[B, H, W, 3, 3]`` (triangle 0 where empty)."""
    batch, vertex_count, _ = points.shape
    if faces.shape[0] == 0:
        return points.new_zeros((*triangle.shape, 3, 3))
    seen = faces.long()[triangle.clamp(min=0).long()]
    seen = seen + vertex_count * torch.arange(batch, device=points.device)[:, None, None, None]
    return points.reshape(-1, 3)[seen]
