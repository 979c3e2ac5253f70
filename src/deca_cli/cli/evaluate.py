"""`deca evaluate`: benchmarks and measurements."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from deca_cli.cli.errors import in_a_sentence
from deca_cli.cli.evaluate_now import now
from deca_cli.cli.evaluate_options import (
    Debug,
    Force,
    Method,
    Output,
    Plots,
    Progress,
    Workers,
    say_refused,
)
from deca_cli.cli.evaluate_synthetic import synthetic
from deca_cli.cli.values import number, whole

evaluate = typer.Typer(
    no_args_is_help=True,
    help="Measure predictions against scans and landmarks.",
    context_settings={"help_option_names": ["-h", "--help"]},
)
evaluate.command("now")(now)
evaluate.command("synthetic")(synthetic)


@evaluate.command("self-test")
@in_a_sentence
def self_test(
    *,
    debug: Debug = False,  # noqa: ARG001 - read by in_a_sentence
) -> None:
    """Measure made-up scans with a known answer, to see that the tool is right on this machine."""
    from tempfile import TemporaryDirectory

    from deca_cli.evaluate.self_test import self_test as run

    failed = 0
    with TemporaryDirectory() as folder:
        for check in run(Path(folder)):
            failed += not check.holds
            state = "ok    " if check.holds else "FAILED"
            typer.echo(f"{state} {check.what}: {check.found} (expected {check.expected})")
    typer.echo(
        "All checks hold." if not failed else f"{failed} checks failed: do not trust numbers of this install."
    )
    if failed:
        raise typer.Exit(1)


@evaluate.command("landmarks")
@in_a_sentence
def landmarks(
    predictions: Annotated[
        Path,
        typer.Argument(
            help="Output of deca reconstruct, JSON by image name, or a folder of one file per image."
        ),
    ],
    truth: Annotated[
        Path, typer.Option("--truth", "--gt", help="AFLW2000-3D .mat or 300-W .pts folder, or JSON.")
    ],
    *,
    photos: Annotated[
        Path | None, typer.Option(help="Folder with the photos, for a sheet of the worst faces in OUTPUT.")
    ] = None,
    worst: Annotated[int, typer.Option(**whole(0), help="How many faces that sheet shows.")] = 12,
    method: Method = None,
    output: Output = None,
    plots: Plots = True,
    debug: Debug = False,  # noqa: ARG001 - read by in_a_sentence
) -> None:
    """68-point landmarks: errors by face box and by eye distance, inner 51 and all 68 points, by head pose."""
    from deca_cli.evaluate.landmark_outputs import evaluate_landmarks, write_landmarks

    report = evaluate_landmarks(truth, predictions, method or predictions.resolve().stem)
    typer.echo(report.table())
    if report.missing:
        names = ", ".join(report.missing[:5]) + (" ..." if len(report.missing) > 5 else "")
        typer.echo(f"{len(report.missing)} images have no prediction and are left out: {names}", err=True)
    if output is not None:
        write_landmarks(output, report, plots=plots, photos=photos, worst=worst)
        typer.echo(f"Everything is in {output} (start with report.md).")


@evaluate.command("compare")
@in_a_sentence
def compare(
    runs: Annotated[
        list[Path], typer.Argument(help="Output folders of earlier evaluations; the first is the reference.")
    ],
    *,
    output: Output = None,
    plots: Plots = True,
    debug: Debug = False,  # noqa: ARG001 - read by in_a_sentence
) -> None:
    """Several models on one set: table, paired bootstrap intervals of the differences, overlaid curves."""
    from deca_cli.evaluate.compare import compare_runs, comparison_table, read_run, write_comparison

    read = [read_run(folder) for folder in runs]
    rows = compare_runs(read)
    typer.echo(comparison_table(rows, read))
    if output is not None:
        write_comparison(output, read, rows, plots=plots)
        typer.echo(f"Everything is in {output} (start with compare.md).")


@evaluate.command("feng")
@in_a_sentence
def feng(
    predictions: Annotated[
        Path, typer.Argument(help="Folder [HQ|LQ/]SCAN/IMAGE.obj|.ply with .npy|.txt|.lnd.")
    ],
    scans: Annotated[Path, typer.Option("--scans", help="Folder with SCAN.obj, at any depth.")],
    scan_landmarks: Annotated[
        Path, typer.Option("--scan-landmarks", help="Folder with SCAN.lnd, at any depth.")
    ],
    *,
    radius_factor: Annotated[
        float, typer.Option(**number(0.1), help="Size of the face region; the paper has 1.2.")
    ] = 1.2,
    method: Method = None,
    output: Output = None,
    workers: Workers = None,
    plots: Plots = True,
    force: Force = False,
    debug: Debug = False,  # noqa: ARG001 - read by in_a_sentence
) -> None:
    """The 2018 benchmark of Feng et al. (Stirling/ESRC scans): 3D-RMSE after landmark alignment, in mm."""
    from deca_cli.evaluate.feng_run import (
        FengProtocol,
        evaluate_feng,
        feng_jobs,
        feng_rows,
        feng_table,
        write_feng,
    )
    from deca_cli.evaluate.problem_reports import count_warnings

    protocol = FengProtocol(radius_factor, force)
    jobs = feng_jobs(predictions, scans, scan_landmarks, protocol)
    with Progress(len(jobs)) as progress:
        results = evaluate_feng(jobs, workers=workers, progress=progress.show)
    typer.echo(feng_table(feng_rows(results)))
    for message, count in count_warnings(results).items():
        typer.echo(f"warning, {count} images: {message}")
    if output is not None:
        write_feng(output, method or predictions.resolve().name, protocol, results, plots=plots)
        typer.echo(f"Everything is in {output} (start with report.md).")
    say_refused(results)


@evaluate.command("realy")
@in_a_sentence
def realy(
    predictions: Annotated[
        Path, typer.Argument(help="Folder of ID.obj or ID_VIEW.obj, all of one topology.")
    ],
    data: Annotated[
        Path, typer.Option("--data", help="REALY's data: keypoints, scan regions, metrical_scale.txt.")
    ],
    template: Annotated[Path, typer.Option("--template", help="A mesh of that topology, .obj.")],
    *,
    keypoints: Annotated[Path | None, typer.Option(help="Its 85 keypoints (default: TEMPLATE.txt).")] = None,
    method: Method = None,
    output: Output = None,
    workers: Workers = None,
    debug: Debug = False,  # noqa: ARG001 - read by in_a_sentence
) -> None:
    """The REALY benchmark: error of nose, mouth, forehead and cheek, in mm."""
    from deca_cli.evaluate.realy import read_topology
    from deca_cli.evaluate.realy_run import evaluate_realy, realy_jobs, realy_table, write_realy

    jobs = realy_jobs(predictions, data, read_topology(template, keypoints or template.with_suffix(".txt")))
    with Progress(len(jobs)) as progress:
        results = evaluate_realy(jobs, workers=workers, progress=progress.show)
    typer.echo(realy_table(results))
    if output is not None:
        write_realy(output, method or predictions.resolve().name, results)
        typer.echo(f"Everything is in {output} (start with report.md).")
    say_refused(results)
