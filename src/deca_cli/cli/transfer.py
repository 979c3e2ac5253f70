"""`deca transfer`: another face's expression on this person's head."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from deca_cli.cli.errors import in_a_sentence
from deca_cli.cli.source_options import (  # noqa: TC001 - typer reads the annotations at run time
    Box,
    Debug,
    Detector,
    MaxGap,
    Model,
    NoCrop,
    Source,
    Threads,
)
from deca_cli.cli.values import DEVICES, choice, number, whole


@in_a_sentence
def transfer(
    source: Source,
    drivers: Annotated[
        list[str] | None,
        typer.Argument(
            help="Whose expression: photos, folders, videos, params.npz, ARKit CSV files (Live Link Face).",
            show_default=False,
        ),
    ] = None,
    *,
    expression: Annotated[
        list[str] | None,
        typer.Option(
            "--expression",
            "-e",
            metavar="smile=0.8,jawOpen=0.3",
            help="Named expressions or ARKit coefficients, such as smile=0.8,jawOpen=0.3, amounts 0 to 2 (a wrong name lists them all); may be repeated.",
            show_default=False,
        ),
    ] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the results.")] = Path(
        "deca-transfer"
    ),
    relative: Annotated[
        bool,
        typer.Option(
            "--relative", help="Add the driver's change from its own neutral to the source's expression."
        ),
    ] = False,
    neutral: Annotated[
        str, typer.Option(help="The driver's neutral for --relative: calmest, first, or a frame's number.")
    ] = "calmest",
    intensity: Annotated[float, typer.Option(**number(0, 3), help="How strong the expression is.")] = 1.0,
    keep: Annotated[
        list[str] | None,
        typer.Option(
            metavar="jaw|mouth|eyes", help="What stays the source's; may be repeated.", show_default=False
        ),
    ] = None,
    pose: Annotated[
        str,
        typer.Option(
            metavar="source|driver|frontal|YAW,PITCH,ROLL", help="Which way the head looks (degrees)."
        ),
    ] = "source",
    composite: Annotated[
        bool, typer.Option("--composite", help="Also draw the result into the source's photo.")
    ] = False,
    clip: Annotated[
        bool, typer.Option("--clip", help="Photos, in order, are the frames of one clip.")
    ] = False,
    video: Annotated[
        str,
        typer.Option(
            "--format",
            metavar="mp4|gif|png",
            help="Of clips; mp4 if ffmpeg is here, else gif.",
            show_default=False,
        ),
    ] = "",
    fps: Annotated[
        float | None,
        typer.Option(
            **number(1, 240), help="Frames per second of clips; the driver's own.", show_default=False
        ),
    ] = None,
    max_gap: MaxGap = 0.5,
    size: Annotated[int, typer.Option(**whole(64, 2160), help="Side of a panel in pixels.")] = 512,
    model: Model = None,
    device: Annotated[str, typer.Option(**choice(*DEVICES), help="Where the networks run.")] = "auto",
    detector: Detector = "auto",
    bbox: Box = None,
    no_crop: NoCrop = False,
    threads: Threads = None,
    debug: Debug = False,  # noqa: ARG001 - read by in_a_sentence
) -> None:
    """Put the expression of drivers on the head of a source.

    The jaw and the expression come from the driver; the rest stays the source's.

    Wrinkles follow the new expression where the model has detail networks.
    """
    from deca_cli.animate.combine import TransferRule, check_keep, parse_pose
    from deca_cli.animate.named import parse_expression
    from deca_cli.cli.transfer_run import Job, run_job
    from deca_cli.errors import UsageError
    from deca_cli.pipeline.settings import Settings

    named = {text: parse_expression(text) for text in expression or []}
    if not drivers and not named:
        raise UsageError("Nothing drives the face. Name a driver (photo, video, CSV ...) or an --expression.")
    if video not in {"", "mp4", "gif", "png"}:
        raise UsageError(f"--format {video}: say mp4, gif or png.")
    rule = TransferRule(relative, neutral, intensity, check_keep(keep or ()), parse_pose(pose))
    settings = Settings(max_faces=1, box_px=bbox, detector=detector, whole_photo=no_crop)
    job = Job(
        source=source, drivers=tuple(drivers or ()), named=named, output=output, rule=rule, composite=composite,
        as_clip=clip, video=video, fps=fps, max_gap_s=max_gap, side=size, model=model, device=device,
        settings=settings, threads=threads,
    )  # fmt: skip
    run_job(job)
