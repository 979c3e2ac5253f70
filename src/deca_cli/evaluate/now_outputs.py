"""Write everything a NoW run leaves behind, into one folder."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deca_cli.evaluate.now_data import find_prediction
from deca_cli.evaluate.official import write_official_distances
from deca_cli.evaluate.statistics import pool
from deca_cli.evaluate.tables import write_markdown, write_results, write_summaries
from deca_cli.export.atomic import make_folder

if TYPE_CHECKING:
    from pathlib import Path

    from deca_cli.evaluate.now_data import NowData
    from deca_cli.evaluate.tables import NowReport


def write_tables(folder: Path, report: NowReport, challenge: str | None, *, plots: bool) -> list[Path]:
    """results.json, images.csv, subjects.csv, challenges.csv, report.md and the official files."""
    make_folder(folder)
    names = ("results.json", "challenges.csv", "subjects.csv", "images.csv", "report.md")
    results, challenges, subjects, images, page = (folder / name for name in names)
    write_results(results, report)
    write_summaries(challenges, "challenge", {"all": report.overall, **report.challenges})
    write_summaries(subjects, "subject", report.subjects)
    write_summaries(images, "image", report.images)
    write_markdown(page, report, plots=plots)
    return [page, results, challenges, subjects, images, *write_official_distances(folder, report, challenge)]


def write_plots(folder: Path, report: NowReport) -> list[Path]:
    """Write cumulative and subjects, each as PNG and SVG."""
    from deca_cli.evaluate.plots import plot_cumulative, plot_groups

    measured = report.of_state("measured")
    curves = {"all": pool([r.distances for r in measured])}
    for name in report.challenges:
        curves[name] = pool([r.distances for r in measured if r.image.challenge == name])
    subjects = {n: pool([r.distances for r in measured if r.image.subject == n]) for n in report.subjects}
    title = f"NoW, {report.ranking}: {report.method}"
    return [
        *plot_cumulative(folder / "cumulative", curves, title=title),
        *plot_groups(folder / "subjects", subjects, title=title),
    ]


def write_worst_cases(
    folder: Path, report: NowReport, data: NowData, predictions: Path, count: int, *, pictures: bool
) -> list[Path]:
    """worst/RANK_IMAGE/ for the images with the largest mean distance; pictures need matplotlib, meshes do not."""
    from deca_cli.evaluate.worst import write_worst

    return [
        write_worst(folder / "worst", rank, data, find_prediction(predictions, r.image), r, picture=pictures)
        for rank, r in enumerate(report.worst(count), start=1)
    ]
