"""Light on a displaced surface without moving it: normals bent by the slopes of a height map (Blinn 1978)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

if TYPE_CHECKING:
    from deca_cli.heads.model import HeadModel

CAVITY_DEPTH = 0.0006  # metres: at that depth a valley is darkened by CAVITY_SHADE
CAVITY_SHADE = 0.42
# Slopes approach it: where the coarse skin is squeezed, steeper ones would flicker between pixels.
STEEPEST = 1.0


class SurfaceFrames:
    """How far one texel of the chart reaches along the surface, at every vertex of a posed head.

    The tangent of a triangle is linear in its corners, so each vertex's are a weighted sum of its
    neighbours; a vertex takes the mean of its triangles, weighted by their area on the chart.

    Args:
        head: the head model.
        mask: [U, U] over the chart; triangles outside it have no tangents and stay as they are.
    """

    def __init__(self, head: HeadModel, mask: Tensor) -> None:
        size = len(mask)
        texels = head.uv_coordinates.double().cpu() * size  # right and up
        corners = texels[head.uv_faces.cpu()]  # [F, 3, 2]
        grid = (corners.mean(1) / size * 2 - 1) * corners.new_tensor([1.0, -1.0])
        inside = F.grid_sample(
            mask[None, None].double().cpu(), grid[None, None], align_corners=False, padding_mode="zeros"
        ).flatten()
        self.around, self.weights = (
            table.to(head.template_vertices.device)
            for table in _tangent_weights(corners, head.faces.cpu(), inside > 0, head.vertex_count)
        )

    def tangents(self, vertices: Tensor) -> Tensor:
        """Steps along the surface for one texel to the right and for one upwards.

        Args:
            vertices: [N, V, 3], any frame, metres.

        Returns:
            [N, V, 6] metres, right then up; 0 outside the mask.
        """
        count, points, _ = vertices.shape
        flat = vertices.transpose(0, 1).reshape(points, count * 3)
        steps = F.embedding_bag(self.around, flat, per_sample_weights=self.weights, mode="sum")
        return steps.view(2, points, count, 3).permute(2, 1, 0, 3).reshape(count, points, 6)


def _tangent_weights(corners: Tensor, faces: Tensor, used: Tensor, vertices: int) -> tuple[Tensor, Tensor]:
    """Which vertices [2 V, K] make up the tangents (first all to the right, then all upwards), and how much of each."""
    first, second = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    area = first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0]
    used = used & (area.abs() > 1e-9)
    rows, first, second, area = faces.long()[used], first[used], second[used], area[used]
    # tangent = (edge_1 w_1 + edge_2 w_2) / area; edges leave corner 0. Weighted by |area| the division is a sign.
    sign = area.sign()[:, None]
    ahead = (
        torch.stack([second[:, 1], -first[:, 1]], 1) * sign,
        torch.stack([-second[:, 0], first[:, 0]], 1) * sign,
    )
    total = torch.zeros(vertices, dtype=torch.float64).index_add(
        0, rows.flatten(), area.abs()[:, None].expand(-1, 3).flatten()
    )
    entries, values = [], []
    for half, weights in enumerate(ahead):
        per_corner = torch.cat([-weights.sum(1, keepdim=True), weights], 1)  # [F, 3]
        for corner in range(3):
            at = rows[:, corner, None]
            entries.append(torch.stack([(at + half * vertices).expand(-1, 3), rows]).flatten(1))
            values.append((per_corner / total[at]).flatten())
    merged = torch.sparse_coo_tensor(
        torch.cat(entries, 1), torch.cat(values), (2 * vertices, vertices), check_invariants=True
    ).coalesce()
    return _padded(merged.indices(), merged.values().float(), 2 * vertices)


def _padded(indices: Tensor, values: Tensor, rows: int) -> tuple[Tensor, Tensor]:
    """Sorted entries of a sparse matrix as columns [rows, K] and values [rows, K], filled with zeros."""
    row, column = indices
    counts = torch.bincount(row, minlength=rows)
    place = torch.arange(len(row)) - (counts.cumsum(0) - counts)[row]
    columns = torch.zeros(rows, int(counts.max()), dtype=torch.int64)
    padded = torch.zeros(columns.shape)
    columns[row, place], padded[row, place] = column, values
    return columns, padded


def slopes(relief: Tensor) -> Tensor:
    """[N, 1, U, U] metres -> [N, 3, U, U]: rise per texel to the right and upwards, and the height itself."""
    right = (relief[..., 2:] - relief[..., :-2]) / 2
    up = (relief[..., :-2, :] - relief[..., 2:, :]) / 2
    return torch.cat([F.pad(right, (1, 1)), F.pad(up, (0, 0, 1, 1)), relief], 1)


def bend(normals: Tensor, tangents: Tensor, rise: Tensor) -> Tensor:
    """Normals of the displaced surface.

    The displaced point is P + h n; the cross product of its derivatives, without the bending of n itself, is
    T_right x T_up + h_right (n x T_up) + h_up (T_right x n). Slopes are softly limited to 45 degrees.

    Args:
        normals: [N, 3, H, W] unit normals of the coarse surface.
        tangents: [N, 6, H, W] of `SurfaceFrames`, same frame; where they are 0 the normal stays.
        rise: [N, 2, H, W] metres per texel to the right and upwards.

    Returns:
        [N, 3, H, W], unit length.
    """
    right, up = tangents[:, :3], tangents[:, 3:]
    area = (torch.linalg.cross(right, up, dim=1) * normals).sum(1, keepdim=True)
    turned = rise[:, :1] * torch.linalg.cross(normals, up, dim=1)
    turned = turned + rise[:, 1:] * torch.linalg.cross(right, normals, dim=1)
    flat = area.abs().clamp_min(1e-12)
    steepness = turned.norm(dim=1, keepdim=True) / flat
    turned = turned * torch.rsqrt(1 + (steepness / STEEPEST) ** 2)
    return F.normalize(normals * flat + torch.sign(area) * turned, dim=1)


def cavity(height: Tensor) -> Tensor:
    """[N, 1, H, W] metres -> share of the surroundings that reaches the ground of a valley, 1 outside valleys."""
    return 1 - CAVITY_SHADE * (-height / CAVITY_DEPTH).clamp(0, 1.1)
