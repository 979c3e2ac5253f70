"""The 68 landmarks on a head: points fixed on the mesh, and a contour that moves with the yaw."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

MAX_YAW_DEGREES = 39  # the last row of the contour table on either side


@dataclass(frozen=True, eq=False)
class LandmarkSets:
    """Both sets of 68 points in the head frame, metres. Points 0..16 contour, 17..67 inner points."""

    contour: Tensor  # [B, 68, 3], contour as seen from the camera (spec: landmarks2d)
    fixed: Tensor  # [B, 68, 3], contour fixed on the mesh (spec: landmarks3d)


def contour_row(root_rotation: Tensor) -> Tensor:
    """[B, 3, 3] rotation of the head -> [B] row of the contour table (spec section 4, K6).

    The yaw y = atan2(-R20, sqrt(R00^2 + R10^2)) in degrees is limited to 39 from above and rounded half to even.
    Rows 0..39 stand for 0..39 degrees, rows 40..78 for -1..-39. There is no minus sign before the angle: turns
    beyond 90 degrees fold back.
    """
    r00, r10, r20 = root_rotation[:, 0, 0], root_rotation[:, 1, 0], root_rotation[:, 2, 0]
    yaw = torch.rad2deg(torch.atan2(-r20, torch.sqrt(r00 * r00 + r10 * r10)))
    degrees = yaw.clamp(max=MAX_YAW_DEGREES).round().long()
    mirrored = (MAX_YAW_DEGREES - degrees).clamp(max=2 * MAX_YAW_DEGREES)
    return torch.where(degrees >= 0, degrees, mirrored)


def points_on_faces(values: Tensor, corners: Tensor, barycentrics: Tensor) -> Tensor:
    """Mix vertex values at points given by triangle corners and barycentric weights.

    Args:
        values: [B, V, D] values at the vertices.
        corners: [N, 3] or [B, N, 3] vertex ids.
        barycentrics: [N, 3] or [B, N, 3] weights.

    Returns:
        [B, N, D].
    """
    if corners.dim() == 2:
        picked = values[:, corners]  # [B, N, 3, D]
    else:
        batch = torch.arange(len(values), device=values.device)[:, None, None]
        picked = values[batch, corners]
    return (picked * barycentrics[..., None]).sum(dim=-2)
