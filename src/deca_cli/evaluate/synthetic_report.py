"""The numbers of a synthetic evaluation as a table for people and as JSON for programs."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from deca_cli import __version__
from deca_cli.evaluate.files import write_json
from deca_cli.evaluate.landmarks import BUCKETS, FAILURE_PERCENT
from deca_cli.export.atomic import make_folder, write_text

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from deca_cli.evaluate.synthetic import FaceRows, SyntheticResult

SHOWN_EXPRESSIONS = 12  # least and most certain ones
# Below these, means move by about a tenth of the spread between faces, or more, with other faces.
ENOUGH_FACES, ENOUGH_SCANS = 100, 24
FEW_IN_ROW = 10


def correlation(one: NDArray[np.float64], two: NDArray[np.float64]) -> float:
    """Pearson's coefficient; NaN where a side does not vary."""
    if len(one) < 2 or np.ptp(one) == 0 or np.ptp(two) == 0:
        return float("nan")
    return float(np.corrcoef(one, two)[0, 1])


def landmark_numbers(rows: FaceRows) -> dict[str, dict[str, float]]:
    """Faces, mean, median and failures by |yaw|."""
    picks = {"all": np.ones(len(rows.nme), bool)}
    for name, (low, high) in BUCKETS.items():
        picks[name] = (np.abs(rows.yaw) >= low) & (np.abs(rows.yaw) < high)
    return {
        name: {
            "faces": int(pick.sum()),
            "mean": float(rows.nme[pick].mean()),
            "median": float(np.median(rows.nme[pick])),
            "failures": float(100 * (rows.nme[pick] > FAILURE_PERCENT).mean()),
        }
        for name, pick in picks.items()
        if pick.any()
    }


def colour_numbers(rows: FaceRows) -> dict[str, float]:
    """Skin tone: how well it is recovered, and whether landmarks are as good on dark skin as on light skin."""
    dark, light = np.quantile(rows.true_tone, [1 / 3, 2 / 3])
    on_dark, on_light = rows.nme[rows.true_tone <= dark].mean(), rows.nme[rows.true_tone >= light].mean()
    return {
        "tone_correlation": correlation(rows.tone, rows.true_tone),
        "tone_error": float(np.abs(rows.tone - rows.true_tone).mean()),
        "tone_error_of_always_the_mean": float(np.abs(rows.true_tone - rows.true_tone.mean()).mean()),
        "picture_error": float(np.nanmean(rows.picture)),
        "nme_darkest_third": float(on_dark),
        "nme_lightest_third": float(on_light),
        "nme_difference_percent": float(100 * abs(on_dark - on_light) / min(on_dark, on_light)),
    }


def expression_numbers(rows: FaceRows, names: tuple[str, ...]) -> dict[str, dict[str, float]]:
    """By coefficient: correlation with the truth, and by how much the answer rises when the truth does (slope)."""
    found = {}
    for column, name in enumerate(names):
        truth, guess = rows.true_expression[:, column], rows.expression[:, column]
        spread = float(truth.var())
        slope = float(((truth - truth.mean()) * guess).mean() / spread) if spread > 0 else float("nan")
        found[name] = {"correlation": correlation(truth, guess), "slope": slope}
    return found


def cautions(result: SyntheticResult) -> list[str]:
    """What is too small a sample to say much, in sentences; none if the samples are large enough."""
    faces, scans, found = len(result.faces.nme), result.scans.faces, []
    if faces < ENOUGH_FACES:
        found.append(
            f"Few faces ({faces}): with others, means may differ by {100 / np.sqrt(faces):.0f} % of the spread between faces "
            f"and correlations by {1 / np.sqrt(max(faces - 1, 1)):.2f}. Compare models with {ENOUGH_FACES} faces or more: "
            "`--faces 512`."
        )
    else:
        few = [name for name, row in landmark_numbers(result.faces).items() if row["faces"] < FEW_IN_ROW]
        if few:
            found.append(
                f"Few faces turned by {', '.join(few)} (below {FEW_IN_ROW}): take more, `--faces 512`."
            )
    if 0 < scans < ENOUGH_SCANS:
        found.append(
            f"Few scans ({scans}): their figures are rough. Compare with {ENOUGH_SCANS} or more: `--scans 48`."
        )
    return found


