"""Time `deca reconstruct` and the model under it, on the GPU where there is one, else on the CPU.

python benchmarks/reconstruct.py [--only model|command|sides|compiled|first] [--photos N] [--batches 1,8,...] [--cpu]
                                 [--plot FILE]

model:   encode + decode with all pictures at 224 pixels for a model of the official shape, by batch, precision and way to
         run it; medians, CUDA events on a GPU.
command: the whole command on N JPEG photos of 512 pixels (made from the portrait in docs/), overlay and parameters
         written, in a fresh process: photos a second, and memory (of all its processes) after 10, 50, 100 ... photos.
sides:   the same for photos of other sizes.
compiled: encode + decode through torch.compile; on a GPU only, last because compiling takes minutes.
first:   the first run on a machine (kernels compiled), a later run, and many copies of the portrait with --obj --depth.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from reconstruct_plot import Measured, draw

if TYPE_CHECKING:
    import torch

    from reconstruct_plot import Curves

PORTRAIT = Path(__file__).resolve().parents[1] / "docs/portrait.jpg"
SIDE = 512
SIDES = (256, 512, 1024, 2048)
MARKS = (10, 50, 100, 200, 500, 1000, 2000, 5000)
PROBE = """
import json, os, sys, time
started = time.perf_counter()
marks = []
def memory_mb():
    total, waiting = 0, [str(os.getpid())]
    while waiting:
        process = waiting.pop()
        try:
            for line in open(f"/proc/{process}/smaps_rollup"):  # memory that processes share counts once
                if line.startswith("Pss:"):
                    total += int(line.split()[1])
            for thread in os.listdir(f"/proc/{process}/task"):
                waiting += open(f"/proc/{process}/task/{thread}/children").read().split()
        except OSError:
            pass
    return total / 1024
if __name__ == "__main__":
    from deca_cli.__main__ import main
    import deca_cli.pipeline.batch as batch
    real = batch.reconstruct
    def counted(*given, **named):
        for count, outcome in enumerate(real(*given, **named), 1):
            if count == 1 or count in MARKS:
                now, busy = time.perf_counter() - started, time.thread_time()
                marks.append((count, now, memory_mb(), busy))
            yield outcome
    batch.reconstruct = counted
    try:
        main()
    finally:
        json.dump({"marks": marks, "end": time.perf_counter() - started, "memory": memory_mb()}, open(REPORT, "w"))
"""


def run(words: list[str], folder: Path, cache: Path | None = None) -> dict:
    """One `deca reconstruct` in a fresh process: seconds, and what the probe saw."""
    report, probe = folder / "probe.json", folder / "probe.py"
    probe.write_text(f"REPORT = {str(report)!r}\nMARKS = {MARKS!r}\n{PROBE}")
    out = folder / "out"
    shutil.rmtree(out, ignore_errors=True)
    environment = os.environ | ({"NUMBA_CACHE_DIR": str(cache)} if cache else {})
    source = str(Path(__file__).resolve().parents[1] / "src")
    environment["PYTHONPATH"] = os.pathsep.join([source, *filter(None, [os.environ.get("PYTHONPATH")])])
    start = time.perf_counter()
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(  # noqa: S603  # our own program
        [sys.executable, str(probe), "reconstruct", *words, "-o", str(out), "--model", "open"],
        check=False, env=environment, capture_output=True, text=True,
    )  # fmt: skip
    seconds = time.perf_counter() - start
    if done.returncode:
        raise SystemExit(
            f"deca reconstruct {' '.join(words)[-300:]} failed:\n{done.stdout}{done.stderr[-3000:]}"
        )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    summary = json.loads((out / "summary.json").read_text("utf-8"))
    return {
        "seconds": seconds,
        "processor": processor,
        "said": done.stderr,
        "summary": summary,
        **json.loads(report.read_text()),
    }


def make_photos(folder: Path, count: int, side: int = SIDE) -> Path:
    """Squares of the portrait, shifted, scaled, mirrored and of other brightness: no two are equal.

    Args:
        folder: where a folder `photos` is made.
        count: how many.
        side: of each, pixels.
    """
    import cv2

    portrait = cv2.imread(str(PORTRAIT))
    rng = np.random.default_rng(0)
    photos = folder / "photos"
    photos.mkdir()
    for number in range(count):
        turn = cv2.getRotationMatrix2D(
            (portrait.shape[1] / 2, portrait.shape[0] / 2), rng.uniform(-8, 8), 1.0
        )
        turn *= side / min(portrait.shape[:2]) * rng.uniform(0.85, 1.05)
        turn[:, 2] += rng.uniform(-20, 20, 2) * side / SIDE
        picture = cv2.warpAffine(portrait, turn, (side, side), borderMode=cv2.BORDER_REFLECT)
        picture = cv2.convertScaleAbs(picture, alpha=rng.uniform(0.7, 1.2))
        picture = picture[:, ::-1] if rng.random() < 0.5 else picture
        cv2.imwrite(str(photos / f"{number:05}.jpg"), picture, [cv2.IMWRITE_JPEG_QUALITY, 92])
    return photos


def time_command(count: int, extra: list[str]) -> list[tuple[int, float]]:
    """Print the table of the whole command; photos done and seconds since the start."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        photos = make_photos(folder, count)
        run([str(photos / "00000.jpg"), *extra], folder)  # compiles what is compiled once on a machine
        found = run([str(photos), *extra], folder)
        print(f"\nWhole command, {count} JPEG photos of {SIDE} px, overlay and parameters {' '.join(extra)}")
        print(
            f"{found['said'].strip().splitlines()[0]}\n\n| photos done | seconds since the start | memory, MB |\n|---|---|---|"
        )
        for done, seconds, memory, _ in found["marks"]:
            print(f"| {done} | {seconds:.2f} | {memory:.0f} |")
        (_, first, _, busy_first), (last, until, _, busy_last) = found["marks"][0], found["marks"][-1]
        counts = found["summary"]["counts"]
        print(f"\nall {counts['photos']} photos ({counts['faces']} faces, {counts['skipped']} skipped) in {found['seconds']:.1f} s: "
              f"{counts['photos'] / found['seconds']:.1f} photos/s with start and end")  # fmt: skip
        if last > 1:
            print(f"{(last - 1) / max(until - first, 1e-9):.1f} photos/s from the first to photo {last}, of each "
                  f"{(busy_last - busy_first) / (last - 1) * 1000:.2f} ms of processor time in the main thread")  # fmt: skip
        stages = found["summary"]["seconds_by_stage"]
        print(
            "seconds by stage (summed over threads): " + ", ".join(f"{k} {v:.1f}" for k, v in stages.items()),
            flush=True,
        )
    return [(done, seconds) for done, seconds, *_ in found["marks"]]


