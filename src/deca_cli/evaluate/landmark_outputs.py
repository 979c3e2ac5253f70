"""One whole landmark evaluation: read, score, write."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np

from deca_cli import __version__
from deca_cli.errors import InputError
from deca_cli.evaluate.files import write_json, write_rows
from deca_cli.evaluate.landmark_predictions import read_predictions
from deca_cli.evaluate.landmark_sets import read_truth
from deca_cli.evaluate.landmark_sheet import draw_sheet, find_photos
from deca_cli.evaluate.landmarks import (
    BUCKETS,
    FAILURE_PERCENT,
    MAIN,
    MEASURES,
    FaceScore,
    PoseRow,
    pose_table,
    score_face,
)
from deca_cli.export.atomic import make_folder, write_text
from deca_cli.export.summary import SUMMARY

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from deca_cli.evaluate.landmark_sets import TrueFace

WORST = "worst.jpg"
MEANING = (
    "Mean distance of the 51 inner or all 68 points, in percent of the square root of the face box's area or of the "
    f"distance of the outer eye corners. Median, share above {FAILURE_PERCENT:g} % and area under the curve are those of "
    f"{MAIN}. Faces whose jaw line is not annotated count for the inner 51 points only."
)


@dataclass(frozen=True)
class LandmarkReport:
    """All numbers of one run."""

    method: str
    scores: tuple[FaceScore, ...]
    missing: tuple[str, ...]
    rows: dict[str, PoseRow]
    found: dict[str, tuple[TrueFace, NDArray[np.float64]]]
    """Truth and predicted points [68, 2] by name."""

    def worst(self, count: int) -> list[tuple[TrueFace, NDArray[np.float64], float]]:
        """Truth, prediction and error of the faces with the largest main error, worst first."""
        known = [score for score in self.scores if np.isfinite(score.errors[MAIN])]
        ordered = sorted(known, key=lambda score: -score.errors[MAIN])[:count]
        return [(*self.found[score.name], score.errors[MAIN]) for score in ordered]

    def table(self) -> str:
        """Markdown; the main measure is the mean over the 51 inner points by box size."""
        head = [
            *(f"{m}" for m in MEASURES),
            "median",
            f"above {FAILURE_PERCENT:g} %",
            f"area to {FAILURE_PERCENT:g} %",
        ]
        lines = ["| yaw | faces | " + " | ".join(head) + " |", "|---" + "|---:" * (len(head) + 1) + "|"]
        for name, row in self.rows.items():
            values = [*(row.means[m] for m in MEASURES), row.median, row.failures, row.area]
            cells = " | ".join("n/a" if np.isnan(v) else f"{v:.2f}" for v in values)
            lines.append(f"| {name} | {row.faces} | {cells} |")
        return "\n".join(lines)


def evaluate_landmarks(truth: Path, predictions: Path, method: str) -> LandmarkReport:
    """Score every annotated face that has a prediction; raises InputError when none has."""
    faces = read_truth(truth)
    found = read_predictions(predictions, faces)
    if not found:
        stem = faces[0].name.rsplit(".", 1)[0]
        raise InputError(
            f"none of the {len(faces)} annotated images has a prediction in {predictions}. Expected the output "
            f"of 'deca reconstruct' on these photos (with its {SUMMARY}; without, run it again with --resume), a JSON "
            f"file by image name, or for example {stem}/{stem}_kpt2d.txt, {stem}.json, {stem}.npy, {stem}.pts or "
            f"{stem}.txt."
        )
    scores = tuple(score_face(face, found[face.name]) for face in faces if face.name in found)
    missing = tuple(face.name for face in faces if face.name not in found)
    both = {face.name: (face, found[face.name]) for face in faces if face.name in found}
    return LandmarkReport(method, scores, missing, pose_table(list(scores)), both)


def write_landmarks(
    folder: Path, report: LandmarkReport, *, plots: bool, photos: Path | None = None, worst: int = 12
) -> None:
    """results.json, images.csv, report.md, the cumulative curve, and with photos a sheet of the worst faces."""
    shown = report.worst(worst)
    files = {} if photos is None else find_photos(photos, [face.name for face, _, _ in shown])
    make_folder(folder)
    _write_json(folder / "results.json", report)
    write_rows(
        folder / "images.csv",
        ["image", "yaw_degrees", *(f"{m} [%]" for m in MEASURES)],
        ([s.name, s.yaw_degrees, *(f"{s.errors[m]:.4f}" for m in MEASURES)] for s in report.scores),
    )
    parts = [
        f"# 68-point landmarks: {report.method}",
        MEANING,
        report.table(),
    ]
    if report.missing:
        parts += ["## Missing", "\n".join(f"- {name}" for name in report.missing)]
    if plots:
        _plot(folder, report)
        parts.append("![cumulative error](cumulative.png)")
    if files:
        draw_sheet(folder / WORST, shown, files)
        parts += ["## Worst faces", "Green: the truth, red: the prediction.", f"![worst faces]({WORST})"]
    write_text(folder / "report.md", "\n\n".join(parts) + "\n")


def _write_json(path: Path, report: LandmarkReport) -> None:
    images = [
        {
            "image": s.name,
            "state": "measured",
            "mean": s.errors[MAIN],
            "yaw_degrees": s.yaw_degrees,
            "errors": s.errors,
        }
        for s in report.scores
    ]
    content = {
        "tool": f"deca {__version__}",
        "benchmark": "landmarks",
        "method": report.method,
        "unit": "%",
        "main": MAIN,
        "rows": {name: asdict(row) for name, row in report.rows.items()},
        "images": images + [{"image": name, "state": "missing"} for name in report.missing],
    }
    write_json(path, content)


def _plot(folder: Path, report: LandmarkReport) -> None:
    from deca_cli.evaluate.plots import plot_cumulative

    def errors(scores: list[FaceScore]) -> np.ndarray:
        values = np.array([s.errors[MAIN] for s in scores])
        return values[np.isfinite(values)]

    curves = {"all": errors(list(report.scores))}
    for name, (low, high) in BUCKETS.items():
        inside = [s for s in report.scores if s.yaw_degrees is not None and low <= abs(s.yaw_degrees) < high]
        if inside:
            curves[f"yaw {name}"] = errors(inside)
    title = f"68-point landmarks ({MAIN}): {report.method}"
    plot_cumulative(folder / "cumulative", curves, title=title, unit="%", limit=10, counted="faces")
