"""Where a run stands, and who is told."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True)
class Progress:
    """Where a run stands; given to the caller's report function."""

    step: int
    total_steps: int
    done: float
    """Share of the run, 0 to 1."""
    images_per_s: float
    seconds_left: float
    values: dict[str, float]
    """Weighted terms and their sum `all_loss`."""
    validation: dict[str, float] = field(default_factory=dict)
    """Of the last validation."""


@dataclass(frozen=True)
class Watchers:
    """How a run talks to the one who started it; both are called in the first process only."""

    progress: Callable[[Progress], None] = lambda _: None
    message: Callable[[str], None] = lambda _: None
    wants_stop: Callable[[], bool] = lambda: False
    """Whether to save and leave at the next opportunity."""
