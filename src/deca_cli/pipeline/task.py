"""One photo on its way through the pipeline."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from deca_cli.photo.read import MAX_PIXELS, size_in_header
from deca_cli.pipeline.clock import Clock
from deca_cli.pipeline.stopped import StoppedError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from deca_cli.export.summary import Outcome
    from deca_cli.photo.sighting import Sighting
    from deca_cli.pipeline.fit import Fit
    from deca_cli.pipeline.worker import Pending

BYTES_OF_A_PIXEL = 3
PIXELS_OF_A_BYTE = 8  # of a photo's file, roughly, for a good JPEG; where the header does not tell


@dataclass(eq=False)
class Task:
    """One photo on its way."""

    number: int  # in the order of the photos
    path: Path
    names: Sequence[str]
    pixel_bytes: int | None = None  # None until somebody has asked
    clock: Clock = field(default_factory=Clock)
    looked_up: bool = False  # whether an earlier run may have finished it
    outcome: Outcome | None = None  # known without any work
    error: BaseException | None = None
    worker: int = -1  # who has the photo
    seeing: Pending | None = None
    seen: Sighting | None = None
    fits: list[Fit] = field(default_factory=list)
    saving: Pending | None = None
    fitted: bool = False  # nothing more is to come but the end of saving

    @property
    def over(self) -> bool:
        """Whether all is known and written."""
        return self.outcome is not None or (self.fitted and (self.saving is None or self.saving.done))

    @property
    def not_begun(self) -> bool:
        """Whether it was left alone because the run ends."""
        errors = (self.error, self.saving.error if self.saving is not None else None)
        return any(isinstance(error, StoppedError) for error in errors)


def bytes_of(path: Path) -> int:
    """How much memory a photo's pixels take, from its header; at most what the largest photo takes that is read."""
    try:
        size = size_in_header(path)
        pixels = size[0] * size[1] if size else path.stat().st_size * PIXELS_OF_A_BYTE
    except OSError:
        return 0
    return BYTES_OF_A_PIXEL * min(pixels, MAX_PIXELS)
