"""Seconds and memory per scan of `deca evaluate now`, one process, against the times of the official code.

    python benchmarks/now_evaluation.py ../shared/now [--repeats 5]

The folder holds data.tar.gz and expected/summary.json (see its README). Every image is measured from its files on disk,
scan included, `--repeats` times. Both the clock and the processor's time are taken, the least of the repeats each: on a
busy machine the second is the one to look at (one thread does all the work, so on a quiet machine they agree).

The official seconds in summary.json were taken on a busy machine. Its README has a quieter repeat, 2.0 to 2.8 s at about
32 000 kept scan vertices and 6.3 to 6.8 s at 100 000. `quiet` scales the recorded seconds of each image by the smaller
of the two quotients that these ranges allow (2.8/5.83 and 6.3/9.51), which favours the official code.
"""

import argparse
import json
import os
import resource
import sys
import tarfile
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np

from deca_cli.evaluate.checks import check_prediction
from deca_cli.evaluate.geometry import Surface
from deca_cli.evaluate.landmark_rows import read_picked_points, read_seven
from deca_cli.evaluate.meshes import read_mesh, read_obj_vertices
from deca_cli.evaluate.now import Protocol, Scan, measure
from deca_cli.evaluate.now_data import NowData, Prediction, find_prediction, open_now

QUIET_SHARE = (
    (50_000, 2.8 / 5.83),
    (10**9, 6.3 / 9.51),
)  # kept vertices up to -> quiet over recorded seconds
SIZES = ((0, 50_000), (50_000, 10**9))  # kept vertices


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("folder", type=Path)
    arguments.add_argument("--repeats", type=int, default=5)
    options = arguments.parse_args()
    summary = json.loads((options.folder / "expected" / "summary.json").read_text())["runs"]
    warm_up()
    with tempfile.TemporaryDirectory() as unpacked:
        with tarfile.open(options.folder / "data.tar.gz") as archive:
            archive.extractall(unpacked, filter="data")
        for run, protocol in (("nonmetrical", Protocol()), ("metrical", Protocol(metrical=True))):
            bench_run(Path(unpacked), run, protocol, summary[run], options.repeats)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (
        1024 if sys.platform != "darwin" else 1024**2
    )
    print(f"\npeak memory of this process: {peak:.0f} MiB")
    load = ", ".join(f"{share:.1f}" for share in os.getloadavg())
    print(f"load average (1, 5, 15 minutes): {load}, on {os.cpu_count()} cores")


def warm_up() -> None:
    """Load the compiled kernels."""
    triangle = Surface.of(np.eye(3), np.array([[0, 1, 2]]))
    triangle.closest(np.zeros((1, 3)))


def bench_run(folder: Path, run: str, protocol: Protocol, expected: dict, repeats: int) -> None:
    data = open_now(folder / "dataset")
    print(f"\n{run}: seconds per image, all files read anew, least of {repeats}\n")
    print(f"{'image':54} {'kept':>7} {'clock':>6} {'processor':>10} {'quiet official':>15} {'times':>6}")
    rows = []
    for image, entry in zip(data.images, expected["images"], strict=True):
        prediction = find_prediction(folder / expected["prediction_folder"], image)
        if not prediction.is_complete:
            continue
        clock, processor = np.min([time_one(data, prediction, protocol) for _ in range(repeats)], axis=0)
        kept = entry["crop"]["kept_vertices"]
        quiet = entry["official_seconds"]["total"] * next(share for most, share in QUIET_SHARE if kept < most)
        rows.append((kept, clock, processor, quiet))
        print(
            f"{image.name:54} {kept:7} {clock:6.2f} {processor:10.2f} {quiet:15.1f} {quiet / processor:6.1f}"
        )
    clock, processor, quiet = np.sum(rows, axis=0)[1:]
    for low, high in SIZES:
        print(table_row(run, low, high, rows))
    ratios = [quiet / processor for _, _, processor, quiet in rows]
    print(f"{'all':62} {clock:6.2f} {processor:10.2f} {quiet:15.1f} {quiet / processor:6.1f}")
    print(f"{run}: {min(ratios):.1f} to {max(ratios):.1f} times faster per scan, median {median(ratios):.1f}")


def table_row(run: str, low: int, high: int, rows: list[tuple[int, float, float, float]]) -> str:
    """A line for docs/benchmarks.md: scans of one size, processor seconds of this code and of the official one."""
    chosen = [row for row in rows if low <= row[0] < high]
    if not chosen:
        return f"| {run}, {low} to {high} kept vertices | 0 | | | |"
    kept, _, processor, quiet = zip(*chosen, strict=True)
    ratios = np.divide(quiet, processor)
    return (
        f"| {run}, {min(kept)} to {max(kept)} | {len(chosen)} | {min(processor):.2f} to {max(processor):.2f} | "
        f"{min(quiet):.1f} to {max(quiet):.1f} | {min(ratios):.1f} to {max(ratios):.1f}, median {median(ratios):.1f} |"
    )


def time_one(data: NowData, prediction: Prediction, protocol: Protocol) -> tuple[float, float]:
    """Clock and processor seconds to read everything, check and measure one image."""
    clock, processor = time.perf_counter(), time.process_time()
    subject = prediction.image.subject
    scan = Scan(read_obj_vertices(data.scan(subject)), read_picked_points(data.landmarks(subject)))
    mesh, landmarks = read_mesh(prediction.mesh), read_seven(prediction.landmarks)
    check_prediction(mesh, landmarks, scan.landmarks, protocol)
    measure(scan, mesh, landmarks, protocol)
    return time.perf_counter() - clock, time.process_time() - processor


if __name__ == "__main__":
    main()
