"""Plots for people: cumulative error curves, one line per subject, pictures of the error on a scan.

Colours are those of Okabe and Ito, told apart with every kind of colour vision; lines also differ in dashes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from deca_cli.errors import DecaError
from deca_cli.export.atomic import write_file

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from matplotlib.figure import Figure
    from numpy.typing import NDArray

COLOURS = ("#000000", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (8, 2)), (0, (1, 1)))


def new_figure(width: float, height: float) -> Figure:
    """A figure without any window or global state; raises DecaError when matplotlib is missing."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise DecaError(
            "plots need matplotlib, which is not installed. Run: pip install 'deca-cli[evaluate]' (in a clone: '.[evaluate]'), or add --no-plots."
        ) from None
    return Figure(figsize=(width, height), layout="constrained")


def save_figure(figure: Figure, stem: Path) -> list[Path]:
    """Write STEM.png and STEM.svg."""
    return [save_picture(figure, stem.with_name(stem.name + suffix)) for suffix in (".png", ".svg")]


def save_picture(figure: Figure, path: Path, dpi: int = 150) -> Path:
    """Write one picture in the format of its ending."""
    return write_file(path, lambda stream: figure.savefig(stream, format=path.suffix[1:], dpi=dpi))


def plot_cumulative(
    stem: Path,
    curves: Mapping[str, NDArray[np.floating]],
    *,
    title: str,
    unit: str = "mm",
    limit: float = 8.0,
    counted: str = "scan points",
) -> list[Path]:
    """Share of `counted` things below each error, one line per entry of `curves`; the legend carries the numbers."""
    figure = new_figure(8.5, 5.5)
    axes = figure.subplots()
    steps = np.linspace(0, limit, 801)
    for i, (name, distances) in enumerate(curves.items()):
        ordered = np.sort(distances)
        share = 100 * np.searchsorted(ordered, steps, side="right") / len(ordered)
        numbers = f"median {np.median(ordered):.2f}, mean {ordered.mean(dtype=float):.2f}, std {ordered.std(dtype=float):.2f}"
        dashes, colour = DASHES[i % len(DASHES)], COLOURS[i % len(COLOURS)]
        width = 2.4 if i == 0 else 1.7
        axes.plot(
            steps, share, color=colour, linestyle=dashes, linewidth=width, label=f"{name}: {numbers} {unit}"
        )
    axes.set(xlim=(0, limit), ylim=(0, 100), title=title)
    axes.set_xlabel(f"error [{unit}]")
    axes.set_ylabel(f"{counted} within that error [%]")
    axes.grid(color="0.85", linewidth=0.8)
    axes.legend(loc="lower right", fontsize=9, handlelength=4)
    return save_figure(figure, stem)


def plot_groups(stem: Path, groups: Mapping[str, NDArray[np.floating]], *, title: str) -> list[Path]:
    """Median (dot), mean (diamond) and middle half (bar) of the errors of each group, mm, best first."""
    ordered = sorted(groups.items(), key=lambda item: float(np.median(item[1])))
    figure = new_figure(8.5, 1.6 + 0.3 * len(ordered))
    axes = figure.subplots()
    rows = np.arange(len(ordered))
    quartiles = np.array([np.percentile(d, [25, 50, 75]) for _, d in ordered])
    means = [float(d.mean(dtype=float)) for _, d in ordered]
    axes.hlines(rows, quartiles[:, 0], quartiles[:, 2], color="#56B4E9", linewidth=6, label="middle half")
    axes.plot(quartiles[:, 1], rows, "o", color="#000000", label="median")
    axes.plot(means, rows, "D", color="#D55E00", markersize=6, label="mean")
    axes.set_yticks(rows, [name for name, _ in ordered], fontsize=9)
    axes.set(title=title, ylim=(len(ordered) - 0.5, -0.5), xlim=(0, None))
    axes.set_xlabel("error [mm]")
    axes.grid(axis="x", color="0.85", linewidth=0.8)
    axes.set_axisbelow(True)
    figure.legend(loc="outside lower center", ncols=3, frameon=False)
    return save_figure(figure, stem)
