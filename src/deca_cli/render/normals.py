"""Vertex normals of triangle meshes and of the dense UV grid."""

import torch
from torch import Tensor
from torch.nn import functional as F

NORMAL_EPSILON = 1e-6


def vertex_normals(vertices: Tensor, faces: Tensor, eps: float = NORMAL_EPSILON) -> Tensor:
    """Area-weighted normals: the sum of (v1 - v0) x (v2 - v0) over a vertex's faces, over max(length, eps).

    The default floor is that of the official release (specification 6.3, K7). In metres the sums are 1e-6 to
    1e-4 long, so a few vertices among tiny triangles keep normals shorter than 1; their size is part of the
    released results.

    Args:
        vertices: ``[B, V, 3]``, any frame and unit; the normals are in the same frame.
        faces: int ``[F, 3]``, counter-clockwise seen from outside in a right-handed frame.
        eps: smallest length that is divided by.

    Returns:
        ``[B, V, 3]``, differentiable; 0 for vertices without faces.
    """
    rows = faces.long()
    a, b, c = (vertices.index_select(1, rows[:, corner]) for corner in range(3))
    normals = torch.linalg.cross(b - a, c - a)
    sums = torch.zeros_like(vertices)
    for corner in range(3):
        sums = sums.index_add(1, rows[:, corner], normals)
    return sums / length(sums, -1, eps)


def length(vectors: Tensor, dim: int, eps: float) -> Tensor:
    """Length along ``dim``, which is kept, but at least ``eps``; shorter vectors get no gradient from it.

    Written out because torch's own norm over a channel axis takes seventy times as long on a CPU.
    """
    return vectors.square().sum(dim, keepdim=True).clamp(min=eps * eps).sqrt()


def unit(normals: Tensor, dim: int, eps: float = 1e-12) -> Tensor:
    """Normals of length 1 along ``dim``; 0 stays 0."""
    return normals / length(normals, dim, eps)


def grid_normals(points: Tensor, margin_x: int, margin_y: int, eps: float = NORMAL_EPSILON) -> Tensor:
    """`vertex_normals` of a regular grid, with differences of neighbours in place of look-ups.

    The faces are those of `dense_grid_faces`: per cell (TL, BL, TR) and (TR, BL, BR), for the cells between the
    margins.

    Args:
        points: ``[B, 3, H, W]``.
        margin_x: first column of cells; the last is W - 2 - margin_x.
        margin_y: first row of cells; the last is H - 2 - margin_y.
        eps: smallest length that is divided by.

    Returns:
        ``[B, 3, H, W]``; 0 outside the margins.
    """
    height, width = points.shape[-2:]
    inner = points[..., margin_y : height - margin_y, margin_x : width - margin_x]
    top_left, top_right = inner[..., :-1, :-1], inner[..., :-1, 1:]
    bottom_left, bottom_right = inner[..., 1:, :-1], inner[..., 1:, 1:]
    upper = _cross(bottom_left - top_left, top_right - top_left)
    lower = _cross(bottom_left - top_right, bottom_right - top_right)
    both = upper + lower
    # F.pad's order is left, right, top, bottom: a value of a cell moves to one of the cell's corners.
    sums = F.pad(upper, (0, 1, 0, 1)) + F.pad(both, (1, 0, 0, 1)) + F.pad(both, (0, 1, 1, 0))
    sums = sums + F.pad(lower, (1, 0, 1, 0))
    normals = sums / length(sums, 1, eps)
    return F.pad(normals, (margin_x, margin_x, margin_y, margin_y))


def _cross(one: Tensor, other: Tensor) -> Tensor:
    """Cross products of ``[B, 3, H, W]``; on a CPU torch's own takes six times as long over channels."""
    if one.is_cuda:
        return torch.linalg.cross(one, other, dim=1)
    ax, ay, az = one.unbind(1)
    bx, by, bz = other.unbind(1)
    return torch.stack([ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx], 1)


def dense_grid_faces(height: int, width: int, margin_x: int, margin_y: int) -> Tensor:
    """Faces ``[2 N, 3]`` over the row-major points of a grid (specification 6.1): columns outer, rows inner.

    For tests, which compare `grid_normals` with `vertex_normals` of these faces. For 256 x 256 and the official margins
    of 2 and 5: 122,990 faces.
    """
    x = torch.arange(margin_x, width - 1 - margin_x)[:, None]
    y = torch.arange(margin_y, height - 1 - margin_y)
    corner = (width * y + x).flatten()
    upper = torch.stack([corner, corner + width, corner + 1], -1)
    lower = torch.stack([corner + 1, corner + width, corner + width + 1], -1)
    return torch.stack([upper, lower], 1).reshape(-1, 3)


def degrees_between(one: Tensor, two: Tensor) -> Tensor:
    """Angles between directions [N, 3, H, W] of any length -> [N, H, W] degrees; exact for small angles, too."""
    sine, cosine = torch.linalg.cross(one, two, dim=1).norm(dim=1), (one * two).sum(1)
    return torch.rad2deg(torch.atan2(sine, cosine))
