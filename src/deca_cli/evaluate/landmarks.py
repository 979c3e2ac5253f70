"""Normalised mean errors of 68-point landmarks, in percent, by head pose."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from deca_cli.evaluate.landmark_sets import TrueFace

INNER = slice(17, 68)  # without the jaw line, whose place is a convention on turned faces
EYE_CORNERS = (36, 45)
BUCKETS = {"0-30°": (0, 30), "30-60°": (30, 60), "60-90°": (60, 90.0001)}
MEASURES = ("51 / box", "68 / box", "51 / eyes", "68 / eyes")
MAIN = "51 / box"
FAILURE_PERCENT = 8.0


@dataclass(frozen=True)
class FaceScore:
    """Errors of one face, percent, by MEASURES; NaN where the annotation does not allow one."""

    name: str
    yaw_degrees: float | None
    errors: dict[str, float]


@dataclass(frozen=True)
class PoseRow:
    """One line of the table: a bucket of poses."""

    faces: int
    means: dict[str, float]  # percent, by MEASURES
    median: float  # of the main measure
    failures: float  # percent of faces with a main error above 8 %
    area: float  # under the main cumulative curve up to 8 %, as percent of the best possible


def score_face(truth: TrueFace, predicted: NDArray[np.float64]) -> FaceScore:
    """Mean distance of predicted points [68, 2] over the valid ones, as percent of two sizes of the true face.

    `box` is the square root of the box's area (AFLW2000-3D), `eyes` the distance of the outer eye corners (300-W).
    """
    distances = np.linalg.norm(predicted - truth.landmarks, axis=1)
    x0, y0, x1, y1 = truth.box
    right, left = truth.landmarks[list(EYE_CORNERS)]
    eyes = np.linalg.norm(right - left) if truth.valid[list(EYE_CORNERS)].all() else np.nan
    sizes = {"box": np.sqrt((x1 - x0) * (y1 - y0)), "eyes": eyes if eyes > 0 else np.nan}
    inner = _mean(distances[INNER], truth.valid[INNER])
    jaw_is_there = truth.valid[:17].any()
    whole = _mean(distances, truth.valid) if jaw_is_there else np.nan
    errors = {
        f"{count} / {size}": float(100 * mean / sizes[size])
        for size in sizes
        for count, mean in (("51", inner), ("68", whole))
    }
    return FaceScore(truth.name, truth.yaw_degrees, {name: errors[name] for name in MEASURES})


def _mean(distances: NDArray[np.float64], valid: NDArray[np.bool_]) -> float:
    return float(distances[valid].mean()) if valid.any() else np.nan


def pose_table(scores: list[FaceScore]) -> dict[str, PoseRow]:
    """Rows for all faces, for each pose bucket, and the mean of the buckets (AFLW2000-3D's balanced number)."""
    rows = {"all": pose_row(scores)}
    for name, (low, high) in BUCKETS.items():
        inside = [s for s in scores if s.yaw_degrees is not None and low <= abs(s.yaw_degrees) < high]
        if inside:
            rows[name] = pose_row(inside)
    if set(BUCKETS) <= set(rows):
        rows["mean of poses"] = _mean_row([rows[name] for name in BUCKETS])
    return rows


def pose_row(scores: list[FaceScore]) -> PoseRow:
    """Statistics of some faces, at least one."""
    main = np.array([s.errors[MAIN] for s in scores])
    main = main[np.isfinite(main)]
    means = {m: _finite_mean([s.errors[m] for s in scores]) for m in MEASURES}
    if not len(main):
        return PoseRow(len(scores), means, np.nan, np.nan, np.nan)
    area = 100 * np.clip(1 - main / FAILURE_PERCENT, 0, None).mean()
    return PoseRow(
        len(scores), means, float(np.median(main)), float(100 * (main > FAILURE_PERCENT).mean()), float(area)
    )


def _finite_mean(values: list[float]) -> float:
    finite = [v for v in values if np.isfinite(v)]
    return float(np.mean(finite)) if finite else np.nan


def _mean_row(rows: list[PoseRow]) -> PoseRow:
    means = {m: float(np.mean([r.means[m] for r in rows])) for m in MEASURES}
    columns = (float(np.mean([getattr(r, c) for r in rows])) for c in ("median", "failures", "area"))
    return PoseRow(sum(r.faces for r in rows), means, *columns)
