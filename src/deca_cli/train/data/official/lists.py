"""The official list files and label files: `.npy` arrays of strings and numbers, never pickles."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from deca_cli.errors import InputError, UsageError
from deca_cli.train.data.decode import decode_colour, load_array, read_bytes
from deca_cli.train.data.source import Picture

if TYPE_CHECKING:
    from deca_cli.train.data.settings import OfficialFolders

LEAST_MASK = 0.5


def folder_of(folders: OfficialFolders, field: str, name: str) -> Path:
    """One of the roots of a set.

    Raises:
        InputError: it does not exist.
        UsageError: it is not set.
    """
    value = getattr(folders, field)
    if not value:
        raise UsageError(
            f"The data set {name!r} needs dataset.{name}.{field}, which is not set. Name a dataset folder of your own (`deca train pretrain DATA`), set it in the configuration, or "
            f"with --set dataset.{name}.{field}=PATH; or leave {name!r} out of training_data."
        )
    path = Path(value).expanduser()
    if not path.exists():
        raise InputError(f"dataset.{name}.{field} = {path} does not exist. Check the spelling of the path.")
    return path


def read_list(path: Path, columns: int) -> np.ndarray:
    """A list of names: strings [n] if ``columns`` is 0, else [n, >= columns].

    Raises:
        InputError: it holds something else; the message says what.
    """
    if not path.is_file():
        raise InputError(f"The list {path} does not exist. Check the path, or make it with numpy.save.")
    try:
        names = load_array(read_bytes(path))
    except InputError as error:
        raise InputError(f"The list {path} cannot be used: {error}.") from error
    if names.dtype.kind == "S":
        names = np.char.decode(names, "utf-8")
    dimensions = 2 if columns else 1
    if names.dtype.kind != "U" or names.ndim != dimensions or not len(names):
        wanted = f"[n, {columns} or more]" if columns else "[n]"
        raise InputError(
            f"The list {path} must hold strings {wanted}, but holds {names.dtype} {list(names.shape)}. "
            "Save the names with np.save(path, np.array(names, dtype=str))."
        )
    if columns and names.shape[1] < columns:
        raise InputError(
            f"The list {path} names {names.shape[1]} pictures a row, but {columns} are needed. Lower dataset.K."
        )
    return names


def read_picture(image: Path, landmarks: Path, mask: Path | None) -> Picture:
    """A picture with FAN landmarks and a segmentation; a mask file that does not exist counts as skin everywhere.

    Raises:
        InputError: a file is missing or damaged, or the mask has another size.
    """
    pixels = decode_colour(read_bytes(image))
    points = read_landmarks(landmarks)
    if mask is None or not mask.is_file():
        return Picture(pixels, points, None)
    return Picture(pixels, points, read_mask(mask, pixels.shape[:2]))


def read_landmarks(path: Path) -> np.ndarray:
    """float64 [68, 2], the first two columns of numbers [68, >= 2].

    Raises:
        InputError: it holds something else.
    """
    try:
        points = load_array(read_bytes(path))
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    if points.dtype.kind not in "fiu" or points.ndim != 2 or len(points) != 68 or points.shape[1] < 2:
        raise InputError(f"{path} must hold numbers [68, 2 or more], but holds {points.dtype} {points.shape}")
    return points[:, :2].astype(np.float64)


def read_mask(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    """uint8 [H, W], 255 where the file's number is above one half; numbers of any type (specification B16).

    Raises:
        InputError: it holds something else, or has another size than the picture.
    """
    try:
        mask = load_array(read_bytes(path))
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    if mask.dtype.kind not in "fiub" or mask.shape != tuple(shape):
        raise InputError(
            f"{path} must hold numbers {tuple(shape)} like its picture, but holds {mask.dtype} {mask.shape}"
        )
    return (mask > LEAST_MASK).astype(np.uint8) * 255
