"""`deca reconstruct`: photos in, 3D heads out."""

from __future__ import annotations

from math import isnan
from pathlib import Path
from typing import Annotated

import typer

from deca_cli.cli.errors import in_a_sentence
from deca_cli.cli.values import DEVICES, choice, whole


def parse_faces(text: str) -> int:
    """`largest`, `all` or a number -> how many faces at most; 0 = all."""
    words = {"all": 0, "largest": 1}
    if text in words:
        return words[text]
    if text.isdecimal() and int(text) > 0:
        return int(text)
    raise typer.BadParameter(f"{text!r} is not `largest`, `all` or a number from 1 on.")


def parse_box(text: str) -> tuple[float, float, float, float]:
    """`x0,y0,x1,y1` -> four numbers."""
    try:
        x0, y0, x1, y1 = (float(number) for number in text.split(","))
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not four numbers x0,y0,x1,y1.") from None
    if any(isnan(number) for number in (x0, y0, x1, y1)):
        raise typer.BadParameter(f"{text!r} is not four numbers x0,y0,x1,y1: nan is none.")
    if not (x0 < x1 and y0 < y1):
        raise typer.BadParameter(f"{text!r} is empty: x0 must be less than x1 and y0 less than y1.")
    return x0, y0, x1, y1


def parse_shard(text: str) -> tuple[int, int]:
    """`i/n` -> two numbers."""
    number, slash, count = text.partition("/")
    if not (slash and number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count)):
        raise typer.BadParameter(f"{text!r} is not i/n with i from 1 to n, such as 2/8.")
    return int(number), int(count)


@in_a_sentence
def reconstruct(
    photos: Annotated[
        list[str], typer.Argument(help="Photos, folders of photos, or patterns such as 'holiday/*.jpg'.")
    ],
    *,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the results.")] = Path(
        "deca-out"
    ),
    model: Annotated[
        str | None,
        typer.Option(
            help="Model pack: open, deca, or the path of a pack's folder; deca if installed, else open.",
            show_default=False,
        ),
    ] = None,
    device: Annotated[str, typer.Option(**choice(*DEVICES), help="Where the networks run.")] = "auto",
    faces: Annotated[
        int,
        typer.Option(
            parser=parse_faces, metavar="largest|all|N", help="Which faces of a photo, largest first."
        ),
    ] = "all",  # type: ignore[assignment] # the parser makes it a number
    detector: Annotated[
        str,
        typer.Option(
            help="Face finder: lbp (bundled), face-alignment (if its weights are here), auto (the best that is here)."
        ),
    ] = "auto",
    bbox: Annotated[
        tuple | None,
        typer.Option(
            parser=parse_box,
            metavar="x0,y0,x1,y1",
            help="Do not look for faces: one is here, in pixels, brows to chin and ear to ear.",
        ),
    ] = None,
    no_crop: Annotated[
        bool, typer.Option("--no-crop", help="The photos are aligned crops already: use each as it is.")
    ] = False,
    recursive: Annotated[bool, typer.Option("--recursive", "-r", help="Look into sub-folders too.")] = False,
    obj: Annotated[bool, typer.Option("--obj", help="Meshes with texture (OBJ).")] = False,
    depth: Annotated[bool, typer.Option("--depth", help="Depth maps (16-bit PNG, metres as NPY).")] = False,
    landmarks: Annotated[
        bool, typer.Option("--landmarks", help="The 68 landmarks (TXT, JSON, CSV).")
    ] = False,
    normals: Annotated[bool, typer.Option("--normals", help="Normal maps (PNG).")] = False,
    images: Annotated[
        bool, typer.Option("--images", help="The panels of the overlay, one file each.")
    ] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Leave finished results alone.")] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 1 if any photo was skipped.")] = False,
    batch_size: Annotated[
        int | None,
        typer.Option(
            **whole(1),
            help="Face crops that go through the networks together; chosen from the GPU's free memory if left out.",
            show_default=False,
        ),
    ] = None,
    precision: Annotated[
        str | None,
        typer.Option(
            **choice("fp32", "tf32", "bf16"),
            help="Arithmetic of the encoders; tf32 on a GPU and fp32 on the CPU if left out.",
            show_default=False,
        ),
    ] = None,
    compile_networks: Annotated[
        bool, typer.Option("--compile", help="Compile the encoders first (a minute or so), for many photos.")
    ] = False,
    rasterizer: Annotated[
        str,
        typer.Option(
            **choice(*DEVICES), help="What draws: the GPU where the networks run on one (auto), cpu or cuda."
        ),
    ] = "auto",
    shard: Annotated[
        tuple | None,
        typer.Option(
            parser=parse_shard,
            metavar="i/n",
            help="Do only the i-th of n parts of the photos; under torchrun or SLURM this is automatic.",
        ),
    ] = None,
    threads: Annotated[
        int | None,
        typer.Option(
            **whole(1),
            help="CPU threads; all cores if left out, divided among the processes of torchrun or SLURM.",
            show_default=False,
        ),
    ] = None,
    debug: Annotated[bool, typer.Option("--debug", help="Show a traceback instead of one sentence.")] = False,
) -> None:
    """Reconstruct the heads in photos.

    Every face gets an overlay picture and its parameters; meshes, depth and more on request.
    """
    from deca_cli.cli.reconstruct_begin import Job, begin
    from deca_cli.errors import UsageError
    from deca_cli.photo.inputs import expand_home
    from deca_cli.pipeline.settings import Settings

    if bbox is not None and no_crop:
        raise UsageError(
            "--bbox and --no-crop exclude each other: a crop that is used as it is needs no box."
        )
    wanted = {"obj": obj, "depth": depth, "landmarks": landmarks, "normals": normals, "images": images}
    settings = Settings(
        max_faces=faces or None,
        box_px=bbox,
        detector=detector,
        whole_photo=no_crop,
        formats=tuple(name for name, on in wanted.items() if on),
        resume=resume,
    )
    job = Job(
        photos=tuple(photos),
        recursive=recursive,
        output=expand_home(output),
        model=model,
        device=device,
        threads=threads,
        settings=settings,
        batch_size=batch_size,
        precision=precision,
        compiled=compile_networks,
        rasterizer=rasterizer,
        shard=shard,
        strict=strict,
        debug=debug,
    )
    with begin(job) as begun:
        from deca_cli.cli.reconstruct_run import run_job

        code = run_job(begun)
    raise typer.Exit(code)
