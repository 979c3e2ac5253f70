"""Time the main command as a user meets it.

python benchmarks/reconstruct.py [--photo FILE] [--copies N]

Three commands, each in a fresh process: the first run (empty kernel cache, so the kernels are compiled), a later run, and
a run over N copies of the photo, whose extra time over one photo gives the cost of each further photo. Best of three for
all but the first. Peak memory is the largest resident set of the process.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PORTRAIT = Path(__file__).resolve().parents[1] / "docs/portrait.jpg"
PROBE = """
import resource, sys
from deca_cli.__main__ import main
try:
    main()
finally:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    open(PATH, "w").write(str(peak))
"""


def run(photos: list[Path], folder: Path, cache: Path) -> tuple[float, float]:
    """Seconds and peak memory in GB of one `deca reconstruct --obj --depth`."""
    report = folder / "peak.txt"
    program = f"PATH = {str(report)!r}\n{PROBE}"
    environment = os.environ | {"NUMBA_CACHE_DIR": str(cache)}
    out = folder / "out"
    shutil.rmtree(out, ignore_errors=True)
    command = [
        sys.executable,
        "-c",
        program,
        "reconstruct",
        *map(str, photos),
        "-o",
        str(out),
        "--obj",
        "--depth",
    ]
    start = time.perf_counter()
    subprocess.run(  # noqa: S603  # our own program
        [*command, "--model", "open"],
        check=True,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    return time.perf_counter() - start, int(report.read_text()) / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photo", type=Path, default=PORTRAIT)
    parser.add_argument("--copies", type=int, default=20)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        copies = [folder / f"copy{number}{options.photo.suffix}" for number in range(options.copies)]
        for copy in copies:
            shutil.copyfile(options.photo, copy)
        first = run([options.photo], folder, folder / "cache")
        later = min(run([options.photo], folder, folder / "cache") for _ in range(3))
        many = min(run(copies, folder, folder / "cache") for _ in range(3))
    print(f"load average {os.getloadavg()[0]:.1f}, {os.cpu_count()} cores")
    print(f"first run (kernels compiled)   {first[0]:6.1f} s   {first[1]:.2f} GB")
    print(f"later run                      {later[0]:6.1f} s   {later[1]:.2f} GB")
    print(f"{options.copies} photos                      {many[0]:6.1f} s   {many[1]:.2f} GB")
    print(f"each further photo             {(many[0] - later[0]) / (options.copies - 1):6.2f} s")


if __name__ == "__main__":
    main()
