"""All predictions of a REALY run: measured in parallel, summarised and written."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from deca_cli import __version__
from deca_cli.errors import InputError
from deca_cli.evaluate.checks import Problem, unusable
from deca_cli.evaluate.files import write_json, write_rows
from deca_cli.evaluate.meshes import read_mesh
from deca_cli.evaluate.problem_reports import refused_entries, refused_section
from deca_cli.evaluate.realy import REGIONS, Topology, measure_realy, read_realy_scan
from deca_cli.evaluate.run_jobs import run_jobs
from deca_cli.export.atomic import make_folder, write_text

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path


@dataclass(frozen=True)
class RealyJob:
    """One prediction to measure."""

    prediction: Path
    data: Path
    topology: Topology


@dataclass(frozen=True)
class RealyResult:
    """NMSE of the four regions, mm; none when the prediction was refused."""

    name: str
    subject: str
    regions: dict[str, float] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()

    @property
    def is_measured(self) -> bool:
        """Whether there are numbers."""
        return bool(self.regions)

    @property
    def mean(self) -> float:
        """Mean of the regions."""
        return float(np.mean(list(self.regions.values())))


def realy_jobs(predictions: Path, data: Path, topology: Topology) -> list[RealyJob]:
    """Every PREDICTIONS/ID.obj or ID_VIEW.obj, ID a number of the benchmark; raises InputError when there is none."""
    files = sorted(predictions.glob("*.obj"))
    if not files:
        raise InputError(
            f"no .obj files in {predictions}: expected ID.obj or ID_VIEW.obj, named like the images."
        )
    return [RealyJob(path, data, topology) for path in files]


def evaluate_realy(
    jobs: Sequence[RealyJob],
    *,
    workers: int | None = None,
    progress: Callable[[RealyResult], None] = lambda _: None,
) -> list[RealyResult]:
    """Measure all jobs; `progress` is called with each result, refused ones included."""
    results = []
    for result in run_jobs(measure_job, jobs, workers):
        results.append(result)
        progress(result)
    return results


def measure_job(job: RealyJob) -> RealyResult:
    """Measure one prediction, or say why not."""
    name = job.prediction.stem
    subject = name.split("_")[0]
    try:
        scan = read_realy_scan(job.data, _number(subject))
        errors = measure_realy(read_mesh(job.prediction).vertices, job.topology, scan)
    except InputError as error:
        return RealyResult(name, subject, problems=(unusable(error),))
    return RealyResult(name, subject, {region: float(e.mean()) for region, e in errors.items()})


def _number(subject: str) -> int:
    if not subject.isdecimal():
        raise InputError("the name must begin with the subject's number, such as 12.obj or 12_3.obj.")
    return int(subject)


def realy_table(results: Sequence[RealyResult]) -> str:
    """Markdown: mean and deviation (n - 1) of each region's NMSE, and the mean of the four means."""
    measured = [r for r in results if r.is_measured]
    if not measured:
        raise InputError("no prediction could be measured; see the messages above.")
    table = np.array([[r.regions[name] for name in REGIONS] for r in measured])
    means = table.mean(0)
    deviations = table.std(0, ddof=1) if len(table) > 1 else np.zeros(len(REGIONS))
    cells = [f"{m:.3f} ± {d:.3f}" for m, d in zip(means, deviations, strict=True)]
    head = " | ".join((*REGIONS, "all"))
    return (
        f"NMSE in mm, {len(measured)} predictions.\n\n| {head} |\n{'|---:' * (len(REGIONS) + 1)}|\n"
        f"| {' | '.join(cells)} | {means.mean():.3f} |"
    )


def write_realy(folder: Path, method: str, results: Sequence[RealyResult]) -> None:
    """results.json, images.csv, report.md and REALY_error.txt."""
    make_folder(folder)
    measured = [r for r in results if r.is_measured]
    table = ([r.name, *(f"{r.regions[name]:.6f}" for name in REGIONS)] for r in measured)
    write_rows(folder / "images.csv", ["image", *(f"{name}_mm" for name in REGIONS)], table)
    lines = ["\t".join([r.name, "", *(f"{r.regions[name]:.7f}"[:9] for name in REGIONS)]) for r in measured]
    write_text(folder / "REALY_error.txt", "\n".join(lines) + "\n")
    images = [
        {"image": r.name, "subject": r.subject, "state": "measured", "mean": r.mean, "regions": r.regions}
        for r in measured
    ]
    content = {
        "tool": f"deca {__version__}",
        "benchmark": "REALY",
        "method": method,
        "unit": "mm",
        "images": images + refused_entries(results),
    }
    parts = [f"# REALY: {method}", realy_table(results), *refused_section(results)]
    write_json(folder / "results.json", content)
    write_text(folder / "report.md", "\n\n".join(parts) + "\n")
