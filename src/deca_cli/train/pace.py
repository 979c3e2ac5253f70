"""How quick a run is."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


class Pace:
    """Images per second between reports, without the time of validations and saving."""

    def __init__(self, step: int) -> None:
        self.since, self.step, self.pause = time.monotonic(), step, 0.0
        self.last_end = self.since

    def waited(self, started: float) -> float:
        """Seconds that the loop waited for this batch."""
        return max(started - self.last_end, 0.0)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Time that does not count."""
        start = time.monotonic()
        yield
        self.last_end = time.monotonic()
        self.pause += self.last_end - start

    def images_per_s(self, step: int, images: int) -> float:
        """Since the last call."""
        now = time.monotonic()
        spent = max(now - self.since - self.pause, 1e-9)
        rate = (step - self.step) * images / spent
        self.since, self.step, self.pause = now, step, 0.0
        return rate


def seconds_left(share: float, seconds: float, minutes: float) -> float:
    """Of a run that has done a share of its steps in so many seconds and may last so many minutes (0 = any)."""
    left = seconds * (1 / share - 1) if share else 0.0
    return max(min(left, 60 * minutes - seconds) if minutes else left, 0.0)
