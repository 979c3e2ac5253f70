"""What `deca reconstruct` does and says; imported only when it runs."""

from __future__ import annotations

import sys
import time
from collections.abc import Generator
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from deca_cli.cli.errors import FAILED, INTERRUPTED, say_error
from deca_cli.cli.reconstruct_setup import Job, Setup, device_name, find_job_share, model_name, prepare, say
from deca_cli.errors import InputError, OutputError, UsageError
from deca_cli.export.atomic import check_writable
from deca_cli.export.names import PARAMS_JSON, PARAMS_NPZ, result_names
from deca_cli.export.owner import OWNER
from deca_cli.export.parts import Part, photos_digest, write_part
from deca_cli.export.summary import RESUMED, SUMMARY, write_summary
from deca_cli.photo.inputs import find_inputs
from deca_cli.pipeline.ahead import crew_ahead

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from deca_cli.export.summary import Outcome
    from deca_cli.photo.inputs import Inputs
    from deca_cli.pipeline.crew import Crew
    from deca_cli.pipeline.share import Share

# Folders that hold all files of one of these hold results, not photos; the second is that of `deca transfer`.
RESULT_MARKS = (frozenset({OWNER}), frozenset({PARAMS_JSON, PARAMS_NPZ}))


def run_job(job: Job) -> int:
    """Do the job and report it; return the exit code.

    Raises:
        DecaError: nothing could be done at all, or a result cannot be written.
    """
    started = time.perf_counter()
    console = Console(stderr=True, soft_wrap=True, highlight=False)
    found = find_inputs(job.photos, job.recursive, marks=RESULT_MARKS)
    if job.settings.box_px is not None and len(found.photos) > 1:
        raise UsageError(f"--bbox says where the face of one photo is, but {len(found.photos)} were given.")
    if found.left_out():
        say(console, f"left out: {found.left_out()}", style="yellow")
    share = find_job_share(job)
    check_writable(job.output)
    photos = share.take(found.photos)
    crew = crew_ahead(photos, job.settings, device=job.device, rasterizer=job.rasterizer, cores=job.threads)
    with crew or nullcontext():
        setup = prepare(job, share, len(photos), console, crew)
        return _run(Run(job, found, share, photos, setup, started, crew), console)


def _run(run: Run, console: Console) -> int:
    """Do a job that is set up."""
    photos = run.photos
    try:
        _reconstruct(run, console)
    except KeyboardInterrupt:
        run.write(interrupted=True)
        say_error(
            f"interrupted after {len(run.outcomes)} of {len(photos)} photos. What is written is whole; "
            "go on with the same command and --resume."
        )
        return INTERRUPTED
    except Exception:
        with suppress(OutputError):  # the first error is the one to tell
            run.write()
        raise
    run.write()
    _closing_table(run)
    return _exit_code(run)


@dataclass(frozen=True, eq=False)
class Run:
    """A job under way."""

    job: Job
    found: Inputs
    share: Share
    photos: list[Path]  # of this share
    setup: Setup
    started: float  # on the clock of time.perf_counter
    crew: Crew | None  # workers, if they have begun already
    outcomes: list[Outcome] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        """Since the start."""
        return time.perf_counter() - self.started

    def write(self, *, interrupted: bool = False) -> None:
        """Write the summary, joined with those of the other shares that are there."""
        job, decoder = self.job, self.setup.decoder
        described = {
            "model": decoder.pack.manifest.name,
            "model_fingerprint": decoder.fingerprint,
            "device": device_name(decoder.device),
            "precision": self.setup.precision,
            "rasterizer": decoder.draw_on,
            "batch_size": self.setup.pace.batch_size,
            "inputs": list(job.photos),
            "inputs_found": len(self.found.photos),
            "passed_over": [str(path.absolute()) for path in (*self.found.passed_over, *self.found.closed)],
            "output": str(job.output.resolve()),
            "request": job.settings.request(),
            "formats": list(job.settings.formats),
            "interrupted": interrupted,
            "seconds": self.seconds,
        }
        if self.share.alone:
            write_summary(job.output, self.outcomes, run=described)
        else:
            part = Part(self.share.number, self.share.of, photos_digest(self.found.photos))
            write_part(job.output, part, self.outcomes, run=described)


