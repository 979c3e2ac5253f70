"""What `deca train prepare` is asked for."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from deca_cli.errors import UsageError


@dataclass(frozen=True)
class QualityLimits:
    """Which pictures are good enough to learn from; 0 (for the last one 1) switches a limit off."""

    face_score: float = 0.99  # least, of the model; the pack's own if it has one that is higher
    face_size: float = 48.0  # least mean side of the 68-point box, pixels of the source
    sharpness: float = 15.0  # least variance of the Laplacian of the grey face at 96 pixels (0..255)
    # Largest mean distance of landmarks to those of the mirrored crop, in box sides.
    disagreement: float = 0.06
    second_face: float = 0.9  # largest size of another face, as a share of the largest one's


@dataclass(frozen=True)
class PrepareSettings:
    """Everything that decides about the content of a dataset.

    Raises:
        UsageError: a value makes no sense.
    """

    margin: float = 1.9  # side of the stored crops over the longer side of the 68-point box
    size: int = 320  # largest side of the stored crops, pixels; smaller ones keep the source's pixels
    every: int = 10  # of videos, every so many frames
    held_out: float = 0.05  # share of the people kept for validation
    seed: int = 0  # of who they are
    detector: str = "auto"
    limits: QualityLimits = field(default_factory=QualityLimits)

    def __post_init__(self) -> None:
        checks = {
            "--margin": 1 <= self.margin <= 5,
            "--size": 64 <= self.size <= 4096,
            "--every": self.every >= 1,
            "--held-out": 0 <= self.held_out < 1,
            "--seed": self.seed >= 0,
        }
        values = asdict(self)
        wrong = [f"{name} {values[name[2:].replace('-', '_')]}" for name, good in checks.items() if not good]
        if wrong:
            raise UsageError(
                f"A dataset cannot be made with {', '.join(wrong)}: the margin is 1 to 5 face boxes, the size 64 to "
                "4096 pixels, --every and --seed are whole numbers from 1 and 0 on, --held-out is a share below 1."
            )

    def request(self) -> dict[str, Any]:
        """As kept in the dataset, to tell whether an earlier run was asked for the same."""
        return asdict(self)
