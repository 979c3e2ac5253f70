"""All predictions of a Feng et al. run: measured in parallel, summarised and written."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from deca_cli import __version__
from deca_cli.errors import InputError
from deca_cli.evaluate.checks import Problem, check_prediction, is_refused, unusable
from deca_cli.evaluate.feng import FENG_RADIUS, measure_feng, read_feng_scan, read_landmarks_of
from deca_cli.evaluate.files import write_json, write_rows
from deca_cli.evaluate.meshes import read_mesh
from deca_cli.evaluate.now import Protocol
from deca_cli.evaluate.problem_reports import refused_entries, refused_section, warning_section
from deca_cli.evaluate.run_jobs import run_jobs
from deca_cli.evaluate.statistics import pool
from deca_cli.export.atomic import make_folder, write_text

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

MESHES = (".obj", ".ply")


@dataclass(frozen=True)
class FengProtocol:
    """What decides about the numbers besides the files."""

    radius_factor: float = FENG_RADIUS
    force: bool = False  # measure in spite of errors


@dataclass(frozen=True)
class FengJob:
    """One prediction to measure."""

    mesh: Path
    name: str  # path below the predictions folder, without ending
    scans: Path
    scan_landmarks: Path
    protocol: FengProtocol

    @property
    def scan(self) -> str:
        """Name of the scan: the folder above the prediction."""
        return self.mesh.parent.name

    @property
    def subset(self) -> str:
        """Such as HQ and LQ: the first folder, when there is more than the scan's."""
        parts = self.name.split("/")
        return parts[0] if len(parts) > 2 else "all"


@dataclass(frozen=True)
class FengResult:
    """One prediction; without distances when it was refused."""

    name: str
    subset: str
    scan: str
    vertices: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))  # [N] of the scan
    distances: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))  # [N] mm
    problems: tuple[Problem, ...] = ()

    @property
    def is_measured(self) -> bool:
        """Whether there are numbers."""
        return len(self.distances) > 0

    @property
    def rmse(self) -> float:
        """3D-RMSE, mm."""
        return float(np.sqrt(np.square(self.distances).mean()))


def feng_jobs(predictions: Path, scans: Path, scan_landmarks: Path, protocol: FengProtocol) -> list[FengJob]:
    """Every PREDICTIONS/[SUBSET/]SCAN/IMAGE.obj or .ply; raises InputError when there is none."""
    meshes = sorted(path for path in predictions.rglob("*") if path.suffix.lower() in MESHES)
    if not meshes:
        raise InputError(
            f"no meshes in {predictions}: expected [HQ|LQ/]SCAN/IMAGE.obj, such as HQ/F1001_N/1.obj."
        )
    return [
        FengJob(
            path, path.relative_to(predictions).with_suffix("").as_posix(), scans, scan_landmarks, protocol
        )
        for path in meshes
    ]


def evaluate_feng(
    jobs: Sequence[FengJob],
    *,
    workers: int | None = None,
    progress: Callable[[FengResult], None] = lambda _: None,
) -> list[FengResult]:
    """Measure all jobs; `progress` is called with each result, refused ones included."""
    results = []
    for result in run_jobs(measure_job, jobs, workers):
        results.append(result)
        progress(result)
    return results


def measure_job(job: FengJob) -> FengResult:
    """Measure one prediction, or say why not."""
    try:
        scan = read_feng_scan(job.scans, job.scan_landmarks, job.scan)
        mesh, landmarks = read_mesh(job.mesh), read_landmarks_of(job.mesh)
        problems = tuple(check_prediction(mesh, landmarks, scan.landmarks, Protocol()))
        if is_refused(problems, force=job.protocol.force):
            return FengResult(job.name, job.subset, job.scan, problems=problems)
        vertices, distances = measure_feng(scan, mesh, landmarks, job.protocol.radius_factor)
    except InputError as error:
        return FengResult(job.name, job.subset, job.scan, problems=(unusable(error),))
    return FengResult(job.name, job.subset, job.scan, vertices, distances, problems)


def feng_rows(results: Sequence[FengResult]) -> dict[str, tuple[int, float, float, float]]:
    """Per subset and for all: images, mean of the images' 3D-RMSE, their deviation, and the RMSE of the pool, mm."""
    measured = [r for r in results if r.is_measured]
    if not measured:
        raise InputError("no prediction could be measured; see the messages above.")
    groups = {"all": measured} | {
        s: [r for r in measured if r.subset == s] for s in sorted({r.subset for r in measured})
    }
    rows = {}
    for name, group in groups.items():
        rmse = np.array([r.rmse for r in group])
        pooled = float(np.sqrt(np.square(pool([r.distances for r in group])).mean()))
        rows[name] = (len(group), float(rmse.mean()), float(rmse.std()), pooled)
    return rows


def feng_table(rows: dict[str, tuple[int, float, float, float]]) -> str:
    """Markdown."""
    lines = ["| subset | images | mean 3D-RMSE [mm] | std | pooled RMSE [mm] |", "|---|---:|---:|---:|---:|"]
    return "\n".join(
        lines + [f"| {n} | {i} | {m:.3f} | {s:.3f} | {p:.3f} |" for n, (i, m, s, p) in rows.items()]
    )


def write_feng(
    folder: Path, method: str, protocol: FengProtocol, results: Sequence[FengResult], *, plots: bool
) -> None:
    """results.json, images.csv, report.md, the curve and the competition's *_distances.txt."""
    rows = feng_rows(results)
    measured = [r for r in results if r.is_measured]
    make_folder(folder)
    _write_distances(folder / "distances", measured)
    table = ([r.name, r.subset, r.scan, f"{r.rmse:.6f}"] for r in measured)
    write_rows(folder / "images.csv", ["image", "subset", "scan", "rmse_mm"], table)
    columns = ("images", "mean_rmse", "std", "pooled_rmse")
    images = [{"image": r.name, "subject": r.scan, "state": "measured", "mean": r.rmse} for r in measured]
    content = {
        "tool": f"deca {__version__}",
        "benchmark": "Feng et al. 2018",
        "radius_factor": protocol.radius_factor,
        "forced": protocol.force,
        "method": method,
        "unit": "mm",
        "rows": {n: dict(zip(columns, r, strict=True)) for n, r in rows.items()},
        "images": images + refused_entries(results),
    }
    parts = [f"# Feng et al. 2018: {method}", feng_table(rows)]
    if plots:
        from deca_cli.evaluate.plots import plot_cumulative

        curves = {s: pool([r.distances for r in measured if s in ("all", r.subset)]) for s in rows}
        plot_cumulative(folder / "cumulative", curves, title=f"Feng et al. 2018: {method}")
        parts.append("![cumulative error](cumulative.png)")
    parts += [*refused_section(results), *warning_section(results)]
    write_json(folder / "results.json", content)
    write_text(folder / "report.md", "\n\n".join(parts) + "\n")


def _write_distances(folder: Path, measured: Sequence[FengResult]) -> None:
    for result in measured:
        path = folder / f"{result.name}_distances.txt"
        make_folder(path.parent)
        pairs = zip(result.vertices.tolist(), result.distances.tolist(), strict=True)
        write_text(path, "".join(f"{v} {d:.6f}\n" for v, d in pairs))
