"""Curriculum: the first pictures of a run are easy ones, and get harder in a few steps.

In steps and not smoothly, because a recorded generator replays the numbers it was recorded with: at each step it is
recorded anew. The step follows from the share of the run alone, so a resumed run goes on with the same pictures.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from deca_cli.synthetic.settings import GeneratorSettings
    from deca_cli.train.settings import Curriculum, SyntheticSettings

DEGRADATIONS = ("grey", "wrong_balance", "blur", "low_resolution", "noise", "compression", "borders")
OCCLUDERS = ("glasses_share", "hand_share", "object_share", "patch_share", "fringe_share")
POSE = (
    "yaw_std",
    "pitch_std",
    "roll_std",
    "yaw_limit",
    "pitch_limit",
    "roll_limit",
)


def strength_at(curriculum: Curriculum, done: float) -> float:
    """How hard the pictures are when that share of the run is done: from ``start`` in equal steps to 1."""
    if done >= curriculum.share:
        return 1.0
    level = int(max(done, 0.0) / curriculum.share * curriculum.levels)
    return curriculum.start + (1 - curriculum.start) * min(level, curriculum.levels - 1) / curriculum.levels


def generator_at(settings: SyntheticSettings, done: float) -> GeneratorSettings:
    """What is drawn when that share of the run is done: poses narrower, and less in front of and wrong with the picture."""
    full, strength = settings.generator, strength_at(settings.curriculum, done)
    if strength == 1:
        return full
    return replace(
        full,
        pose=replace(full.pose, **{name: strength * getattr(full.pose, name) for name in POSE}),
        camera=replace(full.camera, **{name: strength * getattr(full.camera, name) for name in DEGRADATIONS}),
        **{name: strength * getattr(full, name) for name in OCCLUDERS},
    )
