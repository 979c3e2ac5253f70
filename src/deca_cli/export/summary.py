"""`summary.json`: what became of every photo of a run."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deca_cli import __version__
from deca_cli.export.atomic import write_text
from deca_cli.export.owner import photo_identity
from deca_cli.export.params import as_stored, to_json

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

SUMMARY = "summary.json"
DONE, RESUMED, NO_FACE, FAILED = "done", "resumed", "no face", "failed"
ENDED = "ended the run"
SKIPPED = frozenset({NO_FACE, FAILED})


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
    status: str  # DONE, RESUMED, NO_FACE, FAILED or ENDED
    reason: str = ""  # of NO_FACE, FAILED and ENDED
    warning: str = ""  # of a result that should be looked at
    faces: tuple[FaceResult, ...] = ()
    seconds: dict[str, float] = field(default_factory=dict)  # by stage

    @property
    def skipped(self) -> bool:
        """Whether there is no result, and the run went on."""
        return self.status in SKIPPED


def write_summary(output: Path, outcomes: Sequence[Outcome], *, run: Mapping[str, Any]) -> Path:
    """Write the summary of a run.

    Args:
        output: the output folder.
        outcomes: one a photo, in order.
        run: what was asked for and with what: model, device, command ...
    """
    rows = [row_of(outcome) for outcome in outcomes]
    return write_text(output / SUMMARY, to_json(content_of(rows, stages_of(outcomes), run)))


def row_of(outcome: Outcome) -> dict[str, Any]:
    """One photo's entry."""
    return asdict(outcome) | {"photo": str(outcome.photo.absolute())}


def stages_of(outcomes: Sequence[Outcome]) -> dict[str, float]:
    """Seconds by stage, summed over photos."""
    stages: dict[str, float] = {}
    for outcome in outcomes:
        for stage, seconds in outcome.seconds.items():
            stages[stage] = stages.get(stage, 0.0) + seconds
    return stages


def content_of(
    rows: Sequence[Mapping[str, Any]], stages: Mapping[str, float], run: Mapping[str, Any]
) -> dict[str, Any]:
    """The whole summary from its entries."""
    return {
        "version": __version__,
        **run,
        "counts": {
            "photos": len(rows),
            "faces": sum(len(row["faces"]) for row in rows),
            "skipped": sum(row["status"] in SKIPPED for row in rows),
        },
        "seconds_by_stage": dict(stages),
        "photos": list(rows),
    }


def read_faceless(output: Path, *, like: Mapping[str, Any]) -> dict[str, float]:
    """Photos in which the last run found no face, by identity, and when that was known (seconds since the epoch).

    Args:
        output: the output folder.
        like: fields that the summary must have, such as the model; else nothing is known.
    """
    path = output / SUMMARY
    try:
        content = json.loads(path.read_text("utf-8"))
        if any(content.get(key) != as_stored(value) for key, value in like.items()):
            return {}
        known = path.stat().st_mtime
        faceless = [Path(row["photo"]) for row in content["photos"] if row["status"] == NO_FACE]
        return {photo_identity(photo): known for photo in faceless}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}
