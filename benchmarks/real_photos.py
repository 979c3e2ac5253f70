"""Reconstruct real photos with the command line and collect the landmarks for scoring.

python benchmarks/real_photos.py PHOTOS --out FOLDER [further options of `deca reconstruct`]

PHOTOS holds `images/` and `landmarks.json` ({image name: {"bbox": [x0, y0, x1, y1], ...}}). A photo counts as found
if one of its faces overlaps the reference box by at least 0.3 (intersection over union); that face's 68 landmarks go
to FOLDER/predictions.json.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

from deca_cli.pipeline.fit import overlap

LEAST_OVERLAP = 0.3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    options, further = parser.parse_known_args()
    reference = json.loads((options.photos / "landmarks.json").read_text())
    start = time.perf_counter()
    command = [
        sys.executable,
        "-m",
        "deca_cli",
        "reconstruct",
        str(options.photos / "images"),
        "-o",
        str(options.out),
    ]
    subprocess.run([*command, *further], check=True)  # noqa: S603  # our own program
    seconds = time.perf_counter() - start
    predictions, others = collect(options.out, reference)
    (options.out / "predictions.json").write_text(json.dumps(predictions))
    print(
        f"photos {len(reference)}, found {len(predictions)} ({100 * len(predictions) / len(reference):.1f} %)"
    )
    print(f"further faces (other people, or false finds): {others}")
    print(f"not found: {', '.join(sorted(set(reference) - set(predictions))) or 'none'}")
    print(f"{seconds:.1f} s in all, {seconds / len(reference):.2f} s a photo")


def collect(results: Path, reference: dict) -> tuple[dict[str, list], int]:
    """The face of each photo that overlaps the reference box most, and how many faces are left over."""
    predictions, others = {}, 0
    for photo in json.loads((results / "summary.json").read_text())["photos"]:
        name = Path(photo["photo"]).name
        faces = [
            json.loads((results / face["folder"] / "params.json").read_text()) for face in photo["faces"]
        ]
        scored = sorted(faces, key=lambda face: -overlap(face["face_box_px"], reference[name]["bbox"]))
        if scored and overlap(scored[0]["face_box_px"], reference[name]["bbox"]) >= LEAST_OVERLAP:
            predictions[name] = scored.pop(0)["landmarks_2d_px"]
        others += len(scored)
    return predictions, others


if __name__ == "__main__":
    main()
