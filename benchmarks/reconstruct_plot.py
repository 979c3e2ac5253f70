"""The picture of `reconstruct.py`: how its rates grow with the batch, over a run, and with the size of the photos."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

Curves = dict[tuple[str, str], list[tuple[int, float]]]  # by precision and mode: batch, photos a second
COLOURS = {"fp32": "C0", "tf32": "C1", "bf16": "C2"}
AIM = 150  # photos a second of the whole command


@dataclass
class Measured:
    """What one run of the program has measured; empty where it was not asked for.

    Attributes:
        model: encode + decode, photos a second by batch.
        command: photos done and seconds since the start.
        sides: side of the photos, and photos a second without and with the start.
    """

    model: Curves = field(default_factory=dict)
    command: list[tuple[int, float]] = field(default_factory=list)
    sides: list[tuple[int, float, float]] = field(default_factory=list)


def draw(measured: Measured, machine: str, path: Path) -> None:
    """Draw what there is."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    painters = {"model": _model, "command": _command, "sides": _sides}
    shown = {name: painter for name, painter in painters.items() if getattr(measured, name)}
    if not shown:
        print("Nothing to draw.")
        return
    figure, axes = plt.subplots(1, len(shown), figsize=(5 * len(shown), 4.2), squeeze=False)
    for axis, (name, painter) in zip(axes[0], shown.items(), strict=True):
        painter(axis, getattr(measured, name))
        axis.grid(visible=True, alpha=0.3)
        axis.legend(
            fontsize=7, ncols=2 if name == "model" else 1, loc="lower right" if name == "model" else "best"
        )
    figure.suptitle(machine)
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    print(f"\nPlot: {path}")


def _model(axis: Any, curves: Curves) -> None:  # noqa: ANN401 - matplotlib's axes
    from encode_decode import RELEASE, TARGETS

    for (precision, mode), points in curves.items():
        batches, rates = zip(*points, strict=True)
        style = "o-" if mode == "eager" else "s--"
        axis.loglog(
            batches, rates, style, color=COLOURS[precision], label=f"{precision}, {mode}", markersize=4
        )
    axis.loglog(*zip(*RELEASE, strict=True), "k^:", label="official release", markersize=4)
    for precision, rate in TARGETS.items():
        axis.plot([64], [rate], "*", color=COLOURS[precision], markersize=11, label=f"aim, {precision}")
    axis.set(
        xlabel="batch, 224 x 224", ylabel="photos/s", title="Encode + decode, all pictures", ylim=(8, None)
    )
    batches = sorted({batch for points in curves.values() for batch, _ in points})
    axis.set_xticks(batches, [str(batch) for batch in batches])
    axis.minorticks_off()


def _command(axis: Any, marks: list[tuple[int, float]]) -> None:  # noqa: ANN401
    done, seconds = zip(*marks, strict=True)
    axis.plot(seconds, done, "o-", markersize=4, label="whole command")
    first = seconds[0]
    axis.plot([first, first + done[-1] / AIM], [0, done[-1]], "k:", label=f"{AIM} photos/s from the first on")
    axis.set(xlabel="seconds since the start", ylabel="photos done", xlim=(0, None), title="One run")


def _sides(axis: Any, rows: list[tuple[int, float, float]]) -> None:  # noqa: ANN401
    sides, rates, whole = zip(*rows, strict=True)
    axis.semilogx(sides, rates, "o-", markersize=4, label="from the first to the last")
    axis.semilogx(sides, whole, "s--", markersize=4, label="start and end included")
    axis.set(
        xlabel="side of the photos, pixels", ylabel="photos/s", ylim=(0, None), title="Size of the photos"
    )
    axis.set_xticks(sides, [str(side) for side in sides])
    axis.minorticks_off()
