"""Options that `deca transfer` and `deca animate` share: who moves, and how the face is found."""

from __future__ import annotations

from typing import Annotated

import typer

from deca_cli.cli.reconstruct import parse_box
from deca_cli.cli.values import number, whole

Source = Annotated[str, typer.Argument(help="Who: a photo, a result folder or its params.npz.")]
MaxGap = Annotated[
    float,
    typer.Option(**number(0), help="Longest time without a face in a video that is interpolated, seconds."),
]
Model = Annotated[
    str | None,
    typer.Option(help="Model pack: open, deca or a folder; that of the source.", show_default=False),
]
Detector = Annotated[str, typer.Option(help="Face finder: lbp, face-alignment, auto.")]
Box = Annotated[
    tuple | None,
    typer.Option(parser=parse_box, metavar="x0,y0,x1,y1", help="Where the face is in the source's photo."),
]
NoCrop = Annotated[bool, typer.Option("--no-crop", help="Photos are aligned crops already.")]
Threads = Annotated[
    int | None, typer.Option(**whole(1), help="CPU threads; all cores if left out.", show_default=False)
]
Debug = Annotated[bool, typer.Option("--debug", help="Show a traceback instead of one sentence.")]
