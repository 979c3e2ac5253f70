"""What `deca reconstruct` was asked for, and setting everything up for it: device, model, precision, kernels."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from rich.text import Text

if TYPE_CHECKING:
    from pathlib import Path

    import torch
    from rich.console import Console

    from deca_cli.networks.inference import Precision
    from deca_cli.packs.store import Pack
    from deca_cli.pipeline.captures import Decoder
    from deca_cli.pipeline.crew import Crew
    from deca_cli.pipeline.pace import Pace
    from deca_cli.pipeline.settings import Settings
    from deca_cli.pipeline.share import Share


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
    batch_size: int | None  # None: as the device can take
    precision: str | None  # None: as suits the device
    compiled: bool
    rasterizer: str
    shard: tuple[int, int] | None  # part and number of parts, from 1 on
    strict: bool
    debug: bool


@dataclass(frozen=True, eq=False)
class Setup:
    """What the run works with."""

    decoder: Decoder
    pace: Pace
    precision: str


def find_job_share(job: Job) -> Share:
    """The part of the photos that is this process's.

    Raises:
        UsageError: the variables of torchrun or SLURM make no sense.
    """
    from deca_cli.pipeline.share import find_share

    return find_share(job.shard, os.environ)


def prepare(job: Job, share: Share, photos: int, console: Console, crew: Crew | None = None) -> Setup:
    """Load everything heavy, and compile the kernels if this is the first run.

    Args:
        job: what is asked for.
        share: which GPU is this process's.
        photos: how many it will do.
        console: where to say what is used.
        crew: workers that are there already.

    Raises:
        DecaError: something asked for is not here.
    """
    from deca_cli.photo.detectors import choose_detector
    from deca_cli.pipeline.pace import Pace
    from deca_cli.pipeline.start import (
        choose_device,
        choose_drawing_device,
        choose_precision,
        set_threads,
    )

    set_threads(job.threads)
    choose_detector(job.settings.detector)  # a wrong name is told before anything is loaded
    device = choose_device(job.device, share.local)
    precision = choose_precision(job.precision, device)
    draw_on = choose_drawing_device(job.rasterizer, device)
    pace = Pace.of(
        device,
        photos,
        cores=job.threads,
        batch_size=job.batch_size,
        padded=job.compiled,
        detector=job.settings.detector,
        crew=crew,
    )
    decoder = _load_decoder(job, share, console, device=device, precision=precision, draw_on=draw_on)
    if job.compiled:
        _warm_up(decoder, pace, console)
    return Setup(decoder, pace, precision)


def _load_decoder(
    job: Job, share: Share, console: Console, *, device: torch.device, precision: Precision, draw_on: str
) -> Decoder:
    """Load the model, say what it is and what it lacks, and compile the kernels."""
    from deca_cli.export.formats import OF_THE_MESH
    from deca_cli.networks.inference import ready_deca
    from deca_cli.packs.folders import best_installed
    from deca_cli.packs.store import load_pack
    from deca_cli.pipeline.captures import Decoder

    pack = load_pack(job.model or best_installed(), device)
    say(console, f"Model {model_name(pack)} on {device}{_why(job, pack)}.")
    if not share.alone:
        say(console, f"Part {share.number + 1} of {share.of} of the photos ({share.given_by}).")
    if not pack.has_detail:
        say(console, "This model has no detail networks: detail pictures and meshes are left out.")
    if "face_score" not in dict(pack.manifest.layout) and not (
        job.settings.box_px or job.settings.whole_photo
    ):
        say(
            console,
            "This model cannot tell faces from other finds and keeps them all; --faces largest keeps one a photo.",
        )
    _compile_kernels(console)
    deca = ready_deca(pack.deca, precision, compiled=job.compiled)
    whole = not OF_THE_MESH.isdisjoint(job.settings.formats)
    return Decoder.of(replace(pack, deca=deca), draw_on=draw_on, whole=whole)


def _compile_kernels(console: Console) -> None:
    from deca_cli.pipeline.start import compile_kernels, kernels_are_compiled

    if not kernels_are_compiled():
        with console.status("Compiling the renderer and the face finder, once on this machine ..."):
            compile_kernels()
        say(console, "Compiled the renderer and the face finder, once on this machine.")


def _warm_up(decoder: Decoder, pace: Pace, console: Console) -> None:
    """Let the networks be compiled before the first photo waits for it.

    Raises:
        DeviceError: they cannot be compiled here.
    """
    from deca_cli.pipeline.start import warm_up

    with console.status("Compiling the networks (--compile); this takes a minute or so ..."):
        warm_up(decoder.pack.deca, pace.batch_size)
    say(console, f"Compiled the networks for batches of {pace.batch_size}.")


def model_name(pack: Pack) -> str:
    """The model's name, and whether it is the one that comes with the program."""
    from deca_cli.packs.folders import OPEN, pack_folder

    bundled = pack.folder == pack_folder(OPEN)
    return pack.manifest.name + (" (bundled)" if bundled else "")


def _why(job: Job, pack: Pack) -> str:
    """How the model was chosen, if nobody chose it and it is not the bundled one."""
    from deca_cli.packs.folders import DECA

    if job.model is None and pack.manifest.name == DECA:
        return ", as it is installed (--model open takes the bundled one)"
    return ""


def say(console: Console, text: str, style: str = "") -> None:
    """Print text as it is: a path may hold what looks like markup."""
    console.print(Text(text, style))


def device_name(device: torch.device) -> str:
    """The device and what it is, for the summary."""
    import torch as torch_

    return f"{device} ({torch_.cuda.get_device_name(device)})" if device.type == "cuda" else str(device)
