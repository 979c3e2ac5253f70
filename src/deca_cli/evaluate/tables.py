"""The written results of a NoW run: one summary of everything, as JSON, CSV and Markdown."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from deca_cli import __version__
from deca_cli.evaluate.files import write_json, write_rows
from deca_cli.evaluate.now_data import CHALLENGES
from deca_cli.evaluate.problem_reports import count_warnings, refused_section, warning_section
from deca_cli.evaluate.statistics import THRESHOLDS_MM, Summary, pool, summarise
from deca_cli.export.atomic import write_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from deca_cli.evaluate.now import Protocol
    from deca_cli.evaluate.now_run import ImageResult

MEANING = (
    "Distances from every scan vertex of the face to the aligned prediction, in mm, "
    "all vertices of all images in one pool."
)
COLUMNS = ("count", "median", "mean", "std", "minimum", "maximum")


@dataclass(frozen=True)
class NowReport:
    """All numbers of one run."""

    method: str
    protocol: Protocol
    results: tuple[ImageResult, ...]  # list order
    overall: Summary
    challenges: dict[str, Summary]
    subjects: dict[str, Summary]
    images: dict[str, Summary]  # by name, measured ones only
    forced: bool = False  # predictions that look wrong were measured, too

    def of_state(self, state: str) -> list[ImageResult]:
        """Results that are "measured", "missing" or "refused"."""
        return [r for r in self.results if r.state == state]

    @property
    def ranking(self) -> str:
        """Which ranking the numbers belong to."""
        return f"metrical ({self.protocol.unit})" if self.protocol.metrical else "non-metrical"

    def worst(self, count: int) -> list[ImageResult]:
        """Measured images with the largest mean distance, worst first."""
        return sorted(self.of_state("measured"), key=lambda r: -self.images[r.image.name].mean)[:count]

    def text(self) -> str:
        """The table for a terminal, with what was left out."""
        width = max(len(name) for name in self.challenges)
        lines = [f"NoW, {self.ranking}, mm {'':{max(0, width - 15)}} median   mean    std"]
        for name, s in {"all": self.overall, **self.challenges}.items():
            lines.append(f"{name:{width + 4}} {s.median:8.2f} {s.mean:6.2f} {s.std:6.2f}")
        for state in ("missing", "refused"):
            left_out = self.of_state(state)
            if left_out:
                lines.append(f"{len(left_out)} of {len(self.results)} images {state}, left out:")
                lines += [
                    f"  {r.image.name}" + (f" (no {r.lacks})" if r.lacks else "") for r in left_out[:10]
                ]
                lines += ["  ... all of them are in report.md"] * (len(left_out) > 10)
        lines += [f"warning, {n} images: {message}" for message, n in count_warnings(self.results).items()]
        return "\n".join(lines)


def report_now(
    method: str, protocol: Protocol, results: list[ImageResult], *, forced: bool = False
) -> NowReport:
    """Summarise results of which at least one is measured."""
    measured = [r for r in results if r.state == "measured"]

    def by(key: Callable[[ImageResult], str], order: Iterable[str] = ()) -> dict[str, Summary]:
        groups: dict[str, list[ImageResult]] = {name: [] for name in order}
        for result in measured:
            groups.setdefault(key(result), []).append(result)
        return {name: summarise(pool([r.distances for r in g])) for name, g in groups.items() if g}

    return NowReport(
        method,
        protocol,
        tuple(results),
        summarise(pool([r.distances for r in measured])),
        by(lambda r: r.image.challenge, CHALLENGES),
        dict(sorted(by(lambda r: r.image.subject).items())),
        by(lambda r: r.image.name),
        forced,
    )


def write_results(path: Path, report: NowReport) -> None:
    """Everything, for programs."""
    content = {
        "tool": f"deca {__version__}",
        "benchmark": "NoW",
        "ranking": "metrical" if report.protocol.metrical else "non-metrical",
        "unit_of_predictions": report.protocol.unit if report.protocol.metrical else None,
        "forced": report.forced,
        "method": report.method,
        "unit": "mm",
        "listed": len(report.results),
        **{state: len(report.of_state(state)) for state in ("measured", "missing", "refused")},
        "thresholds_mm": THRESHOLDS_MM,
        "overall": asdict(report.overall),
        "challenges": {name: asdict(s) for name, s in report.challenges.items()},
        "subjects": {name: asdict(s) for name, s in report.subjects.items()},
        "images": [_image_entry(report, r) for r in report.results],
    }
    write_json(path, content)


def _image_entry(report: NowReport, result: ImageResult) -> dict[str, object]:
    entry: dict[str, object] = {
        "image": result.image.name,
        "subject": result.image.subject,
        "state": result.state,
    }
    if result.lacks:
        entry["lacks"] = result.lacks
    if result.problems:
        entry["problems"] = [asdict(p) for p in result.problems]
    if result.state == "measured" and result.total is not None:
        summary = report.images[result.image.name]
        entry |= {name: getattr(summary, name) for name in COLUMNS}
        entry["alignment"] = {
            "scale": result.total.scale,
            "rotation": result.total.rotation.tolist(),
            "translation": result.total.translation.tolist(),
        }
    return entry


def write_summaries(path: Path, first: str, rows: dict[str, Summary]) -> None:
    """CSV, one row per group, millimetres."""
    head = [first, "vertices", *(f"{name}_mm" for name in COLUMNS[1:])]
    write_rows(
        path, head, ([n, s.count, *(f"{getattr(s, c):.6f}" for c in COLUMNS[1:])] for n, s in rows.items())
    )


def markdown_table(first: str, rows: dict[str, Summary]) -> str:
    """A table with two decimals, as the rankings print them."""
    lines = [f"| {first} | median | mean | std | scan vertices |", "|---|---:|---:|---:|---:|"]
    lines += [
        f"| {name} | {s.median:.2f} | {s.mean:.2f} | {s.std:.2f} | {s.count} |" for name, s in rows.items()
    ]
    return "\n".join(lines)


def write_markdown(path: Path, report: NowReport, *, plots: bool) -> None:
    """The page to read first; it shows the plots if there are any."""
    missing = report.of_state("missing")
    parts = [
        f"# NoW, {report.ranking}: {report.method}",
        f"{len(report.of_state('measured'))} of {len(report.results)} listed images measured. {MEANING}",
        markdown_table("challenge", {"**all**": report.overall, **report.challenges}),
        *["![cumulative error](cumulative.png)"] * plots,
        "## Subjects",
        markdown_table("subject", report.subjects),
        *["![subjects](subjects.png)"] * plots,
        "## Worst images",
        markdown_table("image", {r.image.name: report.images[r.image.name] for r in report.worst(10)}),
    ]
    if missing:
        note = "Left out of all numbers, so they are not comparable with a complete run:"
        parts += ["## Missing", note, "\n".join(f"- {r.image.name}: no {r.lacks}" for r in missing)]
    parts += [*refused_section(report.of_state("refused")), *warning_section(report.results)]
    write_text(path, "\n\n".join(parts) + "\n")
