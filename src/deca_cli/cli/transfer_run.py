"""What `deca transfer` does and says; imported only when it runs."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from deca_cli.cli.reconstruct_setup import model_name
from deca_cli.cli.waiting import waiting
from deca_cli.export.atomic import check_writable

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from deca_cli.animate.combine import TransferRule
    from deca_cli.animate.drivers import Driver
    from deca_cli.animate.source import Source
    from deca_cli.networks.codes import Codes
    from deca_cli.pipeline.settings import Settings


@dataclass(frozen=True)
class Job:
    """The command line, parsed."""

    source: str
    drivers: tuple[str, ...]
    named: Mapping[str, Mapping[str, float]]  # as typed -> amounts
    output: Path
    rule: TransferRule
    composite: bool
    as_clip: bool
    video: str  # mp4, gif, png, or empty for the best that is here
    fps: float | None
    max_gap_s: float
    side: int
    model: str | None
    device: str
    settings: Settings
    threads: int | None


def run_job(job: Job) -> None:
    """Do the job and report it.

    Raises:
        DecaError: something that the person can mend.
    """
    from deca_cli.animate.drivers import DriverSettings, read_drivers
    from deca_cli.animate.results import request_of

    started = time.perf_counter()
    console = Console(stderr=True, highlight=False)
    check_writable(job.output)
    source = open_source(job.source, job.model, job.device, job.settings, job.threads, console)
    how = replace(job.settings, box_px=None)
    with waiting(console, "Looking at the drivers ...") as say:
        wanted = DriverSettings(how, job.as_clip, job.fps or 25.0, job.max_gap_s)
        drivers = read_drivers(job.drivers, source.pack, wanted, watch=say)
    drivers += _named_drivers(job)
    request = request_of(job.rule, [*job.drivers, *job.named])
    results = []
    for driver, name in zip(drivers, _names(drivers), strict=True):
        for note in driver.motion.notes:
            console.print(note, markup=False)
        with console.status(f"{name} ..."):
            results.append(_one(job, source, driver, job.output / name, request))
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    table.add_row("Source", source.name)
    table.add_row("Drivers", str(len(drivers)))
    table.add_row("Model", model_name(source.pack))
    table.add_row("Seconds", f"{time.perf_counter() - started:.1f}")
    table.add_row("Look at", str(results[0]))
    Console(highlight=False, markup=False).print(table)


def open_source(
    text: str, model: str | None, device: str, settings: Settings, threads: int | None, console: Console
) -> Source:
    """Load the model and find the source's face; say which model it is and what it cannot do."""
    from deca_cli.photo.detectors import choose_detector
    from deca_cli.pipeline.kernels import compile_kernels, kernels_are_compiled
    from deca_cli.pipeline.start import choose_device, choose_drawing_device, set_threads

    set_threads(threads)
    choose_detector(settings.detector)
    where = choose_device(device)
    choose_drawing_device("auto", where)  # frames are drawn there; better told now than after finding faces
    from deca_cli.animate.source import read_source

    source = read_source(text, model, where, settings)
    console.print(f"Model [bold]{model_name(source.pack)}[/] on {where}.")
    if not source.pack.has_detail:
        console.print(
            "This model has no detail networks: the coarse shape moves, without wrinkles of its own."
        )
    if not kernels_are_compiled():
        with console.status("Compiling the renderer, once on this machine ..."):
            compile_kernels()
    return source


def _named_drivers(job: Job) -> list[Driver]:
    from deca_cli.animate.drivers import Driver
    from deca_cli.animate.named import named_motion

    return [Driver(text, named_motion([amounts], [text])) for text, amounts in job.named.items()]


def _names(drivers: list[Driver]) -> list[str]:
    """A folder for each driver: its name in plain characters, with a number where two are alike."""
    names: list[str] = []
    for driver in drivers:
        plain = re.sub(r"[^\w-]+", "_", driver.name).strip("_")[:80] or "driver"
        name, number = plain, 2
        while name.casefold() in {other.casefold() for other in names}:
            name, number = f"{plain}_{number}", number + 1
        names.append(name)
    return names


def _one(job: Job, source: Source, driver: Driver, folder: Path, request: dict[str, object]) -> Path:
    """Transfer one driver; return the file to look at first."""
    from deca_cli.animate.combine import transfer
    from deca_cli.animate.mapping import retarget
    from deca_cli.animate.motion import resample
    from deca_cli.animate.results import save_transfer
    from deca_cli.animate.spaces import space_of

    motion = driver.motion
    if motion.fps is not None and job.fps is not None:
        motion = resample(motion, job.fps)
    codes = transfer(source.codes, retarget(motion, space_of(source.pack)), job.rule)
    if motion.fps is None:
        save_transfer(source, driver, codes, folder, request, job.side)
        if job.composite:
            _still_composite(source, codes, folder)
        return folder / "comparison.jpg"
    return _clip(job, source, codes, motion.fps, folder)


def _still_composite(source: Source, codes: Codes, folder: Path) -> None:
    from deca_cli.animate.composite import composite_clip
    from deca_cli.export.pictures import write_picture

    write_picture(folder / "composite.jpg", next(composite_clip(source, codes)))


def _clip(job: Job, source: Source, codes: Codes, fps: float, folder: Path) -> Path:
    """Write the clip, the parameters of its frames and some frames side by side."""
    from deca_cli.animate.composite import composite_clip
    from deca_cli.animate.frame import square_in, whole_heads
    from deca_cli.animate.looks import TEXTURED, studio
    from deca_cli.animate.render import Panel, Scene, render_clip
    from deca_cli.animate.results import clip_comparison, finest_shape, save_clip_params
    from deca_cli.animate.video import has_ffmpeg, write_all
    from deca_cli.export.pictures import write_picture

    kind = job.video or ("mp4" if has_ffmpeg() else "gif")
    ending = {"mp4": ".mp4", "gif": ".gif", "png": ""}[kind]
    frame = square_in(job.side, job.side, window=whole_heads(source.pack.deca.head, codes))
    kinds = [finest_shape(source.pack), *([TEXTURED] if source.texture is not None else [])]
    panels = tuple(Panel(name, frame, index * job.side) for index, name in enumerate(kinds))
    scene = Scene.of(source, panels, studio())
    folder.mkdir(parents=True, exist_ok=True)
    clip = folder / f"clip{ending}"
    write_all(clip, render_clip(scene, codes), fps)
    if job.composite:
        write_all(folder / f"composite{ending}", composite_clip(source, codes), fps)
    write_picture(folder / "comparison.jpg", clip_comparison(source, codes, job.side // 2))
    save_clip_params(source, codes, fps, folder)
    return clip
