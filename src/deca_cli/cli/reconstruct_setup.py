"""Setting everything up for `deca reconstruct`: device, model, precision, kernels."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from rich.text import Text

if TYPE_CHECKING:
    import torch
    from rich.console import Console

    from deca_cli.cli.reconstruct_begin import Begun, Job
    from deca_cli.networks.inference import Precision
    from deca_cli.packs.store import Pack
    from deca_cli.pipeline.captures import Decoder
    from deca_cli.pipeline.crew import Crew
    from deca_cli.pipeline.pace import Pace


@dataclass(frozen=True, eq=False)
class Setup:
    """What the run works with."""

    decoder: Decoder
    pace: Pace
    precision: str


def prepare(begun: Begun, console: Console) -> Setup:
    """Load everything heavy, and compile the kernels if this is the first run.

    Args:
        begun: the job; its workers may be at work already.
        console: where to say what is used.

    Raises:
        DecaError: something asked for is not here.
    """
    from deca_cli.photo.detectors import choose_detector
    from deca_cli.pipeline.memory import room_for
    from deca_cli.pipeline.pace import Pace
    from deca_cli.pipeline.start import choose_device, choose_precision, set_threads

    job = begun.job
    set_threads(job.threads)
    choose_detector(job.settings.detector)  # a wrong name is told before anything is loaded
    device = choose_device(job.device, begun.share.local)
    precision = choose_precision(job.precision, device)
    pace = Pace.of(
        device,
        len(begun.photos),
        cores=job.threads,
        batch_size=job.batch_size,
        padded=job.compiled,
        detector=job.settings.detector,
        crew=begun.crew,
    )
    with room_for("the model"):
        decoder = _load_decoder(begun, console, device, precision, pace)
    if job.compiled:
        pace = _warm_up(decoder, pace, console)
    return Setup(decoder, pace, precision)


def _load_decoder(
    begun: Begun, console: Console, device: torch.device, precision: Precision, pace: Pace
) -> Decoder:
    """Load the model, say what it is and what it lacks, and compile the kernels; beside that a GPU gets ready."""
    from deca_cli.networks.inference import ready_deca
    from deca_cli.packs.folders import best_installed
    from deca_cli.packs.store import load_pack
    from deca_cli.pipeline.captures import Decoder
    from deca_cli.pipeline.pace import CROPS_A_PHOTO
    from deca_cli.pipeline.start import choose_drawing_device, first_batch, load_gpu_libraries

    job = begun.job
    drawing = begun.beside.submit(choose_drawing_device, job.rasterizer, device)
    if device.type == "cuda":
        begun.beside.submit(load_gpu_libraries, device)
    pack = load_pack(job.model or best_installed(), device)
    draw_on = drawing.result()
    _say_model(begun, console, pack, device)
    begun.end_ahead()
    _compile_kernels(console, begun.crew)
    deca = ready_deca(pack.deca, precision, compiled=job.compiled)
    if device.type == "cuda" and not job.compiled:
        # Half a batch, so that a whole one fits into the memory beside it.
        size = min(max(1, pace.batch_size // 2), CROPS_A_PHOTO * pace.group)
        begun.beside.submit(first_batch, deca, size)
    return Decoder.of(replace(pack, deca=deca), draw_on=draw_on, whole=job.settings.of_the_mesh)


def _say_model(begun: Begun, console: Console, pack: Pack, device: torch.device) -> None:
    """Say which model is used for which photos, and what it cannot do."""
    job, share = begun.job, begun.share
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


def _compile_kernels(console: Console, crew: Crew | None) -> None:
    """Compile what the first run on a machine compiles; workers that are at work show that it is not the first."""
    if crew is not None:
        crew.take(wait=False)
        if any(worker.met for worker in crew.workers):
            return
    from deca_cli.pipeline.kernels import compile_kernels, kernels_are_compiled

    if not kernels_are_compiled():
        with console.status("Compiling the renderer and the face finder, once on this machine ..."):
            compile_kernels()
        say(console, "Compiled the renderer and the face finder, once on this machine.")


def _warm_up(decoder: Decoder, pace: Pace, console: Console) -> Pace:
    """Let the networks be compiled before the first photo waits for it; the pace, with batches that memory holds.

    Raises:
        DeviceError: they cannot be compiled here.
    """
    from deca_cli.pipeline.start import warm_up

    with console.status("Compiling the networks (--compile); this takes a minute or so ..."):
        size = warm_up(decoder.pack.deca, pace.batch_size)
    say(console, f"Compiled the networks for batches of {size}.")
    return replace(pace, batch_size=size)


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
