"""How the rasteriser's time on a GPU grows with batch and size, for `rasterize.py`."""

from pathlib import Path

import torch
from torch import Tensor

from rasterize_cases import CHANNELS, alone, floor_ms, make_case, with_channels
from rasterize_timing import graph_ms

BATCHES = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512]  # at 224
SIZES = [64, 128, 224, 512, 1024, 2048, 4096]  # one head


def time_scaling(vertices: Tensor, faces: Tensor, plot: Path | None) -> None:
    """Graph replays over batch and over size, as tables and, if asked for, as a picture."""
    series = [("batch", [(batch, make_case(vertices, faces, batch, 224)) for batch in BATCHES])]
    series.append(("size", [(size, make_case(vertices, faces, 1, size)) for size in SIZES]))
    curves = []
    for name, cases in series:
        at = "224 x 224" if name == "batch" else "one head"
        print(
            f"\n| {name}, {at} | alone, graph | + {CHANNELS} channels, graph | floor | ratio |\n|---|---|---|---|---|"
        )
        rows = []
        for value, case in cases:
            times = graph_ms(alone(case)), graph_ms(with_channels(case)), floor_ms(case, channels=True)
            rows.append((value, *times))
            print(
                f"| {value} | {times[0]:.4f} | {times[1]:.4f} | {times[2]:.4f} | {times[1] / times[2]:.1f} |",
                flush=True,
            )
        curves.append((f"{name} ({at})", rows))
    if plot is not None:
        draw_scaling(curves, plot)


def draw_scaling(curves: list[tuple[str, list[tuple[float, ...]]]], path: Path) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, len(curves), figsize=(11, 4.5))
    for axis, (title, rows) in zip(axes, curves, strict=True):
        values, *columns = zip(*rows, strict=True)
        labels = ("rasterise", f"rasterise + {CHANNELS} channels", "every byte once")
        for column, label, style in zip(columns, labels, ("o-", "s-", "--"), strict=True):
            axis.loglog(values, column, style, label=label)
        axis.set(xlabel=title, ylabel="ms", xticks=values, xticklabels=[str(value) for value in values])
        axis.minorticks_off()
        axis.grid(visible=True, alpha=0.3)
    axes[0].legend()
    figure.suptitle(f"{torch.cuda.get_device_name()}, CUDA graph, cold cache")
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    print(f"\nPlot: {path}")
