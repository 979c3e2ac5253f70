"""`deca evaluate`: benchmarks and measurements."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deca_cli.cli.errors import in_a_sentence
from deca_cli.cli.evaluate_now import Debug, Output, Plots, now

if TYPE_CHECKING:
    from deca_cli.evaluate.feng import FengResult

evaluate = typer.Typer(
    no_args_is_help=True,
    help="Measure predictions against scans and landmarks.",
    context_settings={"help_option_names": ["-h", "--help"]},
)
evaluate.command("now")(now)


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
        Path, typer.Argument(help="JSON by image name, or a folder of one file per image.")
    ],
    truth: Annotated[Path, typer.Option("--truth", help="AFLW2000-3D .mat or 300-W .pts folder, or JSON.")],
    *,
    method: Annotated[str | None, typer.Option(help="Name in the results.")] = None,
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
        write_landmarks(output, report, plots=plots)
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
    radius_factor: Annotated[float, typer.Option(help="Size of the face region; the paper has 1.2.")] = 1.2,
    method: Annotated[str | None, typer.Option(help="Name in the results.")] = None,
    output: Output = None,
    plots: Plots = True,
    force: Annotated[bool, typer.Option("--force", help="Measure predictions that look wrong, too.")] = False,
    debug: Debug = False,  # noqa: ARG001 - read by in_a_sentence
) -> None:
    """The 2018 benchmark of Feng et al. (Stirling/ESRC scans): 3D-RMSE after landmark alignment, in mm."""
    from deca_cli.evaluate.feng import evaluate_feng, feng_rows, feng_table, write_feng

    def show(result: FengResult) -> None:
        for problem in result.problems:
            typer.echo(f"{result.name}: {problem.level}: {problem.message}", err=True)

    results = evaluate_feng(
        predictions, scans, scan_landmarks, radius_factor=radius_factor, force=force, progress=show
    )
    typer.echo(feng_table(feng_rows(results)))
    if output is not None:
        write_feng(output, method or predictions.resolve().name, results, plots=plots)
        typer.echo(f"Everything is in {output} (start with report.md).")
    if any(not len(result.distances) for result in results):
        raise typer.Exit(1)


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
    method: Annotated[str | None, typer.Option(help="Name in the results.")] = None,
    output: Output = None,
    workers: Annotated[
        int | None, typer.Option("--workers", "-j", help="Processes (default: all cores).")
    ] = None,
    debug: Debug = False,  # noqa: ARG001 - read by in_a_sentence
) -> None:
    """The REALY benchmark: error of nose, mouth, forehead and cheek, in mm."""
    from deca_cli.evaluate.realy import read_topology
    from deca_cli.evaluate.realy_run import evaluate_realy, realy_table, write_realy

    topology = read_topology(template, keypoints or template.with_suffix(".txt"))
    results = evaluate_realy(
        predictions,
        data,
        topology,
        workers=workers,
        progress=lambda result: typer.echo(f"{result.name}: {result.mean:.3f} mm", err=True),
    )
    typer.echo(realy_table(results))
    if output is not None:
        write_realy(output, method or predictions.resolve().name, results)
        typer.echo(f"Everything is in {output} (start with report.md).")
