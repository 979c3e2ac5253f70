"""`deca animate`: a moving picture of one head."""

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
from deca_cli.cli.values import DEVICES, choice, number

LEAST_SIDE, LARGEST_SIDE = 64, 2160


def parse_size(text: str) -> tuple[int, int]:
    """`512` or `1920x1080` -> width and height."""
    try:
        sides = [int(part) for part in text.lower().split("x")]
    except ValueError:
        sides = []
    if len(sides) not in {1, 2}:
        raise typer.BadParameter(f"{text!r} is not a number of pixels or WIDTHxHEIGHT.")
    width, height = sides[0], sides[-1]
    if min(width, height) < LEAST_SIDE or height > LARGEST_SIDE or width > 2 * LARGEST_SIDE:
        raise typer.BadParameter(
            f"{text!r}: sides lie between {LEAST_SIDE} and {LARGEST_SIDE} pixels (width up to {2 * LARGEST_SIDE})."
        )
    return width, height


@in_a_sentence
def animate(
    source: Source,
    *,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="A .mp4 or .gif file; any other name is a folder of PNGs.")
    ] = Path("animation.mp4"),
    preset: Annotated[
        str,
        typer.Option(
            metavar="expressions|turntable|talk|blink|teaser",
            help="What happens.",
            show_default="expressions",
        ),
    ] = "",
    driver: Annotated[
        list[str] | None,
        typer.Option(
            help="Move like this: video, ARKit CSV, params.npz, photos; with the teaser its expressions. May be repeated.",
            show_default=False,
        ),
    ] = None,
    script: Annotated[Path | None, typer.Option(help="Keyframes in a TOML file.", show_default=False)] = None,
    expression: Annotated[
        list[str] | None,
        typer.Option(
            "--expression",
            "-e",
            metavar="smile=0.8,jawOpen=0.3",
            help="An expression for the presets expressions and teaser, amounts 0 to 2 (a wrong name lists them all); may be repeated.",
            show_default=False,
        ),
    ] = None,
    rendering: Annotated[
        str,
        typer.Option(
            metavar="shape|detail|textured|albedo|normals|side-by-side",
            help="How the head is shown; several joined by +.",
            show_default="side-by-side",
        ),
    ] = "",
    size: Annotated[
        tuple | None,
        typer.Option(
            parser=parse_size,
            metavar="N|WxH",
            help="Pixels of the whole picture; a panel of the teaser.",
            show_default="1024x512",
        ),
    ] = None,
    fps: Annotated[
        float | None,
        typer.Option(**number(1, 240), help="Frames per second.", show_default="25, or the driver's"),
    ] = None,
    seconds: Annotated[
        float | None,
        typer.Option(**number(0.04), help="Stretch a preset or script to this duration.", show_default=False),
    ] = None,
    light: Annotated[
        str,
        typer.Option(
            metavar="studio|front|left|right|top|below|AZIMUTH,ELEVATION",
            help="Light; with studio a texture keeps the light of its photo.",
            show_default="studio",
        ),
    ] = "",
    camera: Annotated[
        str,
        typer.Option(
            metavar="portrait|source", help="The whole head in the middle, or the view of the photo."
        ),
    ] = "portrait",
    zoom: Annotated[
        float, typer.Option(**number(0.05, 20), help="Larger or smaller than the camera shows it.")
    ] = 1.0,
    pose: Annotated[
        str | None,
        typer.Option(
            metavar="source|driver|frontal|YAW,PITCH,ROLL",
            help="Which way the head looks (degrees); presets and scripts turn it from there.",
            show_default=False,
        ),
    ] = None,
    relative: Annotated[
        bool, typer.Option("--relative", help="Add the change from neutral to the source's expression.")
    ] = False,
    neutral: Annotated[
        str, typer.Option(help="The driver's neutral for --relative: calmest, first, or a frame's number.")
    ] = "calmest",
    intensity: Annotated[float, typer.Option(**number(0, 3), help="How strong the expressions are.")] = 1.0,
    keep: Annotated[
        list[str] | None,
        typer.Option(
            metavar="jaw|mouth|eyes", help="What stays the source's; may be repeated.", show_default=False
        ),
    ] = None,
    composite: Annotated[
        bool, typer.Option("--composite", help="Draw the head into the source's photo.")
    ] = False,
    official: Annotated[
        bool, typer.Option("--official", help="The teaser frame by frame as the official release has it.")
    ] = False,
    params: Annotated[
        Path | None,
        typer.Option(help="Also write the codes of every frame into this folder.", show_default=False),
    ] = None,
    max_gap: MaxGap = 0.5,
    model: Model = None,
    device: Annotated[
        str, typer.Option(**choice(*DEVICES), help="Where networks and renderer run.")
    ] = "auto",
    detector: Detector = "auto",
    bbox: Box = None,
    no_crop: NoCrop = False,
    threads: Threads = None,
    debug: Debug = False,  # noqa: ARG001 - read by in_a_sentence
) -> None:
    """Animate the head of a source: presets, a driver, or a script of keyframes."""
    from deca_cli.animate.combine import check_keep, parse_pose
    from deca_cli.animate.named import parse_expression
    from deca_cli.cli.animate_run import Job, run_job
    from deca_cli.pipeline.settings import Settings

    job = Job(
        source=source, output=output, preset=preset, drivers=tuple(driver or ()), script=script,
        named=tuple(parse_expression(text) for text in expression or ()), rendering=rendering, size=size, fps=fps,
        seconds=seconds, light=light, camera=camera, zoom=zoom, pose=parse_pose(pose) if pose else None,
        relative=relative, neutral=neutral, intensity=intensity, keep=check_keep(keep or ()), composite=composite,
        official=official, params=params, max_gap_s=max_gap, model=model, device=device,
        settings=Settings(max_faces=1, box_px=bbox, detector=detector, whole_photo=no_crop), threads=threads,
    )  # fmt: skip
    run_job(job)