def _reconstruct(run: Run, console: Console) -> None:
    """Collect the outcomes while a bar shows how far it is; say at once what was skipped or looks doubtful."""
    from deca_cli.pipeline.batch import reconstruct

    columns = (
        TextColumn("Photos"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(compact=True),
        TextColumn("left"),
    )
    job, photos = run.job, run.photos
    # Names are given to the photos of all shares together, so that they do not depend on who does which.
    names = run.share.take(result_names(run.found.photos, job.output))
    outcomes = reconstruct(
        photos,
        run.setup.decoder,
        job.settings,
        job.output,
        pace=run.setup.pace,
        names=names,
        debug=job.debug,
        crew=run.crew,
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("Photos", total=len(photos), rate="")
        started = time.perf_counter()

        def collect(outcome: Outcome) -> None:
            run.outcomes.append(
                outcome
            )  # one by one and first: what is done must be kept when Ctrl-C ends the loop
            done = len(run.outcomes)
            rate = done / (time.perf_counter() - started)
            progress.update(task, completed=done, rate=f"{rate:.1f} photos/s")
            if outcome.skipped:
                say(console, f"skipped: {outcome.reason}", style="yellow")
            if outcome.warning:
                say(console, f"doubtful: {outcome.warning}", style="yellow")

        try:
            for outcome in outcomes:
                collect(outcome)
        except KeyboardInterrupt as stop:
            _collect_rest(outcomes, stop, collect)
            raise


def _collect_rest(
    outcomes: Iterator[Outcome], stop: KeyboardInterrupt, collect: Callable[[Outcome], None]
) -> None:
    """Ctrl-C may have come while an outcome was told: let the pipeline know, and take what is written by then."""
    if not isinstance(outcomes, Generator):
        return
    with suppress(KeyboardInterrupt, StopIteration):  # raised again when there is nothing more
        collect(outcomes.throw(stop))
        for outcome in outcomes:
            collect(outcome)


def _closing_table(run: Run) -> None:
    """Print what became of it, one line each, never folded: paths are to be copied."""
    outcomes, output = run.outcomes, run.job.output
    skipped = sum(outcome.skipped for outcome in outcomes)
    resumed = sum(outcome.status == RESUMED for outcome in outcomes)
    rows = {
        "Photos": f"{len(outcomes)}" + (f" ({resumed} finished before)" if resumed else ""),
        "Faces": str(sum(len(outcome.faces) for outcome in outcomes)),
        "Skipped": f"{skipped}" + (" (the reasons stand above)" if skipped else ""),
        "Model": model_name(run.setup.decoder.pack),
        "Seconds": f"{run.seconds:.1f}",
    }
    first = next((face.folder for outcome in outcomes for face in outcome.faces), None)
    if first is not None:
        rows["Look at"] = str(output / first / "overlay.jpg")
    rows["Summary"] = str(output / SUMMARY)
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    for name, value in rows.items():
        # What the terminal cannot show must not end a run that is done.
        shown = value.encode(encoding, "backslashreplace").decode(encoding)
        typer.echo(f"{typer.style(f'{name:9}', bold=True)}{shown}")


def _exit_code(run: Run) -> int:
    skipped = sum(outcome.skipped for outcome in run.outcomes)
    if skipped and skipped == len(run.outcomes):
        photos = len(run.photos)
        what = "the photo" if photos == 1 else f"any of the {photos} photos"
        raise InputError(f"nothing could be reconstructed from {what}; the reasons stand above.")
    return FAILED if run.job.strict and skipped else 0
