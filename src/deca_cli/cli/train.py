"""`deca train STAGE`: training programs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from deca_cli.train.synthetic import Progress

app = typer.Typer(name="train", help="Train the networks of a model pack.", no_args_is_help=True)


@app.callback()
def train() -> None:
    """Train the networks of a model pack."""


@app.command()
def synthetic(
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder of the run; the pack goes to OUTPUT/pack.")
    ] = Path("runs/synthetic"),
    head: Annotated[
        Path | None, typer.Option(help="Head file to learn; the bundled open head if left out.")
    ] = None,
    minutes: Annotated[
        float, typer.Option(help="How long to train; the learning rate follows the time.")
    ] = 10.0,
    max_steps: Annotated[
        int, typer.Option(help="Stop after that many steps, if that comes first.")
    ] = 1_000_000,
    batch_size: Annotated[int, typer.Option(help="Faces per step and process.")] = 256,
    backbone: Annotated[str, typer.Option(help="resnet18, resnet34 or resnet50.")] = "resnet18",
    image_size: Annotated[int, typer.Option(help="Side of the crops in pixels, a multiple of 8.")] = 160,
    learning_rate: Annotated[float, typer.Option(help="Highest learning rate.")] = 1.5e-3,
    init: Annotated[
        Path | None,
        typer.Option(help="Pack folder whose encoder the run starts from; fresh weights if left out."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of faces and weights.")] = 0,
    device: Annotated[str, typer.Option(help="cuda or cpu.")] = "cuda",
    fused: Annotated[
        bool,
        typer.Option(
            help="Compile the pixel arithmetic of the pictures: half a minute at the start, then faster."
        ),
    ] = False,
    preview: Annotated[
        Path | None, typer.Option(help="Only draw a sheet of training pictures into this PNG, and stop.")
    ] = None,
) -> None:
    """Train the coarse encoder on synthetic faces (several GPUs: start it with torchrun)."""
    from dataclasses import replace

    import torch

    from deca_cli.packs.folders import pack_folder
    from deca_cli.train.settings import SyntheticSettings
    from deca_cli.train.synthetic import train_synthetic

    head_file = head or pack_folder("open") / "head.npz"
    settings = SyntheticSettings(
        backbone=backbone,
        minutes=minutes,
        max_steps=max_steps,
        batch_size=batch_size,
        learning_rate=learning_rate,
        seed=seed,
        init=None if init is None else str(init),
    )
    settings = replace(settings, generator=replace(settings.generator, image_size=image_size, fused=fused))
    torch.set_float32_matmul_precision("high")  # tensor cores for the head's bases; geometry stays float32
    if preview is not None:
        from deca_cli.train.preview import draw_preview

        draw_preview(head_file, settings, device, preview)
        typer.echo(f"training pictures: {preview}")
        return
    pack = train_synthetic(head_file, output, settings, device, _echo)
    typer.echo(f"model pack: {pack}\nuse it with: deca reconstruct PHOTO --model {pack}")


def _echo(progress: Progress) -> None:
    names = ("nme", "expression", "identity", "face_score")
    values = "  ".join(f"{name} {progress.values[name]:.3f}" for name in names)
    typer.echo(
        f"{progress.elapsed_s:6.0f} s  step {progress.step:6d}  {progress.faces_per_s:6.0f} faces/s  {values}"
    )
