"""What `deca reconstruct` does and says; imported only when it runs."""

from __future__ import annotations

import sys
import time
from collections.abc import Generator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from deca_cli.cli.errors import FAILED, say_error
from deca_cli.cli.interrupt import INTERRUPTED
from deca_cli.cli.reconstruct_setup import Setup, device_name, model_name, prepare, say
from deca_cli.errors import InputError, OutputError
from deca_cli.export.names import result_names
from deca_cli.export.parts import join_parts, write_part
from deca_cli.export.summary import RESUMED, SUMMARY, write_summary

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from deca_cli.cli.reconstruct_begin import Begun
    from deca_cli.export.parts import Joined
    from deca_cli.export.summary import Outcome

LAST_WORDS_S = 1.0  # in which the other processes of a launch write what they have to write


def run_job(begun: Begun) -> int:
    """Do a job that has begun and report it; return the exit code.

    Raises:
        DecaError: nothing could be done at all, or a result cannot be written.
    """
    console = Console(stderr=True, soft_wrap=True, highlight=False)
    if begun.found.left_out():
        say(console, f"left out: {begun.found.left_out()}", style="yellow")
    return _run(Run(begun, prepare(begun, console)), console)


def _run(run: Run, console: Console) -> int:
    """Do a job that is set up."""
    photos = run.begun.photos
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
    whole = run.write()
    _closing_table(run)
    return _exit_code(run) if whole is None or not run.begun.share.launch else _joint_exit_code(run, whole)


@dataclass(frozen=True, eq=False)
class Run:
    """A job under way."""

    begun: Begun
    setup: Setup
    outcomes: list[Outcome] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        """Since the start."""
        return time.perf_counter() - self.begun.started

    def write(self, *, interrupted: bool = False) -> Joined | None:
        """Write the summary, joined with those of the other shares that are there; tell what the joined one holds."""
        described = self._describe() | {"interrupted": interrupted, "seconds": self.seconds}
        output, part = self.begun.job.output, self.begun.part
        if part is not None:
            return write_part(output, part, self.outcomes, run=described)
        write_summary(output, self.outcomes, run=described)
        return None

    def join_again(self) -> None:
        """Write the joined summary once more."""
        if self.begun.part is not None:
            join_parts(self.begun.job.output, self.begun.part, run=self._describe())

    def _describe(self) -> dict[str, Any]:
        begun, decoder = self.begun, self.setup.decoder
        job, found = begun.job, begun.found
        return {
            "model": decoder.pack.manifest.name,
            "model_fingerprint": decoder.fingerprint,
            "device": device_name(decoder.device),
            "precision": self.setup.precision,
            "rasterizer": decoder.draw_on,
            "rasterizer_of_formats": self.setup.pace.formats_drawn_on(decoder.draw_on),
            "batch_size": self.setup.pace.batch_size,
            "inputs": list(job.photos),
            "inputs_found": len(found.photos),
            "passed_over": [
                str(path.absolute()) for path in (*found.passed_over, *found.no_files, *found.closed)
            ],
            "output": str(job.output.resolve()),
            "request": job.settings.request(),
            "formats": list(job.settings.formats),
        }


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
    begun = run.begun
    job, photos = begun.job, begun.photos
    # Names are given to the photos of all shares together, so that they do not depend on who does which.
    names = begun.share.take(result_names(begun.found.photos, job.output))
    outcomes = reconstruct(
        photos,
        run.setup.decoder,
        job.settings,
        job.output,
        pace=run.setup.pace,
        names=names,
        debug=job.debug,
        crew=begun.crew,
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("Photos", total=len(photos), rate="")
        started = time.perf_counter()

        def collect(outcome: Outcome) -> None:
            # One by one and first: what is done must be kept when Ctrl-C ends the loop.
            run.outcomes.append(outcome)
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
    outcomes, output = run.outcomes, run.begun.job.output
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
        photos = len(run.begun.photos)
        what = "the photo" if photos == 1 else f"any of the {photos} photos"
        raise InputError(f"nothing could be reconstructed from {what}; the reasons stand above.")
    return FAILED if run.begun.job.strict and skipped else 0


def _joint_exit_code(run: Run, whole: Joined) -> int:
    """What processes that a launcher started come to together; told by the one after which nothing is left to do.

    A launcher ends all processes when one fails. So a photo that was skipped does not make its process fail: the one whose
    part makes the summary complete looks at all photos, when all the others have written theirs.
    """
    nothing = 0 < whole.photos == whole.skipped
    if not whole.complete or not (nothing or (run.begun.job.strict and whole.skipped)):
        return 0
    time.sleep(LAST_WORDS_S)
    run.join_again()  # one that had looked before our part was there may have written its summary after ours
    summary = run.begun.job.output / SUMMARY
    if nothing:
        raise InputError(
            f"nothing could be reconstructed from any of the {whole.photos} photos; {summary} tells why."
        )
    say_error(f"--strict: {whole.skipped} of {whole.photos} photos skipped; {summary} tells why.")
    return FAILED