def time_sides(count: int, extra: list[str]) -> list[tuple[int, float, float]]:
    """Print how fast the whole command does photos of several sizes; side, and photos a second without and with the start."""
    print(
        f"\n| side of {count} square photos | photos/s from the first to the last | start and end included |\n|---|---|---|"
    )
    rows = []
    for side in SIDES:
        with tempfile.TemporaryDirectory() as name:
            found = run([str(make_photos(Path(name), count, side)), *extra], Path(name))
        (_, first, *_), (last, until, *_) = found["marks"][0], found["marks"][-1]
        row = (side, (last - 1) / max(until - first, 1e-9), count / found["seconds"])
        rows.append(row)
        print("| {} | {:.1f} | {:.1f} |".format(*row), flush=True)
    return rows


def time_model(device: torch.device, batches: str | None, modes: str | None) -> Curves:
    """Print the tables of encode + decode; photos a second by batch, for each precision and mode."""
    import encode_decode

    gpu = device.type == "cuda"
    usual = (encode_decode.BATCHES, encode_decode.MODES) if gpu else ((1, 8), ("eager",))
    encode_decode.parts(device, 64 if gpu else 1, 20 if gpu else 1)
    return encode_decode.table(
        device,
        tuple(map(int, batches.split(","))) if batches else usual[0],
        tuple(modes.split(",")) if modes else usual[1],
        20 if gpu else 2,
    )


def time_first(copies: int) -> None:
    """The first run, a later one, and the cost of each further photo, with meshes and depth."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        photos = [folder / f"copy{number}.jpg" for number in range(copies)]
        for photo in photos:
            shutil.copyfile(PORTRAIT, photo)
        words = ["--obj", "--depth"]
        first = run([str(photos[0]), *words], folder, folder / "cache")
        later = min(
            (run([str(photos[0]), *words], folder, folder / "cache") for _ in range(3)),
            key=lambda r: r["seconds"],
        )
        many = run([*map(str, photos), *words], folder, folder / "cache")
    print("\nWith --obj --depth\n\n| run | seconds | memory at the end, MB |\n|---|---|---|")
    for what, found in (("first (kernels compiled)", first), ("later", later), (f"{copies} photos", many)):
        print(f"| {what} | {found['seconds']:.1f} | {found['memory']:.0f} |")
    print(f"\neach further photo {(many['seconds'] - later['seconds']) / (copies - 1):.2f} s", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=("model", "command", "sides", "compiled", "first"))
    parser.add_argument("--photos", type=int, default=None, help="1000 on a GPU, else 100")
    parser.add_argument("--batches", default=None, help="for the model, such as 1,8,64")
    parser.add_argument("--modes", default=None, help="for the model, such as eager,graph")
    parser.add_argument("--copies", type=int, default=20)
    parser.add_argument("--cpu", action="store_true", help="leave the GPU alone")
    parser.add_argument(
        "--plot", type=Path, help="draw how it grows with batch, photos and size into this file"
    )
    parser.add_argument("extra", nargs="*", help="options for the command, after --")
    options = parser.parse_args()
    import torch

    gpu = torch.cuda.is_available() and not options.cpu
    machine = torch.cuda.get_device_name() if gpu else platform.processor() or platform.machine()
    print(f"{machine}, {len(os.sched_getaffinity(0))} cores, load {os.getloadavg()[0]:.1f}, torch {torch.__version__}, "
          f"{time.strftime('%Y-%m-%d')}", flush=True)  # fmt: skip
    count = options.photos or (1000 if gpu else 100)
    extra = [*options.extra, *([] if gpu else ["--device", "cpu"])]
    measured = Measured()
    if options.only in (None, "model"):
        measured.model = time_model(torch.device("cuda" if gpu else "cpu"), options.batches, options.modes)
    if options.only in (None, "command"):
        measured.command = time_command(count, extra)
    if options.only in (None, "sides"):
        measured.sides = time_sides(count, extra)
    if gpu and options.only in (None, "compiled"):
        import encode_decode

        encode_decode.compiled_table(torch.device("cuda"), 20)
    if options.only == "first":
        time_first(options.copies)
    if options.plot is not None:
        draw(measured, machine, options.plot)


if __name__ == "__main__":
    main()
