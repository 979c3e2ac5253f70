"""Things in front of the face: hands, microphones, cups, phones, hair strands. Drawn in the picture plane.

Pictures are [N, 4, H, W]: linear RGB, and how much of the pixel is the face's bare surface, which what lies in front hides.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from deca_cli.synthetic.scene import covering
from deca_cli.synthetic.skin import skin_tone
from deca_cli.synthetic.skin_fields import smooth_step

if TYPE_CHECKING:
    from deca_cli.synthetic.draws import Draws


FINGERS = 4


def pixel_grid(size: int, device: torch.device) -> Tensor:
    """[size, size, 2] NDC of the pixel centres, x right, y down."""
    axis = (torch.arange(size, device=device) * 2 + 1) / size - 1
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    return torch.stack([x, y], -1)


def capsule_distance(grid: Tensor, start: Tensor, end: Tensor, radius: Tensor) -> Tensor:
    """Distance to a thick line, negative inside: grid [H, W, 2], ends [N, 2], radius [N] -> [N, H, W]."""
    n = slice(None), None, None
    x, y = grid[..., 0] - start[:, 0][n], grid[..., 1] - start[:, 1][n]
    across, down = (end - start)[:, 0][n], (end - start)[:, 1][n]
    along = ((x * across + y * down) / (across**2 + down**2).clamp_min(1e-6)).clamp(0, 1)
    return ((x - along * across) ** 2 + (y - along * down) ** 2).sqrt() - radius[n]


@dataclass(frozen=True)
class Capsules:
    """K thick rounded lines per picture, the first one farthest from the viewer."""

    start: Tensor  # [N, K, 2] NDC
    end: Tensor  # [N, K, 2]
    radius: Tensor  # [N, K]
    colour: Tensor  # [N, K, 3] linear RGB
    shown: Tensor  # [N, K] bool


def lay_capsules(picture: Tensor, capsules: Capsules) -> Tensor:
    """Lay rounded, shaded bodies over the pictures [N, 4, H, W]."""
    grid = pixel_grid(picture.shape[-1], picture.device)
    pixel = 2.0 / picture.shape[-1]
    for k in range(capsules.radius.shape[1]):
        radius = capsules.radius[:, k]
        distance = capsule_distance(grid, capsules.start[:, k], capsules.end[:, k], radius)
        cover = smooth_step(-distance, -pixel, pixel) * capsules.shown[:, k, None, None]
        depth = (-distance / radius[:, None, None]).clamp(0, 1)
        shade = 0.45 + 0.55 * torch.sqrt((1 - (1 - depth) ** 2).clamp_min(0))
        body = covering(capsules.colour[:, k, :, None, None] * shade[:, None])
        picture = torch.lerp(picture, body, cover[:, None])
    return picture


def sample_hands(draws: Draws, n: int, share: float) -> Capsules:
    """Four fingers side by side that reach in from a border, on a share of the pictures."""
    shown = draws.chance(share, n, 1)
    tone = skin_tone(0.05 + 1.2 * draws.uniform(n), draws.uniform(n)) * draws.uniform(n, 1, low=0.3, high=1.1)
    from_angle = draws.uniform(n, low=-0.2 * math.pi, high=1.2 * math.pi)  # mostly from below and the sides
    root = torch.stack([from_angle.cos(), from_angle.sin()], -1) * draws.uniform(n, 1, low=0.8, high=1.3)
    inward = -torch.nn.functional.normalize(root, dim=-1)
    bend = draws.normal(n, 1, std=0.4)
    turned = torch.stack([-inward[:, 1], inward[:, 0]], -1)
    reach = inward * bend.cos() + turned * bend.sin()
    sideways = torch.stack([-reach[:, 1], reach[:, 0]], -1)[:, None]
    radius = draws.uniform(n, 1, low=0.06, high=0.12)
    length = draws.uniform(n, 1, 1, low=0.3, high=0.9) * draws.uniform(n, FINGERS, 1, low=0.8, high=1.0)
    place = torch.arange(FINGERS, device=draws.device)[:, None] - (FINGERS - 1) / 2
    start = root[:, None] + sideways * radius[..., None] * place * 1.9
    fan = reach[:, None] + sideways * place * draws.uniform(n, FINGERS, 1, low=0.0, high=0.12)
    return Capsules(
        start=start,
        end=start + fan * length,
        radius=radius.expand(-1, FINGERS),
        colour=tone[:, None].expand(-1, FINGERS, -1),
        shown=shown.expand(-1, FINGERS),
    )


def sample_objects(draws: Draws, n: int, share: float) -> Capsules:
    """Two bodies of any colour, each on a share of the pictures: sticks and discs, mostly off the centre."""
    angle, distance = draws.uniform(n, 2, low=0, high=2 * math.pi), draws.uniform(n, 2, 1, low=0.25, high=1.0)
    start = torch.stack([angle.cos(), angle.sin()], -1) * distance
    return Capsules(
        start=start,
        end=start + draws.normal(n, 2, 2, std=0.5) * draws.chance(0.7, n, 2, 1),
        radius=draws.log_uniform(n, 2, low=0.02, high=0.35),
        colour=draws.uniform(n, 2, 3) ** 2.2,
        shown=draws.chance(share, n, 2),
    )


@dataclass(frozen=True)
class Patches:
    """One rectangle per picture."""

    centre: Tensor  # [N, 2] NDC
    half: Tensor  # [N, 2] half sides
    turn: Tensor  # [N] rad
    shown: Tensor  # [N] bool


def sample_patch(draws: Draws, n: int, share: float) -> Patches:
    """Rectangles (phone, book, sign, shoulder of a neighbour) in front of a share of the pictures."""
    angle = draws.uniform(n, low=0, high=2 * math.pi)
    return Patches(
        centre=torch.stack([angle.cos(), angle.sin()], -1) * draws.uniform(n, 1, low=0.4, high=1.1),
        half=draws.log_uniform(n, 2, low=0.08, high=0.6),
        turn=draws.uniform(n, low=0, high=math.pi),
        shown=draws.chance(share, n),
    )


def lay_patch(picture: Tensor, texture: Tensor, patches: Patches) -> Tensor:
    """Lay textured rectangles over the pictures [N, 4, H, W]; texture [N, 3, H, W]."""
    grid = pixel_grid(picture.shape[-1], picture.device)
    each = slice(None), None, None
    centre, half = patches.centre, patches.half
    x, y = grid[..., 0] - centre[:, 0][each], grid[..., 1] - centre[:, 1][each]
    c, s = patches.turn.cos()[each], patches.turn.sin()[each]
    across, down = (x * c + y * s).abs() - half[:, 0][each], (y * c - x * s).abs() - half[:, 1][each]
    outside = torch.maximum(across, down)
    pixel = 2.0 / picture.shape[-1]
    cover = smooth_step(-outside, -pixel, pixel) * patches.shown[each]
    return torch.lerp(picture, covering(texture), cover[:, None])
