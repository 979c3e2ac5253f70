"""`deca train prepare` and `deca train render-set`: datasets for the training stages."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - typer reads the annotations
from typing import Annotated

import typer

from deca_cli.cli.errors import in_a_sentence
from deca_cli.cli.values import DEVICES, choice, number, whole

Debug = Annotated[bool, typer.Option("--debug", help="Show a traceback instead of one sentence.")]


def add_commands(app: typer.Typer) -> None:
    """Register both in `deca train`."""
    app.command("prepare")(prepare)
    app.command("render-set")(render_set)


@in_a_sentence
def prepare(
    photos: Annotated[
        str,
        typer.Argument(
            metavar="FOLDER_OR_LIST",
            help="Folder with one sub-folder of photos and videos per person, or a list with lines `person,path`.",
        ),
    ],
    *,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Folder of the dataset [FOLDER-dataset].", show_default=False),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(help="Model pack that finds the landmarks; the best installed one.", show_default=False),
    ] = None,
    device: Annotated[str, typer.Option(**choice(*DEVICES), help="Where it runs.")] = "auto",
    workers: Annotated[
        int | None, typer.Option(**whole(1), help="Processes [one per core].", show_default=False)
    ] = None,
    every: Annotated[int, typer.Option(**whole(1), help="Of videos, take every so many frames.")] = 10,
    masks: Annotated[
        Path | None,
        typer.Option(
            help="Skin masks (.png, 255 = skin) under the same relative paths; drawn where there is none.",
            show_default=False,
        ),
    ] = None,
    held_out: Annotated[
        float, typer.Option(**number(0, 0.99), help="Share of the people kept for validation.")
    ] = 0.05,
    margin: Annotated[
        float,
        typer.Option(
            **number(1, 5),
            help="Side of the stored crops in face boxes; at least the largest training scale.",
        ),
    ] = 1.9,
    size: Annotated[
        int, typer.Option(**whole(64, 4096), help="Largest side of the stored crops in pixels.")
    ] = 320,
    detector: Annotated[str, typer.Option(help="auto, lbp or face-alignment.")] = "auto",
    least_score: Annotated[float, typer.Option(**number(0, 1), help="Least face score of the model.")] = 0.99,
    least_size: Annotated[float, typer.Option(**number(0), help="Least size of a face in pixels.")] = 48.0,
    least_sharpness: Annotated[
        float, typer.Option(**number(0), help="Least sharpness; 0 keeps blurred faces.")
    ] = 15.0,
    shards: Annotated[bool, typer.Option("--shards", help="Write tars as well, to OUTPUT-shards.")] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit with 1 if a file could not be used.")
    ] = False,
    debug: Debug = False,  # noqa: ARG001 - read by in_a_sentence
) -> None:
    """Turn photos and videos of people into a dataset; a run that was stopped goes on with the same command."""
    from deca_cli.cli.train_prepare_run import PrepareJob, run_prepare
    from deca_cli.train.data.prepare.settings import PrepareSettings, QualityLimits

    limits = QualityLimits(least_score, least_size, least_sharpness)
    settings = PrepareSettings(
        margin=margin, size=size, every=every, held_out=held_out, detector=detector, limits=limits
    )
    job = PrepareJob(photos, output, model, device, workers, masks, settings, shards, strict)
    raise typer.Exit(run_prepare(job))


@in_a_sentence
def render_set(
    output: Annotated[Path, typer.Argument(help="Folder of the new dataset.")],
    *,
    people: Annotated[int, typer.Option(**whole(1), help="How many people.")] = 200,
    photos: Annotated[int, typer.Option(**whole(1), help="Photos of each.")] = 8,
    size: Annotated[
        int,
        typer.Option(
            **whole(32, 2048), help="Side of the crops that will be trained on; stored larger, with a margin."
        ),
    ] = 224,
    held_out: Annotated[
        float, typer.Option(**number(0, 0.99), help="Share of the people kept for validation.")
    ] = 0.1,
    seed: Annotated[int, typer.Option(**whole(0), help="Seed of everything.")] = 0,
    clean: Annotated[
        bool, typer.Option("--clean", help="Without noise, blur, JPEG and changes of exposure and colour.")
    ] = False,
    yaw: Annotated[
        float, typer.Option(**number(0, 90), help="Largest yaw in degrees, to either side.")
    ] = 60.0,
    plain: Annotated[
        bool,
        typer.Option(
            "--plain", help="Nothing in front of the faces (glasses, hands, fringes), no cast shadows."
        ),
    ] = False,
    wrinkles: Annotated[
        float, typer.Option(**number(0, 10), help="How deep wrinkles are, as a factor.")
    ] = 1.0,
    head: Annotated[
        Path | None, typer.Option(help="Head file; the bundled open head.", show_default=False)
    ] = None,
    device: Annotated[str, typer.Option(**choice(*DEVICES), help="Where it runs.")] = "auto",
    debug: Debug = False,  # noqa: ARG001 - read by in_a_sentence
) -> None:
    """Render a dataset of synthetic people, several photos each, whose truth is known."""
    from deca_cli.cli.train_prepare_run import run_render_set
    from deca_cli.train.data.synthetic_set import RenderSetSettings

    settings = RenderSetSettings(
        people=people,
        photos=photos,
        size=size,
        held_out=held_out,
        seed=seed,
        degrade=not clean,
        yaw_limit=yaw,
        plain=plain,
        wrinkle_depth=wrinkles,
    )
    run_render_set(output, settings, head, device)
