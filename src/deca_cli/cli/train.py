"""`deca train STAGE`: training programs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deca_cli.cli.errors import in_a_sentence
from deca_cli.cli.train_prepare import add_commands
from deca_cli.cli.train_stages import Debug, add_to
from deca_cli.cli.values import DEVICES, choice, number, whole

if TYPE_CHECKING:
    from deca_cli.train.synthetic import Progress

app = typer.Typer(name="train", help="Train the networks of a model pack.", no_args_is_help=True)
add_to(app)
add_commands(app)


@app.callback()
def train() -> None:
    """Train the networks of a model pack."""


@app.command()
@in_a_sentence
def synthetic(
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder of the run; the pack goes to OUTPUT/pack.")
    ] = Path("runs/synthetic"),
    head: Annotated[
        Path | None, typer.Option(help="Head file to learn; the bundled open head if left out.")
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help="YAML of settings, such as a pack's training.yaml; options change it.")
    ] = None,
    minutes: Annotated[
        float | None,
        typer.Option(**number(above=0), help="How long to train (10); the learning rate follows the time."),
    ] = None,
    max_steps: Annotated[
        int | None, typer.Option(**whole(1), help="Stop after that many steps, if that comes first.")
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(**whole(1), help="Faces per step and process (256).")
    ] = None,
    backbone: Annotated[
        str | None,
        typer.Option(**choice("resnet18", "resnet34", "resnet50"), help="Of the encoder (resnet18)."),
    ] = None,
    image_size: Annotated[
        int | None, typer.Option(**whole(8), help="Side of the crops in pixels, a multiple of 8 (160).")
    ] = None,
    learning_rate: Annotated[
        float | None, typer.Option(**number(above=0), help="Highest learning rate (1.5e-3).")
    ] = None,
    init: Annotated[
        Path | None,
        typer.Option(help="Pack folder whose networks the run starts from; fresh weights if left out."),
    ] = None,
    seed: Annotated[int | None, typer.Option(**whole(0), help="Seed of faces and weights (0).")] = None,
    device: Annotated[
        str, typer.Option(**choice(*DEVICES), help="Where it runs; auto: what there is.")
    ] = "auto",
    fused: Annotated[
        bool | None,
        typer.Option(
            "--fused/--no-fused",
            help="Compile the pixel arithmetic of the pictures: half a minute at the start, then faster.",
        ),
    ] = None,
    compiled: Annotated[
        bool | None,
        typer.Option("--compile/--no-compile", help="Compile the networks: a minute at the start."),
    ] = None,
    options: Annotated[
        list[str] | None, typer.Option("--set", help="Any setting, as NAME=VALUE or GROUP.NAME=VALUE.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in OUTPUT.")] = False,
    timings: Annotated[
        bool, typer.Option("--timings", help="Show how long each part of a step takes.")
    ] = False,
    preview: Annotated[
        Path | None, typer.Option(help="Only draw a sheet of training pictures into this PNG, and stop.")
    ] = None,
    debug: Debug = False,
) -> None:
    """Train encoder and detail decoder on synthetic faces (several GPUs: start it with torchrun)."""
    del debug  # `in_a_sentence` looks at it
    import torch

    from deca_cli.packs.folders import pack_folder
    from deca_cli.train.processes import device_sentence, found_device
    from deca_cli.train.synthetic import train_synthetic
    from deca_cli.train.synthetic_config import load_settings

    head_file = head or pack_folder("open") / "head.npz"
    given = {
        "minutes": minutes,
        "max_steps": max_steps,
        "batch_size": batch_size,
        "backbone": backbone,
        "learning_rate": learning_rate,
        "init": None if init is None else str(init),
        "seed": seed,
        "compiled": compiled,
        "generator.image_size": image_size,
        "generator.fused": fused,
    }
    values = {name: value for name, value in given.items() if value is not None}
    settings = load_settings(config, values, options or ())
    torch.set_float32_matmul_precision("high")  # tensor cores for the head's bases; geometry stays float32
    device = found_device(device)
    if preview is not None:
        from deca_cli.train.preview import draw_preview

        draw_preview(head_file, settings, device, preview)
        typer.echo(f"training pictures: {preview}")
        return
    first = os.environ.get("RANK", "0") == "0"  # torchrun starts one such command per GPU
    if first:
        typer.echo(device_sentence(device))
    pack = train_synthetic(head_file, output, settings, device, _echo, resume=resume, timings=timings)
    if first:
        typer.echo(f"model pack: {pack}\nuse it with: deca reconstruct PHOTO --model {pack}")


def _echo(progress: Progress) -> None:
    names = ("nme", "expression", "identity", "face_score", "tone_off", "picture_off", "displacement_share")
    known = [name for name in names if name in progress.values]
    values = "  ".join(f"{name} {progress.values[name]:.3f}" for name in known)
    typer.echo(
        f"{progress.elapsed_s:6.0f} s  step {progress.step:6d}  {progress.faces_per_s:6.0f} faces/s  {values}"
    )
    if progress.parts_ms:
        typer.echo("    ms: " + "  ".join(f"{name} {value:.1f}" for name, value in progress.parts_ms.items()))
