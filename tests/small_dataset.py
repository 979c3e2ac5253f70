"""Tiny datasets for the tests of training data, and the loader on them."""

from pathlib import Path

import cv2
import numpy as np
import torch

from deca_cli.train.data.loader import PersonLoader
from deca_cli.train.data.manifest import Description
from deca_cli.train.data.settings import DataSettings
from deca_cli.train.data.store import finish, write_picture
from deca_cli.train.processes import Process
from stand_in import face_drawing

HELD_OUT = "zoe"


def face_points(centre: tuple[float, float], half: float) -> np.ndarray:
    """68 points [68, 2] of a schematic face in pixels."""
    drawing = face_drawing()
    return np.stack([centre[0] + half * drawing[:, 0], centre[1] - half * drawing[:, 1]], -1)


def smooth_picture(seed: int, height: int, width: int) -> np.ndarray:
    """uint8 [H, W, 3] of smooth random colours."""
    coarse = np.random.default_rng(seed).integers(0, 256, (9, 9, 3)).astype(np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


def make_dataset(folder: Path, people: dict[str, int], size: int = 160) -> Path:
    """A dataset with so many pictures of each; `zoe` is held out. Masks cover the left half."""
    records = []
    for number, (person, count) in enumerate(people.items()):
        for index in range(count):
            mask = np.zeros((size, size), np.uint8)
            mask[:, : size // 2] = 255
            points = face_points((size / 2, size / 2), size / 4)
            split = "held_out" if person == HELD_OUT else "train"
            pixels = smooth_picture(100 * number + index, size, size)
            records.append(write_picture(folder, person, f"{index:02d}", pixels, points, mask, split))
    finish(folder, records, Description(2.0, size, len(people), len(records)))
    return folder


def small_settings(folder: Path | str, **changes: object) -> DataSettings:
    values = {"batch_size": 2, "K": 2, "image_size": 64, "num_workers": 0, "scale_max": 1.8}
    return DataSettings(**{"training_data": (str(folder),), **values, **changes})  # type: ignore[arg-type]


def open_loader(
    folder: Path, *, rank: int = 0, world: int = 1, seed: int = 0, split: str = "train", **changes: object
) -> PersonLoader:
    settings = small_settings(folder, **changes)
    process = Process(rank, world, torch.device("cpu"))
    return PersonLoader(settings.training_data, settings, process, seed, split=split)


def people_of(names: tuple[str, ...]) -> list[str]:
    return [name.split("/")[0] for name in names]
