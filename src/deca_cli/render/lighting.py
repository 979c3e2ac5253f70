"""Light falling on a Lambertian surface. Normals are in the head frame and used as they are, not renormalised."""

from math import pi, sqrt

import torch
from torch import Tensor

# Spherical harmonics of band 0, 1, 2 with the Lambert kernel folded in, in DECA's order and scaling
# (specification 6.5): 1, x, y, z, xy, xz, yz, x2 - y2, 3 z2 - 1.
SH_FACTORS = (
    1 / sqrt(4 * pi),
    *[(2 * pi / 3) * sqrt(3 / (4 * pi))] * 3,
    *[(pi / 4) * 3 * sqrt(5 / (12 * pi))] * 3,
    (pi / 4) * 1.5 * sqrt(5 / (12 * pi)),
    (pi / 4) * 0.5 * sqrt(5 / (4 * pi)),
)


def sh_basis(normals: Tensor) -> Tensor:
    """The nine scaled functions at normals ``[B, 3, ...]``: ``[B, 9, ...]``."""
    x, y, z = normals.unbind(1)
    functions = (torch.ones_like(x), x, y, z, x * y, x * z, y * z, x * x - y * y, 3 * z * z - 1)
    return torch.stack([f * c for f, c in zip(functions, SH_FACTORS, strict=True)], 1)


def sh_shading(normals: Tensor, light: Tensor) -> Tensor:
    """Shading by a spherical-harmonics light code, not clamped.

    Args:
        normals: ``[B, 3, H, W]``, head frame.
        light: ``[B, 9, 3]``, coefficients by function and colour.

    Returns:
        ``[B, 3, H, W]``, RGB.
    """
    return torch.einsum("bkc,bkhw->bchw", light, sh_basis(normals))


def directional_shading(normals: Tensor, lights: Tensor) -> Tensor:
    """Mean over parallel lights of clamp(n . l, 0, 1) intensity.

    Args:
        normals: ``[B, 3, H, W]``.
        lights: ``[B, L, 6]``: direction towards the light (any length), RGB intensity.

    Returns:
        ``[B, 3, H, W]``, RGB.
    """
    direction = torch.nn.functional.normalize(lights[..., :3], dim=-1)
    cosine = torch.einsum("bld,bdhw->blhw", direction, normals).clamp(0, 1)
    return torch.einsum("blhw,blc->bchw", cosine, lights[..., 3:]) / lights.shape[1]


def point_shading(positions: Tensor, normals: Tensor, lights: Tensor) -> Tensor:
    """Mean over point lights of (n . l) intensity, without fall-off and without a clamp, as official.

    For parity: the release's renderer takes such lights, and its own programs use none.

    Args:
        positions: ``[B, 3, H, W]``, head frame, metres.
        normals: ``[B, 3, H, W]``.
        lights: ``[B, L, 6]``: position in metres, RGB intensity.

    Returns:
        ``[B, 3, H, W]``, RGB.
    """
    towards = lights[:, :, :3, None, None] - positions[:, None]  # [B, L, 3, H, W]
    towards = torch.nn.functional.normalize(towards, dim=2)
    cosine = (towards * normals[:, None]).sum(2)
    return torch.einsum("blhw,blc->bchw", cosine, lights[..., 3:]) / lights.shape[1]
