"""One whole NoW evaluation: measure, summarise, write."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from deca_cli.errors import InputError
from deca_cli.evaluate.now_data import find_prediction
from deca_cli.evaluate.now_outputs import write_plots, write_tables, write_worst_cases
from deca_cli.evaluate.now_run import run_now
from deca_cli.evaluate.official import write_alignment
from deca_cli.evaluate.tables import NowReport, report_now

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from deca_cli.evaluate.now import Protocol
    from deca_cli.evaluate.now_data import NowData
    from deca_cli.evaluate.now_run import ImageResult


@dataclass(frozen=True)
class Request:
    """What to measure and what to write."""

    predictions: Path
    protocol: Protocol
    method: str
    output: Path
    challenge: str | None = None
    workers: int | None = None
    force: bool = False
    plots: bool = True
    worst: int = 5
    check_alignment: Path | None = None


def evaluate_now(
    data: NowData, request: Request, progress: Callable[[ImageResult], None] = lambda _: None
) -> NowReport:
    """Measure and write everything; raises InputError when nothing, or something refused, was measured."""
    _require(request)
    data = data.of_challenge(request.challenge)
    results = run_now(
        data,
        request.predictions,
        request.protocol,
        workers=request.workers,
        keep=request.output / "images",  # one file per image
        force=request.force,
        progress=progress,
    )
    _require_measured(results, request)
    report = report_now(request.method, request.protocol, results, forced=request.force)
    write_tables(request.output, report, request.challenge, plots=request.plots)
    if request.plots:
        write_plots(request.output, report)
    write_worst_cases(
        request.output, report, data, request.predictions, request.worst, pictures=request.plots
    )
    if request.check_alignment is not None:
        for result in report.of_state("measured"):
            write_alignment(
                request.check_alignment, data, find_prediction(request.predictions, result.image), result
            )
    return report


def _require(request: Request) -> None:
    if not request.predictions.is_dir():
        raise InputError(f"no folder of predictions at {request.predictions}.")
    if request.plots:
        from deca_cli.evaluate.plots import new_figure

        new_figure(1, 1)  # says now, not after the measuring, that matplotlib is missing


def _require_measured(results: list[ImageResult], request: Request) -> None:
    refused = [r for r in results if r.state == "refused"]
    if refused and not request.force:
        reasons = "; ".join(f"{r.image.name}: {r.problems[0].message}" for r in refused[:3])
        raise InputError(
            f"{len(refused)} of {len(results)} predictions cannot give a meaningful number ({reasons}). Mend them and "
            "run again; what was measured is kept. --force leaves out what cannot be measured and measures the rest."
        )
    if not any(r.state == "measured" for r in results):
        example = results[0].image
        raise InputError(
            f"none of the {len(results)} listed images has a prediction in {request.predictions}. Expected, for "
            f"example, {example.subject}/{example.challenge}/{example.stem}.obj and {example.stem}.npy there."
        )
