"""The official teaser (specification 7.7) with any number of expressions: photo, shape, views, expressions side by side."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from deca_cli.heads.rotations import euler_to_axis_angle

if TYPE_CHECKING:
    from deca_cli.animate.motion import Motion
    from deca_cli.networks.codes import Codes

YAWS_DEG = (*range(0, 30, 5), *range(30, -30, -5), *range(-30, 0, 5))  # 24 views
JAWS_DEG = tuple(range(0, 32, 2))  # 16 openings; the last gives way to the first expression
OFFICIAL_CAMERA = (8.0, 0.0, 0.0)
STEPS, STAY = 12, 6  # smooth: frames from one expression to the next, and frames that it stays
OPEN_DEG = 24.0


@dataclass(frozen=True, eq=False)
class Columns:
    """What moves in a teaser: two series of heads of one length."""

    views: Codes
    expressions: Codes


def official_columns(source: Codes, motion: Motion, camera: tuple[float, ...] = OFFICIAL_CAMERA) -> Columns:
    """Frame for frame as the release: 24 with nine expressions. More expressions go on with the views from the start.

    Args:
        source: batch of one.
        motion: expressions in the source's own coefficients.
        camera: s, tx, ty.
    """
    frames = len(JAWS_DEG) - 1 + motion.length
    yaw = torch.tensor(list(itertools.islice(itertools.cycle(YAWS_DEG), frames)))
    views = _views(source, yaw.float(), camera)
    expression = source.expression.repeat(frames, 1)
    jaw = _jaw(torch.tensor(JAWS_DEG[:frames]).float()).to(source.pose)
    jaw = torch.cat([jaw[: len(JAWS_DEG) - 1], motion.jaw.to(source.pose)])
    expression[len(JAWS_DEG) - 1 :] = motion.expression.to(expression)
    return Columns(views, _faces(source, expression, jaw, camera))


def smooth_columns(
    source: Codes, motion: Motion, camera: tuple[float, ...], *, jaw_index: int | None = None
) -> Columns:
    """The same idea with everything moving smoothly, and ending where it begins.

    Args:
        source: batch of one.
        motion: expressions in the source's own coefficients.
        camera: s, tx, ty.
        jaw_index: the coefficient that opens the jaw, for heads whose jaw is moved by the expression.
    """
    own = source.expression.cpu()
    start = torch.cat([own, source.pose[:, 3:].cpu()], dim=1)[0]
    opened = start.clone()
    if jaw_index is None:
        opened[-3:] = _jaw(torch.tensor([OPEN_DEG]))[0]
    else:
        opened[jaw_index] = 0.7
    goals = [start, opened, start, *torch.cat([motion.expression, motion.jaw], dim=1), start]
    rows: list[torch.Tensor] = []
    for before, after in itertools.pairwise(goals):
        shares = torch.linspace(0, 1, STEPS + 1)[1:]
        shares = shares * shares * (3 - 2 * shares)
        rows += [torch.lerp(before, after, share) for share in shares]
        rows += [after] * STAY
    table = torch.stack(rows).to(source.pose)
    turns = max(1, round(len(rows) / 75))
    phase = torch.arange(len(rows)) * (2 * math.pi * turns / len(rows))
    views = _views(source, 30 * torch.sin(phase), camera)
    return Columns(views, _faces(source, table[:, :-3], table[:, -3:], camera))


def _jaw(degrees: torch.Tensor) -> torch.Tensor:
    """[N] opening -> [N, 3] axis-angle."""
    zero = torch.zeros_like(degrees)
    return euler_to_axis_angle(torch.stack([torch.deg2rad(degrees), zero, zero], dim=1))


def _views(source: Codes, yaw_deg: torch.Tensor, camera: tuple[float, ...]) -> Codes:
    zero = torch.zeros_like(yaw_deg)
    head = euler_to_axis_angle(torch.stack([zero, torch.deg2rad(yaw_deg), zero], dim=1)).to(source.pose)
    frames = _repeated(source, len(yaw_deg), camera)
    return replace(frames, pose=torch.cat([head, frames.pose[:, 3:]], dim=1))


def _faces(source: Codes, expression: torch.Tensor, jaw: torch.Tensor, camera: tuple[float, ...]) -> Codes:
    frames = _repeated(source, len(jaw), camera)
    return replace(frames, expression=expression, pose=torch.cat([torch.zeros_like(jaw), jaw], dim=1))


def _repeated(source: Codes, count: int, camera: tuple[float, ...]) -> Codes:
    frames = source.select(torch.zeros(count, dtype=torch.long, device=source.pose.device))
    return replace(frames, camera=source.camera.new_tensor([camera]).expand(count, -1))
