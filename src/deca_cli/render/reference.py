"""The definition of right: a rasteriser in plain torch, one triangle after another. Slow on purpose."""

import torch
from torch import Tensor

from deca_cli.render.barycentrics import (
    area_epsilon,
    depth_of,
    doubled_area,
    surface_at_pixels,
    to_pixels,
    weights_at,
)
from deca_cli.render.fragments import EMPTY, Rule
from deca_cli.render.indices import check_indices


def rasterize(
    vertices: Tensor, faces: Tensor, height: int, width: int, rule: Rule, z_offset: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Triangle, barycentrics and depth of ``vertices [B, V, 3]``; the contract is that of `render.rasterize`.

    Raises:
        ValueError: a face refers to a vertex that does not exist.
    """
    check_indices(faces, vertices.shape[1])
    with torch.no_grad():
        points = to_pixels(vertices, height, width, z_offset)
        triangle = torch.full((len(points), height, width), EMPTY, dtype=torch.int32, device=points.device)
        for item in range(len(points)):
            _draw_mesh(points[item], faces.long(), rule, triangle[item])
    return triangle, *surface_at_pixels(vertices, faces, triangle, rule, z_offset)


def _draw_mesh(points: Tensor, faces: Tensor, rule: Rule, triangle: Tensor) -> None:
    """Write the face seen at every pixel into ``triangle [H, W]``, lower face ids first."""
    height, width = triangle.shape
    nearest = torch.full((height, width), torch.inf, device=points.device)
    epsilon = area_epsilon(rule, height, width)
    corners = points[faces]
    area, solid = doubled_area(corners)
    drawable = solid & (area.abs() > epsilon) & corners.flatten(1).isfinite().all(1)
    low, high = corners.amin(1), corners.amax(1)
    for face in drawable.nonzero().flatten().tolist():
        left, right = _centres_between(low[face, 0].item(), high[face, 0].item(), width)
        top, bottom = _centres_between(low[face, 1].item(), high[face, 1].item(), height)
        if left > right or top > bottom:
            continue
        box = (slice(top, bottom + 1), slice(left, right + 1))
        x = torch.arange(left, right + 1, dtype=torch.float64, device=points.device)
        y = torch.arange(top, bottom + 1, dtype=torch.float64, device=points.device)[:, None]
        weights = weights_at(corners[face], x, y, 1.0 / (area[face] - epsilon))
        inside = weights[0] > 0
        for weight in weights[1:]:
            inside &= weight >= 0 if rule == "standard" else weight > 0
        # Ordered by depth rounded to float32, as the packed keys of the CUDA kernel are; equal depths leave
        # the pixel with the face that came first.
        depth = depth_of(weights, corners[face, :, 2], rule).float()
        seen = inside & (depth > 0) & (depth < nearest[box])
        nearest[box] = torch.where(seen, depth, nearest[box])
        triangle[box] = torch.where(seen, face, triangle[box])


def _centres_between(low: float, high: float, size: int) -> tuple[int, int]:
    """First and last pixel centre (integers 0 ... size-1) in the closed interval; first > last if none."""
    first = max(low, 0.0)
    last = min(high, size - 1.0)
    return int(-(-first // 1)), int(last // 1)
