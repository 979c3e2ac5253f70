"""Time the rasteriser: `python benchmarks/rasterize.py`, and on an NVIDIA GPU the batch x size table as well.

The mesh is a closed, bumpy ellipsoid with as many vertices and triangles as a head (about 5,000 and 10,000) that
fills 46 % of the picture; `--obj` takes another one. Numbers are medians; every CUDA result is first compared with
the CPU kernel, triangle by triangle.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from deca_cli.render import cpu
from deca_cli.render.fragments import Fragments
from deca_cli.render.interpolate import interpolate
from deca_cli.render.rasterize import rasterize

CPU_SIZES = [(224, 224), (512, 512), (1024, 1024), (2000, 3000)]
GPU_CASES = [(1, 224), (64, 224), (256, 224), (1, 1024), (64, 1024)]
CHANNELS = 9
# Every byte of triangle, barycentrics and depth once, at the measured copy speed of an H200.
BYTES_PER_PIXEL = 20
BYTES_PER_SECOND = 4.2e12


def ellipsoid(rows: int = 71, columns: int = 71) -> tuple[Tensor, Tensor]:
    """NDC [1, V, 3] and faces [F, 3]: front and back, 46 % of the picture."""
    down, around = np.meshgrid(np.linspace(0, np.pi, rows), np.linspace(0, 2 * np.pi, columns), indexing="ij")
    radius = 1 + 0.03 * np.sin(6 * around) * np.sin(5 * down)
    x, y, z = np.sin(down) * np.sin(around), -np.cos(down), -np.sin(down) * np.cos(around)
    shape = np.stack([0.68 * radius * x, 0.86 * radius * y, 0.8 * radius * z], -1).reshape(-1, 3)
    corner = np.arange(rows * columns).reshape(rows, columns)
    a, b, c, d = corner[:-1, :-1], corner[:-1, 1:], corner[1:, :-1], corner[1:, 1:]
    faces = np.concatenate([np.stack([a, c, b], -1).reshape(-1, 3), np.stack([b, c, d], -1).reshape(-1, 3)])
    turn = np.linalg.qr(np.random.RandomState(0).normal(size=(3, 3)))[0] * 0.02 + np.eye(3)
    return torch.tensor(shape @ turn, dtype=torch.float32)[None], torch.tensor(faces)


def read_obj(path: Path) -> tuple[Tensor, Tensor]:
    """Vertices and triangles of an OBJ file, centred and scaled into the picture."""
    lines = [line.split() for line in path.read_text(encoding="utf-8").splitlines()]
    points = np.array([words[1:4] for words in lines if words[:1] == ["v"]], dtype=np.float64)
    faces = [[int(word.split("/")[0]) - 1 for word in words[1:4]] for words in lines if words[:1] == ["f"]]
    centre = (points.min(0) + points.max(0)) / 2
    points = (points - centre) / np.ptp(points, axis=0).max() * 1.75 * [1, -1, -1]
    return torch.tensor(points, dtype=torch.float32)[None], torch.tensor(faces)


def median_ms(call: Callable[[], object], repeats: int) -> float:
    """Wall clock on the CPU."""
    call()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        times.append(1e3 * (time.perf_counter() - start))
    return statistics.median(times)


def median_gpu_ms(call: Callable[[], object], repeats: int) -> float:
    """CUDA events on the current stream."""
    for _ in range(5):
        call()
    events = [[torch.cuda.Event(enable_timing=True) for _ in range(2)] for _ in range(repeats)]
    for start, end in events:
        start.record()
        call()
        end.record()
    torch.cuda.synchronize()
    return statistics.median(start.elapsed_time(end) for start, end in events)


def time_cpu(vertices: Tensor, faces: Tensor) -> None:
    threads = torch.get_num_threads()
    kept = "in the cache" if cpu.is_compiled() else "not in the cache"
    start = time.perf_counter()
    cpu.compile_kernel()
    print(f"CPU kernel: {kept}, ready after {time.perf_counter() - start:.2f} s")
    covered = rasterize(vertices, faces, 224, 224, backend="cpu").covered.float().mean()
    print(f"{vertices.shape[1]} vertices, {len(faces)} triangles, {100 * covered:.0f} % of the picture\n")
    print(f"| picture | 1 thread, ms | {threads} threads, ms |\n|---|---|---|")
    for height, width in CPU_SIZES:
        repeats = 50 if height <= 512 else 10
        row = []
        for count in (1, threads):
            torch.set_num_threads(count)
            draw = lambda h=height, w=width: rasterize(vertices, faces, h, w, backend="cpu")  # noqa: E731
            row.append(f"{median_ms(draw, repeats):.2f}")
        print(f"| {width} x {height} | {' | '.join(row)} |")


def check_ids(found: Fragments, vertices: Tensor, faces: Tensor, size: int) -> str:
    """Compare the first and last item with the CPU kernel."""
    ends = vertices[[0, -1]].cpu()
    right = rasterize(ends, faces.cpu(), size, size, backend="cpu").triangle
    different = int((found.triangle[[0, -1]].cpu() != right).sum())
    return "equal" if different == 0 else f"{different} DIFFER"


def time_gpu(vertices: Tensor, faces: Tensor) -> None:
    print(f"\n{torch.cuda.get_device_name()}, torch {torch.__version__}\n")
    print(f"| batch x size | rasterise, ms | + {CHANNELS} channels, ms | floor, ms | ratio | triangles |")
    print("|---|---|---|---|---|---|")
    corners = faces.cuda().int()
    for batch, size in GPU_CASES:
        turn = torch.linspace(-0.1, 0.1, batch)[:, None, None] * vertices[..., [2, 1, 0]]
        points = (vertices + turn * torch.tensor([1.0, 0.0, -1.0])).cuda()
        attributes = torch.randn(batch, points.shape[1], CHANNELS, device="cuda")

        def draw(points: Tensor = points, size: int = size) -> Fragments:
            return rasterize(points, corners, size, size)

        def draw_and_mix(
            points: Tensor = points, attributes: Tensor = attributes, size: int = size
        ) -> Tensor:
            return interpolate(rasterize(points, corners, size, size), corners, attributes)

        equal = check_ids(draw(), points, corners, size)
        alone, mixed = median_gpu_ms(draw, 50), median_gpu_ms(draw_and_mix, 50)
        floor = 1e3 * batch * size * size * BYTES_PER_PIXEL / BYTES_PER_SECOND
        ratio = f"{alone / floor:.1f}"
        print(f"| {batch} x {size} | {alone:.3f} | {mixed:.3f} | {floor:.4f} | {ratio} | {equal} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--obj", type=Path, help="a mesh in place of the ellipsoid")
    arguments = parser.parse_args()
    vertices, faces = read_obj(arguments.obj) if arguments.obj else ellipsoid()
    time_cpu(vertices, faces)
    if torch.cuda.is_available():
        time_gpu(vertices, faces)
    else:
        print("\nNo NVIDIA GPU here: the CUDA table is left out.")


if __name__ == "__main__":
    main()
