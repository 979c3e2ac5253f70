"""`summary.json`: what became of every photo of a run."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from deca_cli import __version__
from deca_cli.export.atomic import write_text
from deca_cli.export.params import to_json

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

SUMMARY = "summary.json"
DONE, RESUMED, NO_FACE, FAILED = "done", "resumed", "no face", "failed"


@dataclass(frozen=True)
class FaceResult:
    """Where one face went."""

    folder: str  # below the output folder
    files: tuple[str, ...]
    box_px: tuple[float, ...]
    face_score: float | None


@dataclass(frozen=True)
class Outcome:
    """What became of one photo."""

    photo: Path
    status: str  # DONE, RESUMED, NO_FACE or FAILED
    reason: str = ""  # of NO_FACE and FAILED
    faces: tuple[FaceResult, ...] = ()
    seconds: dict[str, float] = field(default_factory=dict)  # by stage

    @property
    def skipped(self) -> bool:
        """Whether there is no result."""
        return self.status in {NO_FACE, FAILED}


def write_summary(output: Path, outcomes: Sequence[Outcome], *, run: dict[str, Any]) -> Path:
    """Write the summary of a run.

    Args:
        output: the output folder.
        outcomes: one a photo, in order.
        run: what was asked for and with what: model, device, command ...
    """
    stages: dict[str, float] = {}
    for outcome in outcomes:
        for stage, seconds in outcome.seconds.items():
            stages[stage] = stages.get(stage, 0.0) + seconds
    skipped = [outcome for outcome in outcomes if outcome.skipped]
    content = {
        "version": __version__,
        **run,
        "counts": {
            "photos": len(outcomes),
            "faces": sum(len(outcome.faces) for outcome in outcomes),
            "skipped": len(skipped),
        },
        "seconds_by_stage": stages,
        "photos": [asdict(outcome) | {"photo": str(outcome.photo)} for outcome in outcomes],
    }
    return write_text(output / SUMMARY, to_json(content))
