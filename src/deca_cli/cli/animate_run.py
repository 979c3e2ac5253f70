"""What `deca animate` does and says; imported only when it runs."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from deca_cli.cli.reconstruct_setup import model_name
from deca_cli.cli.transfer_run import open_source
from deca_cli.cli.waiting import counted, waiting
from deca_cli.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from deca_cli.animate.combine import Pose
    from deca_cli.animate.show import Show
    from deca_cli.animate.source import Source
    from deca_cli.pipeline.settings import Settings


@dataclass(frozen=True)
class Job:
    """The command line, parsed."""

    source: str
    output: Path
    preset: str
    drivers: tuple[str, ...]
    script: Path | None
    named: tuple[Mapping[str, float], ...]
    rendering: str
    size: tuple[int, int] | None
    fps: float | None
    seconds: float | None
    light: str
    camera: str
    zoom: float
    pose: Pose | None
    relative: bool
    neutral: str
    intensity: float
    keep: tuple[str, ...]
    composite: bool
    official: bool
    params: Path | None
    max_gap_s: float
    model: str | None
    device: str
    settings: Settings
    threads: int | None


def check(job: Job) -> None:
    """Refuse options that do not go together, before anything is loaded.

    Raises:
        UsageError: the reason.
    """
    from deca_cli.animate.looks import parse_light, parse_rendering
    from deca_cli.animate.presets import PRESETS, TEASER
    from deca_cli.animate.video import kind_of_output

    if job.preset and job.preset not in (*PRESETS, TEASER):
        raise UsageError(f"--preset {job.preset}: there are {', '.join((*PRESETS, TEASER))}.")
    given = [
        name
        for name, on in (("--preset", job.preset), ("--driver", job.drivers), ("--script", job.script))
        if on
    ]
    if len(given) > 1 and not (job.preset == TEASER and job.script is None):
        raise UsageError(f"{' and '.join(given)} exclude each other: each says what happens in the clip.")
    if job.named and job.preset not in {"", "expressions", TEASER}:
        raise UsageError(f"--expression goes with the presets expressions and teaser, not with {job.preset}.")
    if job.named and (job.script or (job.drivers and job.preset != TEASER)):
        raise UsageError("--expression goes with the presets expressions and teaser only.")
    if job.camera not in {"portrait", "source"}:
        raise UsageError(f"--camera {job.camera}: say portrait or source.")
    if job.official and job.preset != TEASER:
        raise UsageError("--official belongs to --preset teaser.")
    parse_light(job.light or "studio")
    parse_rendering(job.rendering or "side-by-side")
    kind_of_output(job.output)


def run_job(job: Job) -> None:
    """Do the job and report it.

    Raises:
        DecaError: something that the person can mend.
    """
    from deca_cli.animate.video import open_writer

    started = time.perf_counter()
    console = Console(stderr=True, highlight=False)
    check(job)
    script = None
    if job.script is not None:
        from deca_cli.animate.script import read_script

        script = read_script(job.script)
        job = _with_options(job, script.options)
    source = open_source(job.source, job.model, job.device, job.settings, job.threads, console)
    show = _show(job, source, script.keyframes if script else None, console)
    for note in show.notes:
        console.print(note, markup=False)
    with open_writer(job.output, show.fps) as writer:
        for frame in counted(show.frames(), show.length, "Frames", console):
            writer.write(frame)
    if job.params is not None and show.codes is not None:
        from deca_cli.animate.results import save_clip_params

        save_clip_params(source, show.codes, show.fps, job.params)
    seconds = time.perf_counter() - started
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    table.add_row("Frames", f"{show.length} ({show.length / show.fps:.1f} s at {show.fps:g} a second)")
    table.add_row("Model", model_name(source.pack))
    table.add_row("Seconds", f"{seconds:.1f}")
    table.add_row("Look at", str(job.output))
    Console(highlight=False, markup=False).print(table)


def _with_options(job: Job, options: Mapping[str, object]) -> Job:
    """Options of a script where the command line has none."""
    import typer

    from deca_cli.cli.animate import parse_size

    changes: dict[str, object] = {}
    if job.fps is None and "fps" in options:
        changes["fps"] = float(str(options["fps"]))
    if job.size is None and "size" in options:
        try:
            changes["size"] = parse_size(str(options["size"]))
        except typer.BadParameter as error:
            raise UsageError(f"{job.script}: size {error.message}") from None
    changes |= {
        name: options[name] for name in ("rendering", "light") if not getattr(job, name) and name in options
    }
    job = replace(job, **changes)  # type: ignore[arg-type]
    check(job)
    return job


def _show(job: Job, source: Source, keyframes: object, console: Console) -> Show:
    """What is shown, frame by frame."""
    from deca_cli.animate.drivers import DriverSettings, read_drivers
    from deca_cli.animate.looks import parse_light, parse_rendering
    from deca_cli.animate.presets import TEASER
    from deca_cli.animate.show import Style, driven, keyed, teaser

    style = Style(
        kinds=parse_rendering(job.rendering or "side-by-side"),
        size=job.size,
        fps=job.fps,
        light=parse_light(job.light or "studio"),
        camera=job.camera,
        zoom=job.zoom,
        pose=job.pose,
        relative=job.relative,
        neutral=job.neutral,
        intensity=job.intensity,
        keep=job.keep,
        composite=job.composite,
        seconds=job.seconds,
    )
    drivers = []
    if job.drivers:
        with waiting(console, "Looking at the drivers ...") as say:
            as_clip = job.preset != TEASER
            wanted = DriverSettings(
                replace(job.settings, box_px=None), as_clip, job.fps or 25.0, job.max_gap_s
            )
            drivers = read_drivers(job.drivers, source.pack, wanted, watch=say)
    if job.preset == TEASER:
        return teaser(source, drivers, job.named, style, official=job.official)
    if drivers:
        return driven(source, drivers, style)
    return keyed(source, keyframes, job.preset or "expressions", job.named, style)  # type: ignore[arg-type]
