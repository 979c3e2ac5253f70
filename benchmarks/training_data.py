"""How many training pictures a second the loader gives, by number of worker processes (CPU only).

Makes a dataset of stored crops (or of tars) from noise with the statistics of photographs, unless one is named, and
reads it as a training stage does. `--cut-only` leaves the sampling out, which a GPU does in training: then this is
what the workers alone give.

    python benchmarks/training_data.py --workers 0 1 2 --cut-only
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import replace
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import torch

from deca_cli.train.data.loader import PersonLoader
from deca_cli.train.data.manifest import Description
from deca_cli.train.data.settings import DataSettings
from deca_cli.train.data.shards import write_shards
from deca_cli.train.data.store import finish, write_picture
from deca_cli.train.processes import Process

STORED, PEOPLE, PHOTOS = 320, 64, 4
CIRCLE = np.stack([np.cos(np.linspace(0, 6.2, 68)), np.sin(np.linspace(0, 6.2, 68))], -1)


def photograph(random: np.random.Generator) -> np.ndarray:
    """uint8 [S, S, 3] of noise whose strength falls with frequency, as in photographs; about 30 kB as JPEG."""
    picture = np.zeros((STORED, STORED, 3), np.float32)
    for side in (5, 20, 80, 320):
        noise = random.normal(0, 60 / side**0.45, (side, side, 3)).astype(np.float32)
        picture += cv2.resize(noise, (STORED, STORED), interpolation=cv2.INTER_CUBIC)
    return (picture + 128).clip(0, 255).astype(np.uint8)


def make_dataset(folder: Path) -> None:
    """Noise with a round mask and landmarks on a circle."""
    random = np.random.default_rng(0)
    side = STORED / 1.9
    mask = cv2.circle(
        np.zeros((STORED, STORED), np.uint8), (STORED // 2, STORED // 2), int(side / 2), 255, -1
    )
    points = STORED / 2 + CIRCLE * side / 2
    records = [
        write_picture(folder, f"p{person:03d}", f"{index}", photograph(random), points, mask)
        for person in range(PEOPLE)
        for index in range(PHOTOS)
    ]
    finish(folder, records, Description(1.9, STORED, PEOPLE, len(records)))
    size = sum((folder / record.image).stat().st_size for record in records) / len(records)
    print(f"{len(records)} crops of {STORED} pixels, {size / 1024:.0f} kB each")


def measure(settings: DataSettings, steps: int, *, cut_only: bool) -> tuple[float, float]:
    """Pictures a second after the first batches, and milliseconds of processor time per picture of this process."""
    loader = PersonLoader(settings.training_data, settings, Process(0, 1, torch.device("cpu")), 0)
    batches = loader._raw_batches(0) if cut_only else loader.batches()  # noqa: SLF001 - the part to be measured
    for _ in islice(batches, max(settings.num_workers * settings.prefetch, 2)):
        pass
    start, used = time.perf_counter(), time.process_time()
    for _ in islice(batches, steps):
        pass
    pictures = steps * settings.batch_size * settings.per_person
    return pictures / (time.perf_counter() - start), 1000 * (time.process_time() - used) / pictures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", help="a dataset folder; noise if left out")
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--batch", type=int, nargs=2, default=[16, 4], metavar=("PEOPLE", "K"))
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--cut-only", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    with tempfile.TemporaryDirectory() as temporary:
        folders = {"files": options.data or f"{temporary}/files"}
        if not options.data:
            make_dataset(Path(folders["files"]))
            folders["tars"] = f"{temporary}/tars"
            write_shards(Path(folders["files"]), Path(folders["tars"]))
        people, photos = options.batch
        settings = DataSettings(batch_size=people, K=photos, image_size=options.image_size)
        for kind, folder in folders.items():
            for workers in options.workers:
                changed = replace(settings, training_data=(folder,), num_workers=workers)
                rate, used = measure(changed, options.steps, cut_only=options.cut_only)
                print(
                    f"{kind}: {workers} workers: {rate:.0f} images/s, {used:.2f} ms/image in the main process"
                )


if __name__ == "__main__":
    main()
