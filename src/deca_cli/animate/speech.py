"""Speech on a face that is not neutral in the photo: the lips part and close as the sounds want, the rest stays."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from deca_cli.animate.combine import transfer

if TYPE_CHECKING:
    from torch import Tensor

    from deca_cli.animate.combine import TransferRule
    from deca_cli.animate.motion import Motion
    from deca_cli.animate.spaces import ExpressionSpace
    from deca_cli.networks.codes import Codes

# Beginnings of the ARKit names of what sounds decide: jaw and lips. Smile, dimples, cheeks, nose, eyes and brows stay.
SPOKEN = (
    "jaw", "mouthClose", "mouthUpperUp", "mouthLowerDown", "mouthFunnel", "mouthPucker", "mouthRoll", "mouthShrug",
    "mouthPress", "tongue",
)  # fmt: skip
ROUND, WIDE = ("mouthFunnel", "mouthPucker"), ("mouthSmile", "mouthDimple", "mouthStretch")
YIELDS = 0.7  # share of the photo's smile that a fully rounded mouth takes away
BEGIN_S = 0.25  # from the photo's expression into speech, and back at the end


def speak(source: Codes, motion: Motion, rule: TransferRule, fps: float) -> Codes:
    """The source says what `motion` says, beginning and ending with the expression of its photo.

    Args:
        source: batch of one.
        motion: N frames of visemes, in the source's coefficients.
        rule: intensity, what is kept, and the pose.
        fps: frames per second.

    Returns:
        Codes of a batch of N.
    """
    around = replace(rule, relative=True, neutral="first")
    if {"mouth", "jaw"} & set(rule.keep):
        return transfer(source, motion, around)
    motion = _yielding(source, motion)
    spoken = transfer(_lips_at_rest(motion.space, source), motion, around)
    frame = torch.arange(motion.length, device=source.pose.device) / fps
    share = (torch.minimum(frame, frame.flip(0)) / BEGIN_S).clamp(max=1)[:, None]
    share = share * share * (3 - 2 * share)
    expression = torch.lerp(source.expression, spoken.expression, share)
    jaw = torch.lerp(source.pose[:, 3:], spoken.pose[:, 3:], share)
    return replace(spoken, expression=expression, pose=torch.cat([spoken.pose[:, :3], jaw], dim=1))


def _yielding(source: Codes, motion: Motion) -> Motion:
    """The motion with less of the source's smile where lips are round; the same on heads without names."""
    if not motion.space.names:
        return motion
    rounded = motion.expression[:, _named(motion.space, ROUND)].sum(dim=1, keepdim=True).clamp(max=1)
    smile = source.expression.to(motion.expression) * _named(motion.space, WIDE)
    return replace(motion, expression=motion.expression - YIELDS * rounded * smile)


def _named(space: ExpressionSpace, beginnings: tuple[str, ...]) -> Tensor:
    """Bool [E], the coefficients whose names begin so."""
    return torch.tensor([name.startswith(beginnings) for name in space.names], dtype=torch.bool)


def _lips_at_rest(space: ExpressionSpace, codes: Codes) -> Codes:
    """The codes with jaw and lips as in the neutral face; on heads without names the jaw alone."""
    expression = codes.expression
    if space.names:
        expression = expression.masked_fill(_named(space, SPOKEN).to(expression.device), 0.0)
    pose = torch.cat([codes.pose[:, :3], torch.zeros_like(codes.pose[:, 3:])], dim=1)
    return replace(codes, expression=expression, pose=pose)
