"""Glasses and a clothed bust: small parametric meshes that move with the head."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from deca_cli.synthetic.draws import Draws

RIM_POINTS = 24
LENS_LEFT, LENS_RIGHT, FRAME = range(3)


@dataclass(frozen=True)
class GlassesStyle:
    """One pair per face; [N] metres unless said otherwise."""

    worn: Tensor  # bool
    half_width: Tensor
    half_height: Tensor
    squareness: Tensor  # exponent of the superellipse
    rim: Tensor
    distance: Tensor  # in front of the eyes
    drop: Tensor
    colour: Tensor  # [N, 3] linear RGB
    lens_colour: Tensor  # [N, 3]
    lens_alpha: Tensor
    glare: Tensor


def sample_glasses(draws: Draws, count: int, share: float, glare_share: float = 0.5) -> GlassesStyle:
    """Draw ``count`` pairs; ``share`` of the faces wear them, about a third of those are sunglasses; some reflect."""
    sun = draws.chance(0.35, count)
    clear = draws.uniform(count, low=0.0, high=0.15)
    colour = draws.uniform(count, 3) ** 3 * 0.6 + 0.003
    plain = draws.chance(0.6, count)[:, None]  # black, grey and metal
    return GlassesStyle(
        worn=draws.chance(share, count),
        half_width=draws.uniform(count, low=0.021, high=0.033),
        half_height=draws.uniform(count, low=0.013, high=0.027),
        squareness=draws.uniform(count, low=2.0, high=5.0),
        rim=draws.log_uniform(count, low=0.0008, high=0.005),
        distance=draws.uniform(count, low=0.010, high=0.020),
        drop=draws.uniform(count, low=-0.002, high=0.008),
        colour=torch.where(plain, colour.amin(1, keepdim=True) * 0.5, colour),
        lens_colour=draws.uniform(count, 3) ** 2 * torch.where(sun, 0.08, 0.9)[:, None],
        lens_alpha=torch.where(sun, draws.uniform(count, low=0.6, high=0.98), clear),
        glare=draws.uniform(count, low=0.0, high=0.7) * draws.chance(glare_share, count),
    )


def glasses_faces() -> tuple[Tensor, Tensor]:
    """Triangles [F, 3] and their part [F] (LENS_LEFT, LENS_RIGHT or FRAME) of ``glasses_vertices``."""
    k = RIM_POINTS
    faces: list[list[int]] = []
    parts: list[int] = []

    def quad(a: int, b: int, c: int, d: int) -> None:
        faces.extend([[a, b, c], [a, c, d]])
        parts.extend([FRAME, FRAME])

    for eye in range(2):
        base = eye * (2 * k + 1)
        for i in range(k):
            j = (i + 1) % k
            quad(base + i, base + j, base + k + j, base + k + i)
            faces.append([base + 2 * k, base + i, base + j])
            parts.append(eye)
    for first in range(2 * (2 * k + 1), 2 * (2 * k + 1) + 12, 4):  # bridge and two temples
        quad(first, first + 1, first + 2, first + 3)
    return torch.tensor(faces), torch.tensor(parts)


def glasses_vertices(style: GlassesStyle, eye_left: Tensor, eye_right: Tensor, ear_depth: Tensor) -> Tensor:
    """[N, G, 3] in the head frame, metres.

    Args:
        eye_left, eye_right: [N, 3] centres of the eye openings.
        ear_depth: [N] z of the ears, where the temples end.
    """
    turn = torch.linspace(0, 2 * math.pi, RIM_POINTS + 1, device=eye_left.device)[:-1]
    power = (2 / style.squareness)[:, None]
    unit = torch.stack(
        [turn.cos().sign() * turn.cos().abs() ** power, turn.sin().sign() * turn.sin().abs() ** power], -1
    )
    inner_size = torch.stack([style.half_width, style.half_height], -1)[:, None]
    outer_size = inner_size + style.rim[:, None, None]
    forward = torch.stack([torch.zeros_like(style.drop), -style.drop, style.distance], -1)
    points, hinges, bridges = [], [], []
    # Both lenses stand in one plane: the mean depth of the two eyes.
    depth = (eye_left[:, 2] + eye_right[:, 2]) / 2
    for eye, outward in ((eye_left, 1.0), (eye_right, -1.0)):
        centre = torch.stack([eye[:, 0] * 1.03, eye[:, 1], depth], -1) + forward
        for size in (inner_size, outer_size):
            rim = unit * size
            curve = -0.12 * (rim[..., :1] * outward).clamp_min(0)
            points.append(torch.cat([rim, curve], -1) + centre[:, None])
        points.append(centre[:, None])
        side = torch.zeros_like(centre) + centre
        hinges.append(
            side
            + torch.stack(
                [outward * outer_size[:, 0, 0], 0.3 * style.half_height, -0.12 * outer_size[:, 0, 0]], -1
            )
        )
        bridges.append(
            side
            + torch.stack(
                [-outward * inner_size[:, 0, 0], 0.2 * style.half_height, torch.zeros_like(depth)], -1
            )
        )
    height = torch.stack([torch.zeros_like(depth), style.rim + 0.001, torch.zeros_like(depth)], -1)
    left, right = bridges
    quads = [left - height, right - height, right + height, left + height]
    for hinge in hinges:
        tip = torch.cat([hinge[:, :1] * 1.08, hinge[:, 1:2], ear_depth[:, None]], -1)
        quads += [hinge - height, tip - height, tip + height, hinge + height]
    return torch.cat([*points, torch.stack(quads, 1)], 1)


class Bust:
    """Shoulders and clothes below the neck, a surface of rings.

    Args:
        neck_base: [3] centre of the neck's lower end on the template, metres.
    """

    # (drop below the neck's end, half width, half depth, forward), metres
    RINGS = (
        (-0.030, 0.058, 0.060, 0.000),
        (0.000, 0.072, 0.068, 0.000),
        (0.020, 0.100, 0.080, -0.005),
        (0.040, 0.150, 0.095, -0.010),
        (0.070, 0.195, 0.105, -0.010),
        (0.120, 0.225, 0.115, -0.005),
        (0.220, 0.235, 0.125, 0.005),
        (0.420, 0.230, 0.130, 0.005),
    )

    def __init__(self, neck_base: Tensor, columns: int = 32) -> None:
        device = neck_base.device
        rings = torch.tensor(self.RINGS, device=device)
        turn = torch.linspace(-math.pi, math.pi, columns + 1, device=device)
        drop, width, depth, forward = (rings[:, i : i + 1] for i in range(4))
        x, z = width * turn.sin(), depth * turn.cos() + forward
        self.template = torch.stack([x, (-drop).expand_as(x), z], -1).reshape(-1, 3) + neck_base
        self.pivot = neck_base
        level = torch.linspace(-1, 1, len(rings), device=device)
        self.pattern_position = torch.stack(
            [(turn / math.pi).expand(len(rings), -1), level[:, None].expand(-1, columns + 1)], -1
        ).reshape(-1, 2)
        index = torch.arange(len(rings) * (columns + 1), device=device).reshape(len(rings), columns + 1)
        a, b, c, d = index[:-1, :-1], index[:-1, 1:], index[1:, :-1], index[1:, 1:]
        self.faces = torch.cat(
            [torch.stack([a, c, b], -1).reshape(-1, 3), torch.stack([b, c, d], -1).reshape(-1, 3)]
        )

    def vertices(self, draws: Draws, rotation: Tensor) -> Tensor:
        """[N, G, 3] camera-aligned, metres: shoulders that follow the head only in part.

        Args:
            rotation: [N, 3, 3] head rotation.
        """
        count = rotation.shape[0]
        follow = draws.uniform(count, 1, 1, low=0.1, high=0.9)
        identity = torch.eye(3, device=rotation.device)
        blended = (1 - follow) * identity + follow * rotation
        first = torch.nn.functional.normalize(blended[..., 0], dim=-1)
        second = blended[..., 1] - (blended[..., 1] * first).sum(-1, keepdim=True) * first
        second = torch.nn.functional.normalize(second, dim=-1)
        partial = torch.stack([first, second, torch.linalg.cross(first, second)], -1)
        size = draws.uniform(count, 1, 3, low=0.85, high=1.2)
        around_pivot = (self.template - self.pivot) * size
        hang = rotation @ self.pivot  # where the neck ends once the head has turned
        return around_pivot @ partial.mT + hang[:, None]
