"""A motion: expression, jaw and head pose, frame by frame. Only these numbers are kept of a clip, never its pictures."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from deca_cli.errors import InputError, UsageError
from deca_cli.heads.rotations import axis_angle_to_matrix, matrix_to_axis_angle

if TYPE_CHECKING:
    from collections.abc import Sequence

    from deca_cli.animate.spaces import ExpressionSpace

CALM_SHARE = 0.1  # of a clip's frames, those with the least expression, make up its neutral


@dataclass(frozen=True, eq=False)
class Motion:
    """What a driver does."""

    space: ExpressionSpace
    expression: Tensor  # float32 [N, E], coefficients of the space
    jaw: Tensor  # float32 [N, 3] axis-angle, radians
    head: Tensor | None  # float32 [N, 3] axis-angle, radians; None if the driver says nothing about it
    fps: float | None  # frames per second; None = separate pictures, not a clip
    labels: tuple[str, ...] = ()  # a name for every frame of separate pictures
    notes: tuple[str, ...] = ()  # what a person should be told about it

    @property
    def length(self) -> int:
        """Number of frames."""
        return len(self.expression)

    def select(self, index: int) -> Motion:
        """One frame, as a motion of length 1 that is not a clip."""
        head = None if self.head is None else self.head[index : index + 1]
        labels = self.labels[index : index + 1]
        part = slice(index, index + 1)
        return replace(
            self, expression=self.expression[part], jaw=self.jaw[part], head=head, fps=None, labels=labels
        )


def expression_only(space: ExpressionSpace, expression: Tensor, *, fps: float | None = None) -> Motion:
    """A motion of [N, E] coefficients without jaw or head rotation."""
    return Motion(space, expression.float(), torch.zeros(len(expression), 3), None, fps)


def join(parts: Sequence[Motion]) -> Motion:
    """Separate pictures of one space, one after another.

    Raises:
        UsageError: they do not share one space.
    """
    first = parts[0]
    if any(not part.space.same_as(first.space) for part in parts):
        raise UsageError(
            "These drivers belong to different models and cannot make up one clip. Give them one by one."
        )
    heads = [part.head for part in parts if part.head is not None]
    return Motion(
        first.space,
        torch.cat([part.expression for part in parts]),
        torch.cat([part.jaw for part in parts]),
        torch.cat(heads) if len(heads) == len(parts) else None,
        first.fps,
        tuple(label for part in parts for label in part.labels),
        tuple(note for part in parts for note in part.notes),
    )


def fill_gaps(motion: Motion, known: Sequence[bool], max_gap_s: float, what: str) -> Motion:
    """Interpolate the frames that are not known; before the first and after the last known one its value holds.

    Args:
        motion: with any values at unknown frames.
        known: for every frame, whether a face was found in it.
        max_gap_s: longest run of unknown frames, in seconds.
        what: the driver's name for messages.

    Raises:
        InputError: no frame is known, or a gap is longer than allowed.
    """
    fps = motion.fps or 1.0
    here = torch.tensor([index for index, found in enumerate(known) if found], dtype=torch.float64)
    if len(here) == 0:
        raise InputError(
            f"{what}: no face was found in any of its {motion.length} frames. Choose a driver that shows a face."
        )
    missing = motion.length - len(here)
    if missing == 0:
        return motion
    first, last = longest_gap(known)
    if (last - first + 1) / fps > max_gap_s + 1e-9:
        raise InputError(
            f"{what}: no face from frame {first + 1} to {last + 1} ({first / fps:.2f} to {(last + 1) / fps:.2f} s), "
            f"longer than the {max_gap_s:g} s that are interpolated. Cut the clip there, or allow more with --max-gap."
        )
    index = here.long()
    filled = sample(
        replace(
            motion,
            expression=motion.expression[index],
            jaw=motion.jaw[index],
            head=None if motion.head is None else motion.head[index],
        ),
        here,
        torch.arange(motion.length, dtype=torch.float64),
    )
    note = f"{what}: no face in {missing} of {motion.length} frames; they were interpolated."
    return replace(filled, notes=(*motion.notes, note))


def longest_gap(known: Sequence[bool]) -> tuple[int, int]:
    """First and last index of the longest run of unknown frames; (0, -1) if there is none."""
    best, start = (0, -1), 0
    for index, found in enumerate([*known, True]):
        if found:
            if index - start > best[1] - best[0] + 1:
                best = (start, index - 1)
            start = index + 1
    return best


def resample(motion: Motion, fps: float) -> Motion:
    """The clip at another frame rate, of the same duration to within a frame, interpolated between its frames."""
    if motion.fps is None or motion.length < 2 or abs(motion.fps - fps) < 1e-6:
        return replace(motion, fps=fps)
    frames = max(1, round(motion.length * fps / motion.fps))
    own = torch.arange(motion.length, dtype=torch.float64) / motion.fps
    wanted = torch.arange(frames, dtype=torch.float64) / fps
    return replace(sample(motion, own, wanted), fps=fps)


def sample(motion: Motion, times: Tensor, wanted: Tensor) -> Motion:
    """Interpolate at other times: numbers along straight lines, rotations along the shortest turn.

    Args:
        motion: N frames.
        times: float64 [N], increasing.
        wanted: float64 [M]; outside the times the first or last frame holds.
    """
    after = torch.searchsorted(times.contiguous(), wanted.contiguous()).clamp(1, max(len(times) - 1, 1))
    after = after.clamp(max=len(times) - 1)
    before = (after - 1).clamp(min=0)
    span = (times[after] - times[before]).clamp(min=1e-12)
    share = ((wanted - times[before]) / span).clamp(0, 1).float()[:, None]

    def turned(values: Tensor) -> Tensor:
        return between_rotations(values[before], values[after], share)

    return replace(
        motion,
        expression=torch.lerp(motion.expression[before], motion.expression[after], share),
        jaw=turned(motion.jaw),
        head=None if motion.head is None else turned(motion.head),
        labels=(),
    )


def between_rotations(start: Tensor, end: Tensor, share: Tensor) -> Tensor:
    """[N, 3] axis-angle part of the way from `start` to `end`; share [N, 1] in 0..1."""
    first = axis_angle_to_matrix(start.double())
    turn = matrix_to_axis_angle(axis_angle_to_matrix(end.double()) @ first.transpose(-1, -2))
    mixed = matrix_to_axis_angle(axis_angle_to_matrix(turn * share.double()) @ first)
    return mixed.to(start.dtype)


def neutral_of(motion: Motion, choice: str = "calmest") -> Motion:
    """The driver's own neutral, as a motion of length 1.

    Args:
        motion: the driver.
        choice: `calmest` (the mean of the tenth of its frames with the least expression), `first`, or the number
            of a frame, counted from 1. A single picture has only the model's neutral to compare with.

    Raises:
        UsageError: no such frame.
    """
    if choice == "first":
        return motion.select(0)
    if choice.isdecimal():
        if not 1 <= int(choice) <= motion.length:
            raise UsageError(f"--neutral {choice}: the driver has {motion.length} frames, counted from 1.")
        return motion.select(int(choice) - 1)
    if choice != "calmest":
        raise UsageError(f"--neutral {choice}: say `calmest`, `first` or the number of a frame.")
    still = motion.select(0)
    if motion.length == 1:
        head = None if motion.head is None else torch.zeros(1, 3)
        return replace(still, expression=still.expression * 0, jaw=still.jaw * 0, head=head)
    effort = motion.expression.square().mean(1) + motion.jaw.square().sum(1)
    calm = effort.argsort()[: max(1, round(CALM_SHARE * motion.length))]
    head = None if motion.head is None else motion.head[calm].mean(0, keepdim=True)
    return replace(
        still,
        expression=motion.expression[calm].mean(0, keepdim=True),
        jaw=motion.jaw[calm].mean(0, keepdim=True),
        head=head,
    )
