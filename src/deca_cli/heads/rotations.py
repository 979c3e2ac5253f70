"""Rotations: axis-angle, matrices, the six-number form, Euler angles. Radians unless a name says degrees.

Matrices act on column vectors. Head frame: x subject's left, y up, z out of the face.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def axis_angle_to_matrix(axis_angle: Tensor) -> Tensor:
    """[..., 3] axis-angle -> [..., 3, 3] by Rodrigues' formula, as FLAME evaluates it (spec section 4, step 3).

    The angle is the norm of ``r + 1e-8`` (added to each component, only inside the norm); the axis is ``r / angle``.
    So zero gives exactly the identity, with a finite gradient.
    """
    angle = torch.linalg.vector_norm(axis_angle + 1e-8, dim=-1)[..., None, None]  # [..., 1, 1]
    skew = cross_matrix(axis_angle / angle[..., 0])
    identity = torch.eye(3, dtype=axis_angle.dtype, device=axis_angle.device)
    return identity + torch.sin(angle) * skew + (1 - torch.cos(angle)) * (skew @ skew)


def cross_matrix(vectors: Tensor) -> Tensor:
    """[..., 3] -> [..., 3, 3], the matrix K of v with K w = v x w."""
    x, y, z = vectors.unbind(-1)
    zero = torch.zeros_like(x)
    return torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], dim=-1).unflatten(-1, (3, 3))


def matrix_to_axis_angle(matrix: Tensor) -> Tensor:
    """[..., 3, 3] rotation -> [..., 3] axis-angle of at most half a turn."""
    return quaternion_to_axis_angle(matrix_to_quaternion(matrix))


def matrix_to_quaternion(matrix: Tensor) -> Tensor:
    """[..., 3, 3] rotation -> [..., 4] unit quaternion (w, x, y, z).

    Of the four rows of q q^T that the matrix yields, the one with the largest diagonal entry is used:
    it never divides by a small number.
    """
    m = matrix
    m00, m11, m22 = m[..., 0, 0], m[..., 1, 1], m[..., 2, 2]
    wx, wy, wz = m[..., 2, 1] - m[..., 1, 2], m[..., 0, 2] - m[..., 2, 0], m[..., 1, 0] - m[..., 0, 1]
    xy, xz, yz = m[..., 1, 0] + m[..., 0, 1], m[..., 2, 0] + m[..., 0, 2], m[..., 2, 1] + m[..., 1, 2]
    outer = torch.stack(  # 4 q q^T, [..., 4, 4]
        [
            torch.stack([1 + m00 + m11 + m22, wx, wy, wz], dim=-1),
            torch.stack([wx, 1 + m00 - m11 - m22, xy, xz], dim=-1),
            torch.stack([wy, xy, 1 - m00 + m11 - m22, yz], dim=-1),
            torch.stack([wz, xz, yz, 1 - m00 - m11 + m22], dim=-1),
        ],
        dim=-2,
    )
    best = outer.diagonal(dim1=-2, dim2=-1).argmax(dim=-1)  # [...]
    row = torch.take_along_dim(outer, best[..., None, None], dim=-2)[..., 0, :]
    return F.normalize(row, dim=-1)


def quaternion_to_axis_angle(quaternion: Tensor) -> Tensor:
    """[..., 4] quaternion (w, x, y, z) -> [..., 3] axis-angle of at most half a turn (spec section 3.2).

    Half the angle is ``atan2(|v|, w)`` for w >= 0, else ``atan2(-|v|, -w)``; v = 0 gives 2 v.
    """
    w, vector = quaternion[..., :1], quaternion[..., 1:]
    length = torch.linalg.vector_norm(vector, dim=-1, keepdim=True)
    half = torch.where(w >= 0, torch.atan2(length, w), torch.atan2(-length, -w))
    safe = torch.where(length > 0, length, torch.ones_like(length))
    return vector * torch.where(length > 0, 2 * half / safe, torch.full_like(length, 2.0))


def euler_to_axis_angle(euler: Tensor) -> Tensor:
    """[..., 3] angles about x, y, z -> [..., 3] axis-angle of R = Rx Ry Rz (spec section 3.2)."""
    cx, cy, cz = torch.cos(euler / 2).unbind(-1)
    sx, sy, sz = torch.sin(euler / 2).unbind(-1)
    quaternion = torch.stack(
        [
            cx * cy * cz - sx * sy * sz,
            sx * cy * cz + cx * sy * sz,
            cx * sy * cz - sx * cy * sz,
            cx * cy * sz + sx * sy * cz,
        ],
        dim=-1,
    )
    return quaternion_to_axis_angle(quaternion)


def rotation_6d_to_matrix(rotation_6d: Tensor) -> Tensor:
    """[..., 6] -> [..., 3, 3]: the first two *columns*, made orthonormal by Gram and Schmidt (Zhou et al. 2019).

    (1, 0, 0, 0, 1, 0) is the identity.
    """
    first = F.normalize(rotation_6d[..., :3], dim=-1)
    second = rotation_6d[..., 3:]
    second = F.normalize(second - (first * second).sum(-1, keepdim=True) * first, dim=-1)
    third = torch.linalg.cross(first, second, dim=-1)
    return torch.stack([first, second, third], dim=-1)


def matrix_to_euler_degrees(matrix: Tensor) -> Tensor:
    """[..., 3, 3] rotation -> [..., 3] (yaw, pitch, roll) in degrees, with R = Ry(yaw) Rx(pitch) Rz(roll).

    Right-handed about the head frame's axes: positive yaw turns the face to +x (image right), positive pitch
    looks down, positive roll turns the head counter-clockwise in the image. Pitch lies in -90..90.
    """
    pitch = torch.asin((-matrix[..., 1, 2]).clamp(-1, 1))
    yaw = torch.atan2(matrix[..., 0, 2], matrix[..., 2, 2])
    roll = torch.atan2(matrix[..., 1, 0], matrix[..., 1, 1])
    return torch.rad2deg(torch.stack([yaw, pitch, roll], dim=-1))


def euler_degrees_to_matrix(yaw_pitch_roll: Tensor) -> Tensor:
    """[..., 3] (yaw, pitch, roll) in degrees -> [..., 3, 3], the inverse of `matrix_to_euler_degrees`."""
    yaw, pitch, roll = torch.deg2rad(yaw_pitch_roll).unbind(-1)
    zero = torch.zeros_like(yaw)
    about_y = axis_angle_to_matrix(torch.stack([zero, yaw, zero], dim=-1))
    about_x = axis_angle_to_matrix(torch.stack([pitch, zero, zero], dim=-1))
    about_z = axis_angle_to_matrix(torch.stack([zero, zero, roll], dim=-1))
    return about_y @ about_x @ about_z
