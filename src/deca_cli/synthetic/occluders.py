"""Things in front of the face: hands, microphones, cups, phones, hair strands. Drawn in the picture plane.

Pictures are [N, 4, H, W]: linear RGB, and how much of the pixel is the face's bare surface, which what lies in front hides.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from deca_cli.synthetic.scene import covering
from deca_cli.synthetic.skin import skin_tone
from deca_cli.synthetic.skin_fields import smooth_step

if TYPE_CHECKING:
    from deca_cli.synthetic.draws import Draws


def pixel_grid(size: int, device: torch.device) -> Tensor:
    """[size, size, 2] NDC of the pixel centres, x right, y down."""
    axis = (torch.arange(size, device=device) * 2 + 1) / size - 1
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    return torch.stack([x, y], -1)


def capsule_distance(grid: Tensor, start: Tensor, end: Tensor, radius: Tensor) -> Tensor:
    """Distance to a thick line, negative inside: grid [H, W, 2], ends [N, 2], radius [N] -> [N, H, W]."""
    direction = (end - start)[:, None, None]
    offset = grid - start[:, None, None]
    along = ((offset * direction).sum(-1) / (direction**2).sum(-1).clamp_min(1e-6)).clamp(0, 1)
    return (offset - along[..., None] * direction).norm(dim=-1) - radius[:, None, None]


def _over(picture: Tensor, colour: Tensor, distance: Tensor, radius: Tensor, shown: Tensor) -> Tensor:
    """Lay a rounded, shaded body over the picture."""
    pixel = 2.0 / picture.shape[-1]
    cover = smooth_step(-distance, -pixel, pixel) * shown[:, None, None]
    depth = (-distance / radius[:, None, None]).clamp(0, 1)
    shade = 0.45 + 0.55 * torch.sqrt((1 - (1 - depth) ** 2).clamp_min(0))
    return torch.lerp(picture, covering(colour[:, :, None, None] * shade[:, None]), cover[:, None])


def add_hands(draws: Draws, picture: Tensor, share: float) -> Tensor:
    """Four fingers side by side reach in from a border, on a share of the pictures."""
    n = picture.shape[0]
    grid = pixel_grid(picture.shape[-1], picture.device)
    shown = draws.chance(share, n)
    colour = skin_tone(0.05 + 1.2 * draws.uniform(n), draws.uniform(n)) * draws.uniform(
        n, 1, low=0.3, high=1.1
    )
    from_angle = draws.uniform(n, low=-0.2 * math.pi, high=1.2 * math.pi)  # mostly from below and the sides
    root = torch.stack([from_angle.cos(), from_angle.sin()], -1) * draws.uniform(n, 1, low=0.8, high=1.3)
    inward = -torch.nn.functional.normalize(root, dim=-1)
    bend = draws.normal(n, std=0.4)
    reach = torch.stack(
        [
            inward[:, 0] * bend.cos() - inward[:, 1] * bend.sin(),
            inward[:, 0] * bend.sin() + inward[:, 1] * bend.cos(),
        ],
        -1,
    )
    sideways = torch.stack([-reach[:, 1], reach[:, 0]], -1)
    radius = draws.uniform(n, low=0.06, high=0.12)
    length = draws.uniform(n, 1, low=0.3, high=0.9)
    for finger in range(4):
        offset = sideways * (radius * (finger - 1.5) * 1.9)[:, None]
        fan = reach + sideways * (finger - 1.5) * draws.uniform(n, 1, low=0.0, high=0.12)
        tip = root + offset + fan * length * draws.uniform(n, 1, low=0.8, high=1.0)
        picture = _over(picture, colour, capsule_distance(grid, root + offset, tip, radius), radius, shown)
    return picture


def add_objects(draws: Draws, picture: Tensor, share: float) -> Tensor:
    """One or two bodies of any colour: sticks, discs, boxes of random size, mostly off the centre."""
    n = picture.shape[0]
    grid = pixel_grid(picture.shape[-1], picture.device)
    for _ in range(2):
        shown = draws.chance(share, n)
        angle, distance = draws.uniform(n, low=0, high=2 * math.pi), draws.uniform(n, low=0.25, high=1.0)
        start = torch.stack([angle.cos(), angle.sin()], -1) * distance[:, None]
        end = start + draws.normal(n, 2, std=0.5) * draws.chance(0.7, n, 1)
        radius = draws.log_uniform(n, low=0.02, high=0.35)
        colour = draws.uniform(n, 3) ** 2.2
        picture = _over(picture, colour, capsule_distance(grid, start, end, radius), radius, shown)
    return picture


def add_patch(draws: Draws, picture: Tensor, texture: Tensor, share: float) -> Tensor:
    """A textured rectangle (phone, book, sign, shoulder of a neighbour) over part of the picture."""
    n = picture.shape[0]
    grid = pixel_grid(picture.shape[-1], picture.device)
    angle = draws.uniform(n, low=0, high=2 * math.pi)
    centre = torch.stack([angle.cos(), angle.sin()], -1) * draws.uniform(n, 1, low=0.4, high=1.1)
    half = draws.log_uniform(n, 2, low=0.08, high=0.6)
    turn = draws.uniform(n, low=0, high=math.pi)
    offset = grid - centre[:, None, None]
    c, s = turn.cos()[:, None, None], turn.sin()[:, None, None]
    local = torch.stack(
        [offset[..., 0] * c + offset[..., 1] * s, offset[..., 1] * c - offset[..., 0] * s], -1
    )
    outside = (local.abs() - half[:, None, None]).amax(-1)
    pixel = 2.0 / picture.shape[-1]
    cover = smooth_step(-outside, -pixel, pixel) * draws.chance(share, n)[:, None, None]
    return torch.lerp(picture, covering(texture), cover[:, None])
