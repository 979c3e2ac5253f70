"""Several models on one set: a table, paired bootstrap intervals of the differences, one curve each."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from deca_cli.errors import InputError, UsageError
from deca_cli.evaluate.files import read_json, write_json
from deca_cli.export.atomic import make_folder, write_text

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

DRAWS = 10_000


@dataclass(frozen=True)
class Run:
    """What one evaluation left behind."""

    folder: Path
    name: str
    kind: str  # benchmark and everything that decides about its numbers: only like can be compared with like
    unit: str
    errors: dict[str, float]  # image -> mean error
    subjects: dict[str, str]  # image -> whom it shows, where known; else the image itself


@dataclass(frozen=True)
class Difference:
    """Mean over images of (this model's error - the first model's error)."""

    name: str
    mean: float  # of the model's own errors
    median: float
    difference: float
    low: float  # 95 % interval
    high: float
    verdict: str


def read_run(folder: Path) -> Run:
    """Read results.json of `deca evaluate now`, `landmarks`, `feng` or `realy`."""
    path = folder if folder.suffix == ".json" else folder / "results.json"
    if not path.is_file():
        raise InputError(
            f"no results at {path}. Run 'deca evaluate now' or 'landmarks' first and give its output folder."
        )
    content = read_json(path)
    try:
        measured = [e for e in content["images"] if e["state"] == "measured" and e.get("mean") is not None]
        errors = {e["image"]: float(e["mean"]) for e in measured}
        subjects = {e["image"]: str(e.get("subject", e["image"])) for e in measured}
        return Run(
            path.parent, str(content["method"]), _kind(content), str(content["unit"]), errors, subjects
        )
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        what = f"no {error} in it" if isinstance(error, KeyError) else "another content than expected"
        raise InputError(
            f"{path}: {what}, so it is not a result of 'deca evaluate'. Give the output folder of a run."
        ) from None


def _kind(content: dict[str, Any]) -> str:
    words = [str(content[key]) for key in ("benchmark", "ranking", "main") if key in content]
    if "radius_factor" in content:
        words.append(f"radius factor {content['radius_factor']:g}")
    if content.get("forced"):
        words.append("--force")
    return ", ".join(words)


def common_images(runs: list[Run]) -> list[str]:
    """Images that every run measured; raises UsageError for runs that cannot be compared."""
    if len(runs) < 2:
        raise UsageError("give at least two result folders to compare.")
    for run in runs[1:]:
        if run.kind != runs[0].kind:
            raise UsageError(
                f"{run.folder} holds {run.kind} and {runs[0].folder} {runs[0].kind}: only results of the same measurement "
                "can be compared. Run both with the same options."
            )
    common = set(runs[0].errors).intersection(*(run.errors for run in runs[1:]))
    if not common:
        raise UsageError("the runs have no image in common.")
    return sorted(common)


def compare_runs(runs: list[Run], draws: int = DRAWS) -> list[Difference]:
    """Compare every run with the first, on the images that all measured.

    Images of one subject stand or fall together, so whole subjects are drawn. All models see the same draws: the interval is that of the paired difference.
    """
    images = common_images(runs)
    errors = np.array([[run.errors[image] for image in images] for run in runs])  # [R, I]
    groups = [runs[0].subjects[image] for image in images]
    resampled = bootstrap_means(errors - errors[0], groups, draws)
    rows = []
    for run, own, difference, means in zip(runs, errors, errors - errors[0], resampled, strict=True):
        low, high = np.percentile(means, [2.5, 97.5])
        verdict = "reference" if run is runs[0] else _verdict(low, high)
        rows.append(
            Difference(
                run.name,
                float(own.mean()),
                float(np.median(own)),
                float(difference.mean()),
                float(low),
                float(high),
                verdict,
            )
        )
    return rows


def bootstrap_means(values: NDArray[np.float64], groups: list[str], draws: int) -> NDArray[np.float64]:
    """Means [R, draws] of values [R, I] over images of randomly drawn groups; the same draws for every row."""
    names, index = np.unique(groups, return_inverse=True)
    sums = np.stack([np.bincount(index, row, len(names)) for row in values])  # [R, G]
    sizes = np.bincount(index, minlength=len(names))
    random = np.random.default_rng(0)
    counts = random.multinomial(len(names), np.full(len(names), 1 / len(names)), size=draws)  # [draws, G]
    return (sums @ counts.T) / (sizes @ counts.T)


def _verdict(low: float, high: float) -> str:
    if high < 0:
        return "better"
    return "worse" if low > 0 else "not decided"


def comparison_table(rows: list[Difference], runs: list[Run]) -> str:
    """Markdown."""
    unit, images = runs[0].unit, common_images(runs)
    counts = ", ".join(f"{run.name}: {len(run.errors)}" for run in runs)
    introduction = (
        f"Mean error per image, {unit}, over the {len(images)} images that all models have ({counts}). Differences are "
        "to the first model, with a 95 % interval from drawing subjects anew."
    )
    head = f"| model | mean [{unit}] | median [{unit}] | difference [{unit}] | 95 % interval | |"
    lines = [introduction, "", head, "|---|---:|---:|---:|---:|---|"]
    for row in rows:
        change = "-" if row.verdict == "reference" else f"{row.difference:+.3f}"
        interval = "-" if row.verdict == "reference" else f"{row.low:+.3f} to {row.high:+.3f}"
        lines.append(
            f"| {row.name} | {row.mean:.3f} | {row.median:.3f} | {change} | {interval} | {row.verdict} |"
        )
    return "\n".join(lines)


def write_comparison(folder: Path, runs: list[Run], rows: list[Difference], *, plots: bool) -> None:
    """compare.md, compare.json and the curves in one plot."""
    make_folder(folder)
    text = "# Comparison\n\n" + comparison_table(rows, runs) + "\n"
    if plots:
        _plot(folder, runs)
        text += "\n![cumulative error](cumulative.png)\n"
    write_text(folder / "compare.md", text)
    content = {"unit": runs[0].unit, "images": common_images(runs), "models": [asdict(row) for row in rows]}
    write_json(folder / "compare.json", content)


def _plot(folder: Path, runs: list[Run]) -> None:
    """Scan points where every run kept its distances, else images."""
    from deca_cli.evaluate.plots import plot_cumulative

    images = common_images(runs)
    files = [[run.folder / "images" / (name.replace("/", "__") + ".npz") for name in images] for run in runs]
    by_point = all(path.is_file() for row in files for path in row)
    curves = {}
    for run, row in zip(runs, files, strict=True):
        name = run.name if run.name not in curves else str(run.folder)
        if by_point:
            curves[name] = np.concatenate([np.load(path)["distances"] for path in row])
        else:
            curves[name] = np.array([run.errors[image] for image in images])
    limit = 8.0 if runs[0].unit == "mm" else 10.0
    counted = "scan points" if by_point else "images"
    plot_cumulative(
        folder / "cumulative",
        curves,
        title=runs[0].kind,
        unit=runs[0].unit,
        limit=limit,
        counted=counted,
    )
