"""How many synthetic training pictures are drawn per second.

    python benchmarks/synthetic_faces.py --device cuda --sizes 160 192 224 --modes eager graph fused fused-graph

Every line is one generator: the time of `--batches` batches after warm-up, by CUDA events on a GPU and by the clock on
a CPU. `fused` compiles the pixel arithmetic, `graph` replays a recorded CUDA graph.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from deca_cli.heads.assets import load_head
from deca_cli.heads.model import HeadModel
from deca_cli.synthetic.generator import FaceGenerator
from deca_cli.synthetic.parts import HeadParts, find_parts
from deca_cli.synthetic.settings import GeneratorSettings

if TYPE_CHECKING:
    from collections.abc import Callable

HEAD = Path(str(files("deca_cli.packs") / "open" / "head.npz"))
MODES = {
    "eager": {},
    "fused": {"fused": True},
    "graph": {"graph": True},
    "fused-graph": {"fused": True, "graph": True},
}
WARM_UP = 4


def seconds(run: Callable[[], object], times: int, device: torch.device) -> float:
    """Mean time of one call."""
    for _ in range(WARM_UP if device.type == "cuda" else 1):
        run()
    if device.type != "cuda":
        start = time.perf_counter()
        for _ in range(times):
            run()
        return (time.perf_counter() - start) / times
    first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    first.record()
    for _ in range(times):
        run()
    last.record()
    torch.cuda.synchronize(device)
    return first.elapsed_time(last) / 1000 / times


def measure(
    head: HeadModel, parts: HeadParts, settings: GeneratorSettings, options: argparse.Namespace
) -> tuple[float, float]:
    """Seconds of a batch, and the time until the first one was there."""
    start = time.perf_counter()
    generator = FaceGenerator(head, parts, settings, seed=0)
    generator.batch(options.batch, options.per_person)
    first = time.perf_counter() - start
    device = generator.draws.device
    if options.profile:
        profile(generator, options)
    return seconds(lambda: generator.batch(options.batch, options.per_person), options.batches, device), first


def profile(generator: FaceGenerator, options: argparse.Namespace) -> None:
    """Print which operations a batch spends its time in."""
    kinds = [torch.profiler.ProfilerActivity.CPU]
    order = "self_cpu_time_total"
    if generator.draws.device.type == "cuda":
        kinds, order = [*kinds, torch.profiler.ProfilerActivity.CUDA], "self_device_time_total"
    with torch.profiler.profile(activities=kinds) as found:
        generator.batch(options.batch, options.per_person)
    sys.stdout.write(found.key_averages().table(sort_by=order, row_limit=30, max_name_column_width=60) + "\n")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--head", type=Path, default=HEAD)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--sizes", type=int, nargs="+", default=[160, 192, 224])
    parser.add_argument("--modes", nargs="+", choices=list(MODES), default=["eager"])
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--per-person", type=int, default=2)
    parser.add_argument("--batches", type=int, default=20)
    parser.add_argument("--detail", action="store_true", help="with the truth of the wrinkles")
    parser.add_argument("--profile", action="store_true")
    options = parser.parse_args()
    assets, _ = load_head(options.head)
    head = HeadModel(assets).to(options.device)
    plain = GeneratorSettings(detail=options.detail)
    parts = find_parts(head, assets, plain.texture_size)
    sys.stdout.write(f"{'size':>5} {'mode':>12} {'pictures/s':>11} {'ms/batch':>9} {'first batch, s':>15}\n")
    for size in options.sizes:
        for mode in options.modes:
            settings = replace(plain, image_size=size, **MODES[mode])
            each, first = measure(head, parts, settings, options)
            speed = options.batch / each
            sys.stdout.write(f"{size:>5} {mode:>12} {speed:>11.0f} {1000 * each:>9.1f} {first:>15.1f}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
