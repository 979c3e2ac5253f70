"""What `deca train prepare` and `render-set` do and say; imported only when they run."""

from __future__ import annotations

import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from deca_cli.atomic import check_writable
from deca_cli.cli.errors import FAILED, say_error
from deca_cli.cli.interrupt import INTERRUPTED
from deca_cli.cores import usable_cores
from deca_cli.errors import UsageError
from deca_cli.packs.folders import best_installed, pack_folder
from deca_cli.photo.detectors import choose_detector
from deca_cli.pipeline.start import choose_device
from deca_cli.train.data.prepare.inputs import find_sources
from deca_cli.train.data.prepare.run import PROBLEMS, Report, prepare
from deca_cli.train.data.prepare.work import Result, Task
from deca_cli.train.data.shards import write_shards
from deca_cli.train.data.synthetic_set import RenderSetSettings, render_set

if TYPE_CHECKING:
    from collections.abc import Mapping

    from deca_cli.train.data.prepare.settings import PrepareSettings

CUDA_WORKERS = 6  # each has its own copy of the model on the GPU; the finder's work is on the CPU
SHOWN = 5  # problems named on the terminal; the file names all


@dataclass(frozen=True)
class PrepareJob:
    """The command line, parsed."""

    photos: str
    output: Path | None
    model: str | None
    device: str
    workers: int | None
    masks: Path | None
    settings: PrepareSettings
    shards: bool
    strict: bool


def run_prepare(job: PrepareJob) -> int:
    """Do the job and report it; return the exit code.

    Raises:
        DecaError: nothing could be done at all, or the dataset cannot be written.
    """
    started = time.perf_counter()
    console = Console(stderr=True, soft_wrap=True, highlight=False)
    choose_detector(job.settings.detector)  # what is wrong is told before anything is loaded
    device = choose_device(job.device)
    found = find_sources(job.photos, job.masks)
    output = job.output or _beside(Path(job.photos), "-dataset")
    if output.resolve().is_relative_to(Path(job.photos).expanduser().resolve()):
        raise UsageError(
            f"The dataset {output} would lie among the photos in {job.photos}. Choose a folder outside."
        )
    check_writable(output)
    model = job.model or best_installed()
    pack_folder(model)
    task = Task(output.resolve(), model, str(device), job.settings)
    workers = job.workers or (usable_cores() if device.type == "cpu" else min(CUDA_WORKERS, usable_cores()))
    console.print(
        Text(f"{len(found.files)} photos and videos, model {model} on {device}, {workers} processes.")
    )
    try:
        with _bar(console, "Files") as progress:
            bar = progress.add_task("Files", total=len(found.files), rate="")
            seen = _Seen()

            def watch(result: Result) -> None:
                seen.add(result)
                progress.update(bar, completed=seen.files, rate=f"{seen.pictures} pictures")

            report = prepare(found, task, workers, watch)
        if job.shards:
            _shards(output, report, console)
    except KeyboardInterrupt:
        say_error("interrupted. What is done is kept: go on with the same command.")
        return INTERRUPTED
    _say_problems(console, report)
    _close(report, output, time.perf_counter() - started)
    return FAILED if job.strict and report.damaged else 0


class _Seen:
    """Counts what the bar shows."""

    def __init__(self) -> None:
        self.files = self.pictures = 0

    def add(self, result: Result) -> None:
        self.files += 1
        self.pictures += len(result.records)


def _beside(path: Path, ending: str) -> Path:
    absolute = path.expanduser().absolute()
    return absolute.with_name((absolute.stem if absolute.is_file() else absolute.name) + ending)


def _shards(output: Path, report: Report, console: Console) -> None:
    with _bar(console, "Tars") as progress:
        bar = progress.add_task("Tars", total=report.pictures, rate="")
        target = _beside(output, "-shards")
        count = write_shards(output, target, watch=lambda done: progress.update(bar, completed=done))
    console.print(Text(f"{count} tars in {target}."))


def _bar(console: Console, what: str) -> Progress:
    columns = (
        TextColumn(what),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(compact=True),
        TextColumn("left"),
    )
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)


def _say_problems(console: Console, report: Report) -> None:
    """Name the first of what could not be used; counts by reason of what was not good enough."""
    for name, reason in list(report.damaged.items())[:SHOWN]:
        console.print(Text(f"left out: {name}: {reason}", "yellow"))
    if len(report.damaged) > SHOWN:
        console.print(Text(f"... and {len(report.damaged) - SHOWN} more", "yellow"))
    for reason, count in _kinds(report.rejected).most_common():
        console.print(Text(f"not good enough: {count} x {reason}", "yellow"))


def _kinds(rejected: Mapping[str, str]) -> Counter[str]:
    """Reasons without their numbers."""
    return Counter(
        " ".join(word for word in reason.split(":")[0].split() if not word[0].isdigit())
        for reason in rejected.values()
    )


def _close(report: Report, output: Path, seconds: float) -> None:
    before = f" ({report.finished_before} finished before)" if report.finished_before else ""
    rows = {
        "Files": f"{report.files}{before}",
        "People": f"{report.people}, of these {report.held_out_people} held out",
        "Pictures": str(report.pictures),
        "Rejected": f"{len(report.rejected)}" + (" (not good enough)" if report.rejected else ""),
        "Left out": f"{len(report.damaged)}" + (" (damaged or of no use)" if report.damaged else ""),
        "Seconds": f"{seconds:.1f}",
        "Dataset": str(output),
        "Problems": str(output / PROBLEMS),
    }
    _say_rows(rows)


def _say_rows(rows: Mapping[str, str]) -> None:
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    for name, value in rows.items():
        # What the terminal cannot show must not end a run that is done.
        shown = value.encode(encoding, "backslashreplace").decode(encoding)
        typer.echo(f"{typer.style(f'{name:9}', bold=True)}{shown}")


def run_render_set(output: Path, settings: RenderSetSettings, head: Path | None, device: str) -> None:
    """Render a dataset and report it.

    Raises:
        DecaError: it cannot be done.
    """
    started = time.perf_counter()
    console = Console(stderr=True, soft_wrap=True, highlight=False)
    chosen = choose_device(device)
    head_file = head or pack_folder("open") / "head.npz"
    with _bar(console, "Pictures") as progress:
        bar = progress.add_task("Pictures", total=settings.people * settings.photos, rate="")

        def watch(done: int) -> None:
            rate = done / (time.perf_counter() - started)
            progress.update(bar, completed=done, rate=f"{rate:.0f} pictures/s")

        pictures = render_set(head_file, output, settings, str(chosen), watch)
    held_out = settings.held_out_people
    _say_rows(
        {
            "People": f"{settings.people}, of these {held_out} held out",
            "Pictures": str(pictures),
            "Seconds": f"{time.perf_counter() - started:.1f}",
            "Dataset": str(output),
        }
    )
