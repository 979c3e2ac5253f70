"""All predictions of a REALY run: measured in parallel, summarised and written."""

from __future__ import annotations

import csv
import json
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from typing import TYPE_CHECKING

import numpy as np

from deca_cli import __version__
from deca_cli.errors import InputError
from deca_cli.evaluate.meshes import read_mesh
from deca_cli.evaluate.now_run import usable_cores
from deca_cli.evaluate.realy import REGIONS, Topology, measure_realy, read_realy_scan

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@dataclass(frozen=True)
class RealyJob:
    """One prediction to measure."""

    prediction: Path
    data: Path
    subject: int
    topology: Topology


@dataclass(frozen=True)
class RealyResult:
    """NMSE of the four regions, mm."""

    name: str
    subject: int
    regions: dict[str, float]

    @property
    def mean(self) -> float:
        """Mean of the regions."""
        return float(np.mean(list(self.regions.values())))


def evaluate_realy(
    predictions: Path,
    data: Path,
    topology: Topology,
    *,
    workers: int | None = None,
    progress: Callable[[RealyResult], None] = lambda _: None,
) -> list[RealyResult]:
    """Measure every PREDICTIONS/ID.obj or ID_VIEW.obj, ID a number of the benchmark."""
    files = sorted(predictions.glob("*.obj"))
    if not files:
        raise InputError(
            f"no .obj files in {predictions}: expected ID.obj or ID_VIEW.obj, named like the images."
        )
    jobs = [RealyJob(path, data, _subject(path), topology) for path in files]
    count = min(workers or usable_cores(), len(jobs))
    results = []
    if count == 1:
        for job in jobs:
            results.append(measure_job(job))
            progress(results[-1])
        return results
    with ProcessPoolExecutor(count, mp_context=get_context("spawn")) as pool:
        for result in pool.map(measure_job, jobs):
            results.append(result)
            progress(result)
    return results


def _subject(path: Path) -> int:
    number = path.stem.split("_")[0]
    if not number.isdigit():
        raise InputError(
            f"{path.name}: the name must begin with the subject's number, such as 12.obj or 12_3.obj."
        )
    return int(number)


def measure_job(job: RealyJob) -> RealyResult:
    """Measure one prediction."""
    try:
        errors = measure_realy(
            read_mesh(job.prediction).vertices, job.topology, read_realy_scan(job.data, job.subject)
        )
    except InputError as error:
        raise InputError(f"{job.prediction.name}: {error}") from None
    return RealyResult(
        job.prediction.stem, job.subject, {name: float(e.mean()) for name, e in errors.items()}
    )


def realy_table(results: list[RealyResult]) -> str:
    """Markdown: mean and deviation (n - 1) of each region's NMSE, and the mean of the four means."""
    table = np.array([[r.regions[name] for name in REGIONS] for r in results])
    means = table.mean(0)
    deviations = table.std(0, ddof=1) if len(table) > 1 else np.zeros(len(REGIONS))
    cells = [f"{m:.3f} ± {d:.3f}" for m, d in zip(means, deviations, strict=True)]
    head = " | ".join((*REGIONS, "all"))
    return (
        f"NMSE in mm, {len(results)} predictions.\n\n| {head} |\n{'|---:' * (len(REGIONS) + 1)}|\n"
        f"| {' | '.join(cells)} | {means.mean():.3f} |"
    )


def write_realy(folder: Path, method: str, results: list[RealyResult]) -> None:
    """results.json, images.csv, report.md and REALY_error.txt."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "images.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["image", *(f"{name}_mm" for name in REGIONS)])
        writer.writerows([r.name, *(f"{r.regions[name]:.6f}" for name in REGIONS)] for r in results)
    lines = ["\t".join([r.name, "", *(f"{r.regions[name]:.7f}"[:9] for name in REGIONS)]) for r in results]
    (folder / "REALY_error.txt").write_text("\n".join(lines) + "\n", encoding="ascii")
    images = [
        {
            "image": r.name,
            "subject": str(r.subject),
            "state": "measured",
            "mean": r.mean,
            "regions": r.regions,
        }
        for r in results
    ]
    content = {
        "tool": f"deca {__version__}",
        "benchmark": "REALY",
        "method": method,
        "unit": "mm",
        "images": images,
    }
    (folder / "results.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    (folder / "report.md").write_text(f"# REALY: {method}\n\n{realy_table(results)}\n", encoding="utf-8")
