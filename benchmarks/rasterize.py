"""Time the rasteriser: `python benchmarks/rasterize.py [--plot scaling.png]`.

On any machine: the CPU kernel. On an NVIDIA GPU: batch x size with the least time that memory allows, backward passes,
scaling, a rasteriser in plain torch, and pytorch3d and nvdiffrast where they can be imported; last, ours beside the
goals and beside every peer, all from this run. The mesh is a closed, bumpy ellipsoid with as many vertices and triangles
as a head (5,041 and 9,800) that fills 46 % of the picture; `--obj` takes another one.

Numbers are medians. GPU times are between CUDA events, after a warm-up and with the L2 cache overwritten before every
call. "Eager" starts on an idle GPU, so that all of Python's and the driver's launch costs count; "graph" replays a CUDA
graph of the same call. Every CUDA result is first compared with the CPU kernel, triangle by triangle.
"""

import argparse
import platform
import time
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

import rasterize_peers
from deca_cli.render import cpu
from deca_cli.render.rasterize import rasterize
from rasterize_cases import (
    CHANNELS,
    alone,
    check_ids,
    floor_ms,
    forward_and_backward,
    make_case,
    one_after_the_other,
    with_channels,
)
from rasterize_meshes import ellipsoid, read_obj
from rasterize_scaling import time_scaling
from rasterize_timing import FLUSH_BYTES, eager_ms, graph_ms, median_ms

CPU_SIZES = [(224, 224), (512, 512), (1024, 1024), (2000, 3000)]
CPU_BATCH = 8
GOALS = {
    (1, 224): 0.05,
    (64, 224): 0.20,
    (256, 224): 0.70,
    (1, 1024): 0.08,
    (64, 1024): 2.5,
}  # ms, with channels
GPU_CASES = list(GOALS)


class Times(NamedTuple):
    """Of one problem, in ms; `channels`: with the interpolated channels."""

    alone: float
    channels: float
    alone_graph: float
    channels_graph: float


Ours = dict[tuple[int, int], Times]
Theirs = dict[str, dict[tuple[int, int], tuple[float, float]]]  # of a peer: alone, with channels


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


def time_gpu(vertices: Tensor, faces: Tensor) -> Ours:
    print(f"| batch x size | alone, eager | graph | floor | ratio | + {CHANNELS} channels, eager | graph | floor | "
          "ratio | two calls, eager | graph | ids |")  # fmt: skip
    print("|---" * 12 + "|")
    found = {}
    for batch, size in GPU_CASES:
        case = make_case(vertices, faces, batch, size)
        equal = check_ids(case)
        cells, eager, graph = [], [], []
        for call, channels in ((alone(case), False), (with_channels(case), True)):
            floor = floor_ms(case, channels=channels)
            eager.append(eager_ms(call))
            graph.append(graph_ms(call))
            cells += [f"{eager[-1]:.3f}", f"{graph[-1]:.3f}", f"{floor:.4f}", f"{graph[-1] / floor:.1f}"]
        found[batch, size] = Times(*eager, *graph)
        two = one_after_the_other(case)
        cells += [f"{eager_ms(two):.3f}", f"{graph_ms(two):.3f}", equal]
        print(f"| {batch} x {size} | {' | '.join(cells)} |", flush=True)
    return found


def time_backward(vertices: Tensor, faces: Tensor) -> None:
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


def time_peers(vertices: Tensor, faces: Tensor) -> Theirs:
    found: Theirs = {}
    for peer in rasterize_peers.available():
        print(f"\n| {peer.name}: batch x size | alone, eager | + {CHANNELS} channels, eager |\n|---|---|---|")
        for batch, size in GPU_CASES:
            case = make_case(vertices, faces, batch, size)
            try:
                calls = peer.calls(case.vertices, case.faces, case.attributes, case.size)
                times = eager_ms(calls[0]), eager_ms(calls[1])
            except Exception as error:  # noqa: BLE001 - whatever is wrong with it, the others are still to be timed
                print(f"\n{peer.name} does not run here: {type(error).__name__}: {error}", flush=True)
                break
            found.setdefault(peer.name, {})[batch, size] = times
            print(f"| {batch} x {size} | {times[0]:.3f} | {times[1]:.3f} |", flush=True)
    return found


def compare(ours: Ours, theirs: Theirs) -> None:
    """The goals, then ours beside every peer: how many times ours a peer takes."""
    print(f"\n| batch x size, + {CHANNELS} channels | goal | eager | | graph | |\n|---|---|---|---|---|---|")
    for case, times in ours.items():
        cells = [f"{GOALS[case]:.2f}"]
        for found in (times.channels, times.channels_graph):
            cells += [
                f"{found:.3f}",
                "holds" if found <= GOALS[case] else f"missed, {found / GOALS[case]:.2f} of it",
            ]
        print(f"| {case[0]} x {case[1]} | {' | '.join(cells)} |")
    names = "".join(f" {name} | times ours |" for name in theirs)
    for place, what in enumerate(("alone", f"+ {CHANNELS} channels")):
        print(f"\n| batch x size, {what}, eager | ours |{names}\n|---|---|{'---|---|' * len(theirs)}")
        for case, times in ours.items():
            cells = [f"{times[place]:.3f}"]
            for table in theirs.values():
                peer = table.get(case)
                cells += (
                    ["-", "-"]
                    if peer is None
                    else [f"{peer[place]:.3f}", f"{peer[place] / times[place]:.1f}"]
                )
            print(f"| {case[0]} x {case[1]} | {' | '.join(cells)} |")


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
    print(f"\n{time.strftime('%Y-%m-%d')}, {torch.cuda.get_device_name()}, torch {torch.__version__}, CUDA "
          f"{torch.version.cuda}, Python {platform.python_version()}; times in ms\n")  # fmt: skip
    ours = time_gpu(vertices, faces)
    time_backward(vertices, faces)
    time_scaling(vertices, faces, arguments.plot)
    compare(ours, time_peers(vertices, faces))


if __name__ == "__main__":
    main()
