"""The numbers that rankings are made of: pooled median, mean, deviation and the cumulative curve."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

THRESHOLDS_MM = tuple(round(0.1 * i, 1) for i in range(81))


@dataclass(frozen=True)
class Summary:
    """Statistics of one pool of distances, mm."""

    count: int
    median: float
    mean: float
    std: float  # of the population: divided by n
    minimum: float
    maximum: float
    percent_within: tuple[float, ...]  # at each of THRESHOLDS_MM


def pool(distances: Sequence[NDArray[np.floating]]) -> NDArray[np.floating]:
    """All distances of several images in one array; denser scans weigh more, as in the official numbers."""
    return np.concatenate(distances) if len(distances) else np.zeros(0, np.float32)


def summarise(distances: NDArray[np.floating]) -> Summary:
    """Statistics of distances [N], N > 0, mm."""
    return Summary(
        count=len(distances),
        median=float(np.median(distances)),
        mean=float(distances.mean(dtype=np.float64)),
        std=float(distances.std(dtype=np.float64)),
        minimum=float(distances.min()),
        maximum=float(distances.max()),
        percent_within=tuple(percent_within(distances, THRESHOLDS_MM).tolist()),
    )


def percent_within(distances: NDArray[np.floating], thresholds: Sequence[float]) -> NDArray[np.float64]:
    """Share of distances <= each threshold, in percent."""
    ordered = np.sort(distances)
    limits = np.asarray(thresholds, ordered.dtype)
    return 100.0 * np.searchsorted(ordered, limits, side="right") / len(ordered)
