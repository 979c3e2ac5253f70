"""`deca evaluate synthetic`: a model pack against faces whose truth is known."""

from __future__ import annotations

from typing import Annotated

import typer

from deca_cli.cli.errors import in_a_sentence
from deca_cli.cli.evaluate_options import Debug, Output  # noqa: TC001 - typer reads the annotations
from deca_cli.cli.values import DEVICES, choice, whole


@in_a_sentence
def synthetic(
    model: Annotated[str, typer.Option(help="Model pack: open, or the folder of one.")] = "open",
    *,
    faces: Annotated[int, typer.Option(**whole(2), help="How many faces are drawn.")] = 512,
    scans: Annotated[
        int, typer.Option(**whole(0), help="How many of them are measured as scans, in millimetres.")
    ] = 48,
    seed: Annotated[
        int | None, typer.Option(**whole(0), help="Of the faces; the usual ones if left out.")
    ] = None,
    device: Annotated[
        str, typer.Option(**choice(*DEVICES), help="Where the networks and the drawing run.")
    ] = "auto",
    output: Output = None,
    debug: Debug = False,  # noqa: ARG001 - read by in_a_sentence
) -> None:
    """Synthetic faces that no training saw: landmarks, shape in mm, skin tone, wrinkles, expressions."""
    from tqdm import tqdm

    from deca_cli.evaluate.synthetic import SEED, TruthRequest, evaluate_synthetic
    from deca_cli.evaluate.synthetic_report import cautions, table, write_synthetic
    from deca_cli.packs.store import load_pack
    from deca_cli.pipeline.start import choose_device

    pack = load_pack(model, choose_device(device))
    if scans > faces:
        typer.echo(
            f"Only {faces} faces are drawn, so only {faces} scans can be measured, not {scans}.", err=True
        )
    request = TruthRequest(faces, min(scans, faces), SEED if seed is None else seed)
    with tqdm(total=faces + request.scans, unit="face", disable=None) as bar:

        def show(what: str, done: int, _: int) -> None:
            bar.set_description(what)
            bar.n = done if what == "faces" else faces + done
            bar.refresh()

        result = evaluate_synthetic(pack, request, show)
    typer.echo(table(result))
    for sentence in cautions(result):
        typer.echo(sentence, err=True)
    if output is not None:
        write_synthetic(output, pack.manifest.name, result)
        typer.echo(f"Everything is in {output} (start with report.md).")
