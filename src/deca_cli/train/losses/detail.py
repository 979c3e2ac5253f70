"""Losses of the detail stage that need no network. Maps are [N, D, U, U]; row 0 is the top of the chart."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

EROSION = 5  # side of the box


@dataclass(frozen=True)
class Patch:
    """A rectangle of the chart, texel rows and columns from a first (included) to a last (left out)."""

    top: int
    bottom: int
    left: int
    right: int

    def cut(self, maps: Tensor, size: int) -> Tensor:
        """[N, D, U, U] -> [N, D, size, size]: the rectangle, enlarged (bilinear, edges on edges; spec section 8.4)."""
        part = maps[:, :, self.top : self.bottom, self.left : self.right]
        return F.interpolate(part, (size, size), mode="bilinear", align_corners=False)


# 400..1648 of 2048 in both directions, scaled to 256 and truncated (spec section 8.4)
OFFICIAL_PATCH = Patch(50, 206, 50, 206)


def detail_photometric_loss(texture: Tensor, photo_texture: Tensor) -> Tensor:
    """Mean of |T V - T_photo V| over all texels (paper section 4.2, L_phoD; spec section 8.4).

    Args:
        texture, photo_texture: [N, 3, U, U] RGB, both already multiplied by how visible the texels are, V in 0..1.
    """
    return (texture - photo_texture).abs().mean()


def displacement_loss(displacement: Tensor) -> Tensor:
    """Mean |z| of displacements [N, 1, U, U] in metres (paper section 4.2, L_regD; spec section 8.4)."""
    return displacement.abs().mean()


def shading_smoothness_loss(shading: Tensor) -> Tensor:
    """Mean squared step to the right plus mean squared step down (spec section 8.4, z_diff).

    Steps to the right are taken without the first and the last row, steps down without the first and last column.

    Args:
        shading: [N, 3, U, U].
    """
    across = shading[:, :, 1:-1, 1:] - shading[:, :, 1:-1, :-1]
    down = shading[:, :, 1:, 1:-1] - shading[:, :, :-1, 1:-1]
    return across.square().mean() + down.square().mean()


def eroded(mask: Tensor) -> Tensor:
    """[N, 1, U, U] -> 1 where every texel of the 5 x 5 box around is not 0, texels outside the map being 0."""
    margin = EROSION // 2
    empty = F.pad((mask == 0).to(mask.dtype), (margin,) * 4, value=1.0)
    return 1 - F.max_pool2d(empty, EROSION, stride=1)


def symmetry_loss(displacement: Tensor, visible: Tensor) -> Tensor:
    """Sum of (1 - erosion(V)) |z - mirror(z)| (paper section 4.2, L_sym; spec section 8.4).

    What the photo does not show shall look like the other side, which gets no gradient from here. A sum over batch and
    texels, not a mean [K14]. The chart must be symmetric about its middle column.

    Args:
        displacement: [N, 1, U, U] metres.
        visible: [N, 1, U, U] in 0..1.
    """
    hidden = 1 - eroded(visible)
    return (hidden * (displacement - displacement.detach().flip(3)).abs()).sum()


def mask_patch(mask: Tensor) -> Patch:
    """The smallest square of texels around a mask [U, U], as far as the map reaches."""
    inside = mask.detach().cpu() > 0.5
    rows, columns = (torch.nonzero(inside.any(dim)).flatten() for dim in (1, 0))
    top, bottom = int(rows[0]), int(rows[-1]) + 1
    left, right = int(columns[0]), int(columns[-1]) + 1
    side, limit = max(bottom - top, right - left), len(mask)
    top, left = (
        min(max((low + high - side) // 2, 0), limit - side) for low, high in ((top, bottom), (left, right))
    )
    return Patch(top, top + side, left, left + side)
