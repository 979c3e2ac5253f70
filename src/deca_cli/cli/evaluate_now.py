"""`deca evaluate now`: the NoW benchmark from the command line."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - typer reads the annotations
from typing import TYPE_CHECKING, Annotated

import typer

from deca_cli.cli.errors import in_a_sentence
from deca_cli.cli.evaluate_options import Debug, Force, Method, Output, Plots, Progress, Workers
from deca_cli.cli.values import DEVICES, choice, whole

if TYPE_CHECKING:
    from collections.abc import Iterable

    from deca_cli.evaluate.now_data import NowData
    from deca_cli.evaluate.official import Submission

# Wrong input is mostly wrong everywhere, so a run stops here instead of going through all of it.
REFUSALS_SHOWN = 3


@in_a_sentence
def now(
    predictions: Annotated[
        Path, typer.Argument(help="Folder SUBJECT/CHALLENGE/IMAGE.obj|.ply with .npy|.txt.")
    ],
    data: Annotated[Path, typer.Option("--data", help="The NoW data set.")],
    *,
    model: Annotated[
        str | None, typer.Option(help="Predict with this model first, into PREDICTIONS.")
    ] = None,
    device: Annotated[str, typer.Option(**choice(*DEVICES), help="Where --model runs.")] = "auto",
    metrical: Annotated[bool, typer.Option("--metrical", help="Keep the predicted size.")] = False,
    unit: Annotated[str, typer.Option(**choice("m", "cm", "mm"), help="Unit of metrical predictions.")] = "m",
    challenge: Annotated[str | None, typer.Option(help="Only this challenge.")] = None,
    image_set: Annotated[str, typer.Option(help="val or test (the list in the data set).")] = "val",
    image_list: Annotated[Path | None, typer.Option(help="Another image list.")] = None,
    scans: Annotated[Path | None, typer.Option(help="Scans, if not DATA/scans.")] = None,
    scan_landmarks: Annotated[Path | None, typer.Option(help="If not DATA/scans_lmks_onlypp.")] = None,
    method: Method = None,
    output: Output = None,
    workers: Workers = None,
    worst: Annotated[int, typer.Option(**whole(0), help="How many worst images to write.")] = 5,
    plots: Plots = True,
    force: Force = False,
    strict: Annotated[bool, typer.Option("--strict", help="Fail when an image is missing.")] = False,
    check_alignment: Annotated[
        Path | None, typer.Option(help="Write scan, prediction and aligned prediction of every image here.")
    ] = None,
    submission: Annotated[
        Path | None,
        typer.Option(help="Write and check a clean copy to send in; needs no scans, measures nothing."),
    ] = None,
    debug: Debug = False,  # noqa: ARG001 - read by in_a_sentence
) -> None:
    """The NoW benchmark: median, mean and deviation of the distances from scans to predictions, in mm.

    Results of single images are kept, so an interrupted run goes on where it stopped.
    """
    from deca_cli.errors import UsageError
    from deca_cli.evaluate.now import Protocol
    from deca_cli.evaluate.now_command import Request, evaluate_now
    from deca_cli.evaluate.now_data import open_now
    from deca_cli.evaluate.official import write_submission

    protocol = Protocol(metrical=metrical, unit=unit)
    if submission is not None and challenge is not None:
        raise UsageError("a submission holds all challenges: leave out either --challenge or --submission.")
    opened = open_now(
        data, image_set=image_set, image_list=image_list, scans=scans, scan_landmarks=scan_landmarks
    ).of_challenge(challenge)
    if model is not None:
        _predict(model, device, data, opened, predictions)
    if submission is not None:
        _say_submission(write_submission(submission, opened, predictions))
        return
    request = Request(
        predictions=predictions,
        protocol=protocol,
        method=method or predictions.resolve().name,
        output=output or predictions / ("results_metrical" if metrical else "results"),
        challenge=challenge,
        workers=workers,
        force=force,
        plots=plots,
        worst=worst,
        check_alignment=check_alignment,
    )
    with Progress(len(opened.images), stop_after=None if force else REFUSALS_SHOWN) as progress:
        report = evaluate_now(opened, request, progress.show)
    typer.echo(report.text())
    typer.echo(f"Everything is in {request.output} (start with report.md).")
    if strict and len(report.of_state("measured")) < len(report.results):
        raise typer.Exit(1)


def _predict(model: str, device: str, folder: Path, opened: NowData, predictions: Path) -> None:
    from tqdm import tqdm

    from deca_cli.evaluate.predict import predict_now
    from deca_cli.packs.store import load_pack
    from deca_cli.pipeline.start import choose_device

    pack = load_pack(model, choose_device(device))
    with tqdm(total=len(opened.images), unit="photo", desc="predicting", disable=None) as bar:
        done = predict_now(folder, opened, pack, predictions, lambda _: bar.update())
    _list("Not predicted", (f"{p.image.name}: {p.note}" for p in done if p.note))


def _say_submission(submission: Submission) -> None:
    typer.echo(f"{submission.written} predictions written and read back in {submission.folder}.")
    _list("Missing", submission.missing)
    _list("Refused", submission.refused)
    if not submission.is_complete:
        typer.echo("The folder is not complete: the organisers need every image of the list.", err=True)
        raise typer.Exit(1)


def _list(title: str, lines: Iterable[str]) -> None:
    for line in lines:
        typer.echo(f"{title}: {line}", err=True)