def numbers(result: SyntheticResult) -> dict[str, Any]:
    """Everything, plain."""
    content: dict[str, Any] = {
        "landmarks_nme_percent": landmark_numbers(result.faces),
        "expression": expression_numbers(result.faces, result.expression_names),
        "scans_mm": {
            name: None if value is None else {k: v for k, v in asdict(value).items() if k != "percent_within"}
            for name, value in vars(result.scans).items()
            if name != "faces"
        },
        "scans": result.scans.faces,
        "cautions": cautions(result),
    }
    if np.isfinite(result.faces.tone).all():
        content["skin"] = colour_numbers(result.faces)
    if result.wrinkles is not None:
        kinds = [name.removesuffix("_coarse") for name in vars(result.wrinkles) if name.endswith("_coarse")]
        content["wrinkles"] = asdict(result.wrinkles) | {
            f"{kind}_reduction_percent": result.wrinkles.reduction(kind) for kind in kinds
        }
    return content


def table(result: SyntheticResult) -> str:
    """Markdown."""
    found = numbers(result)
    lines = ["| |yaw| | faces | mean NME % | median | above 8 % |", "|---|---:|---:|---:|---:|"]
    lines[0] = lines[0].replace("|yaw|", "yaw")
    lines += [
        f"| {name} | {row['faces']} | {row['mean']:.2f} | {row['median']:.2f} | {row['failures']:.2f} |"
        for name, row in found["landmarks_nme_percent"].items()
    ]
    lines += [
        "",
        f"| scan to mesh, {found['scans']} faces, mm | median | mean | std |",
        "|---|---:|---:|---:|",
    ]
    lines += [
        f"| {name.replace('_', ', ')} | {row['median']:.3f} | {row['mean']:.3f} | {row['std']:.3f} |"
        for name, row in found["scans_mm"].items()
        if row is not None
    ]
    if "skin" in found:
        lines += ["", "| skin and light | |", "|---|---:|"]
        lines += [f"| {name.replace('_', ' ')} | {value:.3f} |" for name, value in found["skin"].items()]
    if "wrinkles" in found:
        lines += ["", *_wrinkle_lines(found["wrinkles"])]
    return "\n".join([*lines, "", *_expression_lines(found["expression"])])


def _wrinkle_lines(found: dict[str, float]) -> list[str]:
    rows = {
        "true_shape": "normals on the true shape, degrees",
        "wrinkled": "the same, on wrinkles of 2 degrees and more",
        "other_expression": "the same, under an expression that is on no picture",
        "whole": "normals of the whole prediction, degrees",
        "height": "depth, mm",
    }
    lines = ["| wrinkles | coarse | with detail | less by % |", "|---|---:|---:|---:|"]
    return lines + [
        f"| {text} | {found[f'{kind}_coarse']:.3f} | {found[f'{kind}_detail']:.3f} | {found[f'{kind}_reduction_percent']:.1f} |"
        for kind, text in rows.items()
    ]


def _expression_lines(found: dict[str, dict[str, float]]) -> list[str]:
    known = {name: row for name, row in found.items() if np.isfinite(row["correlation"])}
    if not known:
        return []
    ordered = sorted(known, key=lambda name: known[name]["correlation"])
    mean = np.mean([row["correlation"] for row in known.values()])
    shown = ordered[: SHOWN_EXPRESSIONS // 2] + ordered[-SHOWN_EXPRESSIONS // 2 :]
    lines = [f"| expression (mean correlation {mean:.3f}) | correlation | slope |", "|---|---:|---:|"]
    return lines + [
        f"| {name} | {known[name]['correlation']:.3f} | {known[name]['slope']:.3f} |"
        for name in dict.fromkeys(shown)
    ]


def write_synthetic(folder: Path, model: str, result: SyntheticResult) -> None:
    """Write ``results.json`` and ``report.md`` into a folder.

    Raises:
        OutputError: they cannot be written.
    """
    make_folder(folder)
    content = {"tool": f"deca {__version__}", "benchmark": "synthetic", "model": model}
    write_json(folder / "results.json", content | numbers(result))
    warned = "".join(f"> {sentence}\n\n" for sentence in cautions(result))
    write_text(folder / "report.md", f"# Synthetic faces: {model}\n\n{warned}{table(result)}\n")
