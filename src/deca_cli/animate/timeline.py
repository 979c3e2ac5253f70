"""Keyframes in time become a clip."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from deca_cli.animate.motion import Motion
from deca_cli.animate.named import coefficients
from deca_cli.animate.spaces import arkit_space
from deca_cli.errors import UsageError
from deca_cli.heads.rotations import euler_degrees_to_matrix, matrix_to_axis_angle

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

EASES = ("smooth", "linear", "hold")
LONGEST_S = 3600.0


@dataclass(frozen=True, eq=False)
class Keyframe:
    """What holds at one time; between two keyframes everything moves from the one to the other."""

    time_s: float
    expression: Mapping[str, float] = field(default_factory=dict)  # names of animate.named -> amounts
    turn_deg: tuple[float, float, float] = (0.0, 0.0, 0.0)  # yaw, pitch, roll
    zoom: float = 1.0
    ease: str = "smooth"  # how the way to this keyframe goes


@dataclass(frozen=True, eq=False)
class Clip:
    """A motion made here rather than taken from a driver; its head turns about the base pose."""

    motion: Motion  # in ARKit coefficients
    zoom: Tensor  # float32 [N]


def play(keyframes: Sequence[Keyframe], fps: float, seconds: float | None = None) -> Clip:
    """Interpolate keyframes at the frames of a clip.

    Angles go through their numbers of degrees, so that 0 to 360 is a whole turn.

    Args:
        keyframes: at least one, in the order of time.
        fps: frames per second.
        seconds: stretch the whole to this duration; its own if left out.

    Raises:
        UsageError: no keyframe, times that do not grow, or a clip that is too long.
    """
    check_times(keyframes)
    own = torch.tensor([key.time_s for key in keyframes], dtype=torch.float64)
    duration = float(own[-1]) if seconds is None else seconds
    if not 0 <= duration <= LONGEST_S:
        raise UsageError(f"A clip of {duration:g} s cannot be made: between 0 and {LONGEST_S:g} s.")
    if seconds is not None and own[-1] > 0:
        own = own * (seconds / own[-1])
    count = max(1, round(duration * fps))
    now = torch.arange(count, dtype=torch.float64) / fps
    values = torch.stack([_numbers(key) for key in keyframes])  # [K, 52 + 4]
    after = torch.searchsorted(own.contiguous(), now, right=True).clamp(max=len(own) - 1)
    before = (after - 1).clamp(min=0)
    share = ((now - own[before]) / (own[after] - own[before]).clamp(min=1e-9)).clamp(0, 1)
    eases = [EASES.index(key.ease) for key in keyframes]
    share = _eased(share, torch.tensor(eases)[after])[:, None].float()
    mixed = torch.lerp(values[before], values[after], share)
    size = arkit_space().size
    head = matrix_to_axis_angle(euler_degrees_to_matrix(mixed[:, size : size + 3].double())).float()
    motion = Motion(arkit_space(), mixed[:, :size], torch.zeros(count, 3), head, fps)
    return Clip(motion, mixed[:, size + 3])


def check_times(keyframes: Sequence[Keyframe]) -> None:
    """Refuse keyframes that are not one after another.

    Raises:
        UsageError: there is none, or a time is not later than the one before.
    """
    if not keyframes:
        raise UsageError("A clip needs at least one keyframe.")
    times = [key.time_s for key in keyframes]
    for number, (before, after) in enumerate(itertools.pairwise(times), 2):
        if not after > before:
            raise UsageError(
                f"keyframe {number} is at {after:g} s, not later than the one before at {before:g} s."
            )


def _numbers(key: Keyframe) -> Tensor:
    return torch.cat([coefficients(key.expression), torch.tensor([*key.turn_deg, key.zoom])])


def _eased(share: Tensor, ease: Tensor) -> Tensor:
    """The share of the way after easing; ease [N] is an index into EASES."""
    smooth = share * share * (3 - 2 * share)
    held = (share >= 1).to(share)
    return torch.where(ease == 0, smooth, torch.where(ease == 1, share, held))
