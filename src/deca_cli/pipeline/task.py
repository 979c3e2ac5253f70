"""One photo on its way through the pipeline."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from deca_cli.pipeline.clock import Clock

if TYPE_CHECKING:
    from collections.abc import Sequence
    from concurrent.futures import Future
    from pathlib import Path

    from deca_cli.export.summary import FaceResult, Outcome
    from deca_cli.photo.sighting import Sighting
    from deca_cli.pipeline.fit import Fit

BYTES_OF_A_PIXEL = 3
PIXELS_OF_A_BYTE = 8  # of a photo's file, roughly, for a good JPEG


@dataclass(eq=False)
class Task:
    """One photo on its way."""

    path: Path
    names: Sequence[str]
    bytes_guess: int = 0
    clock: Clock = field(default_factory=Clock)
    outcome: Outcome | None = None  # known without any work, or the end of a failure
    error: BaseException | None = None
    seeing: Future[Sighting] | None = None
    seen: Sighting | None = None
    fits: list[Fit] = field(default_factory=list)
    saving: Future[tuple[FaceResult, ...]] | None = None


def bytes_guess(path: Path) -> int:
    """About how much memory a photo takes, from the size of its file."""
    try:
        return path.stat().st_size * PIXELS_OF_A_BYTE * BYTES_OF_A_PIXEL
    except OSError:
        return 0
