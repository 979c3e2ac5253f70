"""Time the rasteriser: `python benchmarks/rasterize.py [--plot scaling.png]`.

On any machine: the CPU kernel. On an NVIDIA GPU: batch x size with the least time that memory allows, backward passes,
scaling, a rasteriser in plain torch, and pytorch3d and nvdiffrast where they can be imported. The mesh is a closed,
bumpy ellipsoid with as many vertices and triangles as a head (5,041 and 9,800) that fills 46 % of the picture; `--obj`
takes another one.

Numbers are medians. GPU times are between CUDA events, after a warm-up and with the L2 cache overwritten before every
call. "Eager" starts on an idle GPU, so that all of Python's and the driver's launch costs count; "graph" replays a CUDA
graph of the same call. Every CUDA result is first compared with the CPU kernel, triangle by triangle.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

import rasterize_peers
from deca_cli.render import cpu
from deca_cli.render.interpolate import interpolate
from deca_cli.render.rasterize import rasterize, rasterize_and_interpolate
from rasterize_meshes import ellipsoid, read_obj

CPU_SIZES = [(224, 224), (512, 512), (1024, 1024), (2000, 3000)]
CPU_BATCH = 8
GPU_CASES = [(1, 224), (64, 224), (256, 224), (1, 1024), (64, 1024)]
BATCHES = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512]  # at 224
SIZES = [64, 128, 224, 512, 1024, 2048, 4096]  # one head
CHANNELS = 9
# Triangle, barycentrics and depth; the copy speed measured on an H200.
BYTES_PER_PIXEL = 20
BYTES_PER_SECOND = 4.2e12
FLUSH_BYTES = 1 << 28
REPEATS = 50
SLOW_MS, SLOW_REPEATS = 20, 5  # a call that takes longer is repeated less often

Call = Callable[[], object]


class Case(NamedTuple):
    """One problem on the GPU."""

    vertices: Tensor  # [B, V, 3]
    faces: Tensor  # int32 [F, 3]
    attributes: Tensor  # [B, V, CHANNELS]
    size: int


def median_ms(call: Call, repeats: int) -> float:
    """Wall clock on the CPU."""
    call()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        times.append(1e3 * (time.perf_counter() - start))
    return statistics.median(times)


def eager_ms(call: Call) -> float:
    """Between CUDA events on an idle GPU with a cold cache: launch costs count."""
    return _timed(call, wait=True)


def graph_ms(call: Call) -> float:
    """A CUDA graph of the call, replayed: what the GPU itself needs."""
    for _ in range(3):
        call()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        call()
    return _timed(graph.replay, wait=False)


def _timed(call: Call, *, wait: bool) -> float:
    flush = torch.empty(FLUSH_BYTES, dtype=torch.uint8, device="cuda")
    repeats = SLOW_REPEATS if 1e3 * _seconds(call) > SLOW_MS else REPEATS
    for _ in range(repeats // 5):
        call()
    pairs = [[torch.cuda.Event(enable_timing=True) for _ in range(2)] for _ in range(repeats)]
    for start, end in pairs:
        flush.zero_()
        if wait:
            torch.cuda.synchronize()
        start.record()
        call()
        end.record()
    torch.cuda.synchronize()
    return statistics.median(start.elapsed_time(end) for start, end in pairs)


def _seconds(call: Call) -> float:
    call()
    torch.cuda.synchronize()
    start = time.perf_counter()
    call()
    torch.cuda.synchronize()
    return time.perf_counter() - start


def time_cpu(vertices: Tensor, faces: Tensor) -> None:
    threads = torch.get_num_threads()
    kept = "in the cache" if cpu.is_compiled() else "not in the cache"
    start = time.perf_counter()
    cpu.compile_kernel()
    print(f"CPU kernel: {kept}, ready after {time.perf_counter() - start:.2f} s")
    covered = rasterize(vertices, faces, 224, 224, backend="cpu").covered.float().mean()
    print(f"{vertices.shape[1]} vertices, {len(faces)} triangles, {100 * covered:.0f} % of the picture\n")
    print(
        f"| picture | 1 thread, ms a head | {threads} threads | {threads} threads, {CPU_BATCH} heads at once |"
    )
    print("|---|---|---|---|")
    for height, width in CPU_SIZES:
        repeats = 50 if height <= 512 else 10
        row = []
        for count, batch in ((1, 1), (threads, 1), (threads, CPU_BATCH)):
            torch.set_num_threads(count)
            heads = vertices.repeat(batch, 1, 1)
            draw = lambda h=height, w=width, heads=heads: rasterize(heads, faces, h, w, backend="cpu")  # noqa: E731
            row.append(f"{median_ms(draw, max(3, repeats // batch)) / batch:.2f}")
        torch.set_num_threads(threads)
        print(f"| {width} x {height} | {' | '.join(row)} |")


def make_case(vertices: Tensor, faces: Tensor, batch: int, size: int) -> Case:
    """Heads that differ in how they are turned."""
    turn = torch.linspace(-0.1, 0.1, batch)[:, None, None] * vertices[..., [2, 1, 0]]
    points = (vertices + turn * torch.tensor([1.0, 0.0, -1.0])).cuda()
    attributes = torch.randn(batch, points.shape[1], CHANNELS, device="cuda")
    return Case(points, faces.cuda().int(), attributes, size)


def alone(case: Case) -> Call:
    return lambda: rasterize(case.vertices, case.faces, case.size, case.size)


def with_channels(case: Case) -> Call:
    return lambda: rasterize_and_interpolate(case.vertices, case.faces, case.attributes, case.size, case.size)


def one_after_the_other(case: Case) -> Call:
    return lambda: interpolate(alone(case)(), case.faces, case.attributes)


def forward_and_backward(case: Case) -> Call:
    vertices, attributes = case.vertices.clone().requires_grad_(), case.attributes.clone().requires_grad_()
    given = torch.randn(len(vertices), CHANNELS, case.size, case.size, device="cuda")

    def run() -> tuple[Tensor, ...]:
        _, picture = rasterize_and_interpolate(vertices, case.faces, attributes, case.size, case.size)
        return torch.autograd.grad(picture, (vertices, attributes), given)

    return run


def floor_ms(case: Case, *, channels: bool) -> float:
    """Every byte of the inputs and results once."""
    inputs = [case.vertices, case.faces] + ([case.attributes] if channels else [])
    pixels = len(case.vertices) * case.size**2
    size = sum(tensor.nbytes for tensor in inputs) + pixels * (BYTES_PER_PIXEL + 4 * CHANNELS * channels)
    return 1e3 * size / BYTES_PER_SECOND


def check_ids(case: Case) -> str:
    """Compare the first and last item with the CPU kernel."""
    ends = case.vertices[[0, -1]].cpu()
    right = rasterize(ends, case.faces.cpu(), case.size, case.size, backend="cpu").triangle
    different = int((alone(case)().triangle[[0, -1]].cpu() != right).sum())
    return "equal" if different == 0 else f"{different} DIFFER"


def time_gpu(vertices: Tensor, faces: Tensor) -> None:
    print(
        f"\n{torch.cuda.get_device_name()}, torch {torch.__version__}, CUDA {torch.version.cuda}; times in ms\n"
    )
    print(f"| batch x size | alone, eager | graph | floor | ratio | + {CHANNELS} channels, eager | graph | floor | "
          "ratio | two calls, eager | graph | ids |")  # fmt: skip
    print("|---" * 12 + "|")
    for batch, size in GPU_CASES:
        case = make_case(vertices, faces, batch, size)
        equal = check_ids(case)
        cells = []
        for call, channels in ((alone(case), False), (with_channels(case), True)):
            eager, graph, floor = eager_ms(call), graph_ms(call), floor_ms(case, channels=channels)
            cells += [f"{eager:.3f}", f"{graph:.3f}", f"{floor:.4f}", f"{graph / floor:.1f}"]
        two = one_after_the_other(case)
        cells += [f"{eager_ms(two):.3f}", f"{graph_ms(two):.3f}", equal]
        print(f"| {batch} x {size} | {' | '.join(cells)} |", flush=True)
    print(
        f"\n| batch x size | rasterise + {CHANNELS} channels, forward and backward, eager | peak memory, MiB |"
    )
    print("|---|---|---|")
    for batch, size in GPU_CASES:
        call = forward_and_backward(make_case(vertices, faces, batch, size))
        torch.cuda.reset_peak_memory_stats()
        elapsed = eager_ms(call)
        peak = (torch.cuda.max_memory_allocated() - FLUSH_BYTES) / 2**20
        print(f"| {batch} x {size} | {elapsed:.3f} | {peak:.0f} |", flush=True)


def time_peers(vertices: Tensor, faces: Tensor) -> None:
    for peer in rasterize_peers.available():
        print(f"\n| {peer.name}: batch x size | alone, eager | + {CHANNELS} channels, eager |\n|---|---|---|")
        for batch, size in GPU_CASES:
            case = make_case(vertices, faces, batch, size)
            calls = peer.calls(case.vertices, case.faces, case.attributes, case.size)
            print(
                f"| {batch} x {size} | {' | '.join(f'{eager_ms(call):.3f}' for call in calls)} |", flush=True
            )


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--obj", type=Path, help="a mesh in place of the ellipsoid")
    parser.add_argument(
        "--plot", type=Path, help="draw how the GPU's times grow with batch and size into this file"
    )
    arguments = parser.parse_args()
    vertices, faces = read_obj(arguments.obj) if arguments.obj else ellipsoid()
    time_cpu(vertices, faces)
    if not torch.cuda.is_available():
        print("\nNo NVIDIA GPU here: the CUDA tables are left out.")
        return
    time_gpu(vertices, faces)
    time_scaling(vertices, faces, arguments.plot)
    time_peers(vertices, faces)


if __name__ == "__main__":
    main()
