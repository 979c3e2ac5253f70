"""What `deca reconstruct` does and says; imported only when it runs."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from deca_cli.cli.errors import FAILED, INTERRUPTED, say_error
from deca_cli.errors import InputError
from deca_cli.export.atomic import check_writable
from deca_cli.export.summary import RESUMED, SUMMARY, write_summary
from deca_cli.packs.folders import DECA, best_installed
from deca_cli.photo.inputs import list_inputs

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from deca_cli.export.summary import Outcome
    from deca_cli.packs.store import Pack
    from deca_cli.pipeline.settings import Settings


@dataclass(frozen=True)
class Job:
    """The command line, parsed."""

    photos: tuple[str, ...]
    recursive: bool
    output: Path
    model: str | None  # None: the best that is installed
    device: str
    threads: int | None
    settings: Settings
    strict: bool
    debug: bool


def run_job(job: Job) -> int:
    """Do the job and report it; return the exit code.

    Raises:
        DecaError: nothing could be done at all.
    """
    started = time.perf_counter()
    console = Console(stderr=True)
    photos = list_inputs(job.photos, job.recursive, exclude=job.output)
    check_writable(job.output)
    pack = _prepare(job, console)
    outcomes: list[Outcome] = []
    interrupted = False
    try:
        for outcome in _with_progress(job, pack, photos, console):
            outcomes.append(outcome)  # noqa: PERF402 - what is done must be kept when Ctrl-C ends the loop
    except KeyboardInterrupt:
        interrupted = True
    finally:
        # Also when the disk is full: then this says so a second time, and the first error is the one shown.
        seconds = time.perf_counter() - started
        write_summary(
            job.output, outcomes, run=_describe(job, pack, len(photos), seconds, interrupted=interrupted)
        )
    _closing_table(job, pack, outcomes, seconds)
    return _exit_code(job, outcomes, len(photos), interrupted=interrupted)


def _prepare(job: Job, console: Console) -> Pack:
    """Load everything heavy, and compile the kernel if this is the first run."""
    from deca_cli.photo.detectors import choose_detector
    from deca_cli.pipeline.start import choose_device, compile_kernels, kernels_are_compiled, set_threads

    set_threads(job.threads)
    choose_detector(job.settings.detector)  # a wrong name is told before anything is loaded
    device = choose_device(job.device)
    from deca_cli.packs.store import load_pack

    pack = load_pack(job.model or best_installed(), device)
    console.print(f"Model [bold]{pack.manifest.name}[/] on {device}{_why(job, pack)}.", highlight=False)
    if not pack.has_detail:
        console.print("This model has no detail networks: detail pictures and meshes are left out.")
    if not kernels_are_compiled():
        with console.status("Compiling the renderer and the face finder, once on this machine ..."):
            compile_kernels()
        console.print("Compiled the renderer and the face finder, once on this machine.")
    return pack


def _why(job: Job, pack: Pack) -> str:
    """How the model was chosen, if nobody chose it."""
    if job.model is not None:
        return ""
    if pack.manifest.name == DECA:
        return ", as it is installed (--model open takes the bundled one)"
    return "; the official one is not installed (deca fetch-models)"


def _with_progress(job: Job, pack: Pack, photos: list[Path], console: Console) -> Iterator[Outcome]:
    """Give out the outcomes while a bar shows how far it is; say at once what was skipped."""
    from deca_cli.pipeline.batch import reconstruct

    columns = (
        TextColumn("Photos"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(compact=True),
        TextColumn("left"),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("Photos", total=len(photos), rate="")
        started = time.perf_counter()
        for done, outcome in enumerate(
            reconstruct(photos, pack, job.settings, job.output, debug=job.debug), 1
        ):
            rate = done / (time.perf_counter() - started)
            progress.update(task, completed=done, rate=f"{rate:.1f} photos/s")
            if outcome.skipped:
                console.print(f"skipped: {outcome.reason}", style="yellow", markup=False, highlight=False, soft_wrap=True)
            yield outcome


def _describe(job: Job, pack: Pack, photos: int, seconds: float, *, interrupted: bool) -> dict[str, Any]:
    return {
        "model": pack.manifest.name,
        "device": str(pack.deca.head.template_vertices.device),
        "inputs": list(job.photos),
        "inputs_found": photos,
        "output": str(job.output.resolve()),
        "request": job.settings.request() | {"formats": list(job.settings.formats)},
        "interrupted": interrupted,
        "seconds": seconds,
    }


def _closing_table(job: Job, pack: Pack, outcomes: list[Outcome], seconds: float) -> None:
    skipped = sum(outcome.skipped for outcome in outcomes)
    resumed = sum(outcome.status == RESUMED for outcome in outcomes)
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    table.add_row("Photos", f"{len(outcomes)}" + (f" ({resumed} finished before)" if resumed else ""))
    table.add_row("Faces", str(sum(len(outcome.faces) for outcome in outcomes)))
    table.add_row("Skipped", f"{skipped}" + (" (the reasons stand above)" if skipped else ""))
    table.add_row("Model", pack.manifest.name)
    table.add_row("Seconds", f"{seconds:.1f}")
    first = next((face.folder for outcome in outcomes for face in outcome.faces), None)
    if first is not None:
        table.add_row("Look at", str(job.output / first / "overlay.jpg"))
    table.add_row("Summary", str(job.output / SUMMARY))
    Console(highlight=False).print(table)


def _exit_code(job: Job, outcomes: list[Outcome], photos: int, *, interrupted: bool) -> int:
    if interrupted:
        say_error(
            f"interrupted after {len(outcomes)} of {photos} photos. What is written is whole; "
            "go on with the same command and --resume."
        )
        return INTERRUPTED
    skipped = sum(outcome.skipped for outcome in outcomes)
    if skipped == len(outcomes):
        what = "the photo" if photos == 1 else f"any of the {photos} photos"
        raise InputError(f"nothing could be reconstructed from {what}; the reasons stand above.")
    return FAILED if job.strict and skipped else 0
