"""Where the time of a training step goes."""

from __future__ import annotations

import time
from collections import defaultdict

import torch


class StepClock:
    """Adds up the time between marks; does nothing unless it is wanted, because it makes the GPU wait.

    Args:
        device: whose work is timed.
        wanted: whether to measure at all.
    """

    def __init__(self, device: torch.device, wanted: bool) -> None:
        self.device, self.wanted = device, wanted
        self.started = 0.0
        self.seconds: defaultdict[str, list[float]] = defaultdict(list)

    def start(self) -> None:
        """The step begins."""
        if self.wanted:
            self.started = self._now()

    def mark(self, name: str) -> None:
        """What was done since the last mark gets this name."""
        if self.wanted:
            now = self._now()
            self.seconds[name].append(now - self.started)
            self.started = now

    def milliseconds(self) -> dict[str, float]:
        """Median by name: the first steps compile kernels and must not count."""
        ordered = {name: sorted(values) for name, values in self.seconds.items()}
        return {name: round(1e3 * values[len(values) // 2], 2) for name, values in ordered.items()}

    def _now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()
