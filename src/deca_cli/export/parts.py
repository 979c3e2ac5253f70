"""One `summary.json` for a job that several processes share, on one machine or on many, joined through files alone.

Every process writes what it did to a file of its own and then joins all such files that are there. Whoever comes last sees
all of them, so nothing has to be waited for; two that join at the same time look again afterwards.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from deca_cli.export.atomic import make_folder, remove_file, write_text
from deca_cli.export.owner import photo_identity
from deca_cli.export.params import as_stored, to_json
from deca_cli.export.summary import SUMMARY, content_of, row_of, stages_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from deca_cli.export.summary import Outcome

FOLDER = ".deca-parts"
SAME = ("model_fingerprint", "request", "formats")  # of runs whose parts belong together


@dataclass(frozen=True)
class Part:
    """Which part of which job."""

    number: int  # from 0 on
    of: int
    job: str  # of `photos_digest`
    launch: str = ""  # which start of processes it belongs to; empty: it was started by hand

    @property
    def name(self) -> str:
        """Of its file."""
        return f"{self.job}-{self.number + 1}-of-{self.of}.json"


@dataclass(frozen=True)
class Joined:
    """What the joined summary holds."""

    photos: int
    skipped: int
    complete: bool  # all parts are there, and they are of one start


def photos_digest(photos: Sequence[Path]) -> str:
    """Sixteen letters that tell one list of photos from another."""
    digest = hashlib.sha256()
    for photo in photos:
        digest.update(photo_identity(photo).encode("utf-8", "surrogateescape") + b"\0")
    return digest.hexdigest()[:16]


def forget_part(output: Path, part: Part) -> None:
    """Remove what an earlier run left as this part, so that nobody takes it for what is being done now.

    Raises:
        OutputError: it cannot be removed.
    """
    remove_file(output / FOLDER / part.name)


def write_part(output: Path, part: Part, outcomes: Sequence[Outcome], *, run: Mapping[str, Any]) -> Joined:
    """Write what one process did, and the summary of all parts that are there.

    Args:
        output: the output folder.
        part: which part of the job.
        outcomes: one a photo, in order; the k-th is photo `part.number + k * part.of` of the job.
        run: see `write_summary`.

    Raises:
        OutputError: a file cannot be written.
    """
    rows = [{"index": part.number + k * part.of, **row_of(outcome)} for k, outcome in enumerate(outcomes)]
    content = {
        **content_of(rows, stages_of(outcomes), run),
        "part": part.number,
        "of": part.of,
        "launch": part.launch,
    }
    write_text(make_folder(output / FOLDER) / part.name, to_json(content))
    return join_parts(output, part, run=run)


def join_parts(output: Path, part: Part, *, run: Mapping[str, Any]) -> Joined:
    """Write the summary of all parts that are there.

    Args:
        output: the output folder.
        part: that of this process, written before.
        run: see `write_summary`; only parts of such a run are taken.

    Raises:
        OutputError: it cannot be written.
    """
    folder = output / FOLDER
    own = as_stored({name: run.get(name) for name in SAME})
    while True:
        state, parts = _read_parts(folder, part, own)
        whole = _joined(parts, part.of)
        write_text(output / SUMMARY, to_json(whole))
        if _read_parts(folder, part, own)[0] == state:
            break
    together = sum(one.get("launch") == part.launch for one in parts)
    counts = whole["counts"]
    return Joined(counts["photos"], counts["skipped"], complete=together == part.of)


def _read_parts(folder: Path, part: Part, own: object) -> tuple[list[tuple[str, int]], list[dict[str, Any]]]:
    """What lies there of the same job: names with the times of their last change, and contents, by number."""
    state: list[tuple[str, int]] = []
    parts: list[dict[str, Any]] = []
    for number in range(part.of):
        path = folder / Part(number, part.of, part.job).name
        try:
            changed = path.stat().st_mtime_ns
            content = json.loads(path.read_text("utf-8"))
            if {name: content.get(name) for name in SAME} != own:
                continue
        except (OSError, ValueError, AttributeError):
            continue
        state.append((path.name, changed))
        parts.append(content)
    return state, parts


def _joined(parts: Sequence[Mapping[str, Any]], of: int) -> dict[str, Any]:
    """One summary from several: rows in the order of the photos, seconds of the longest, devices of all."""
    rows = sorted((row for part in parts for row in part["photos"]), key=lambda row: row["index"])
    stages: dict[str, float] = {}
    for part in parts:
        for stage, seconds in part["seconds_by_stage"].items():
            stages[stage] = stages.get(stage, 0.0) + seconds
    left_out = {"counts", "seconds_by_stage", "photos", "part", "of", "launch", "version"}
    run = {name: value for name, value in parts[0].items() if name not in left_out}
    run |= {
        "device": ", ".join(sorted({part["device"] for part in parts})),
        "interrupted": any(part["interrupted"] for part in parts),
        "seconds": max(part["seconds"] for part in parts),
        "parts": of,
        "parts_done": [part["part"] + 1 for part in parts],
    }
    plain = [{name: value for name, value in row.items() if name != "index"} for row in rows]
    return content_of(plain, stages, run)
