"""Encode pictures by the ending of their name; quick settings, because overlays of big photos are big."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

from deca_cli.errors import OutputError
from deca_cli.export.atomic import write_bytes

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

PANEL_MAX_SIDE = 2048  # pixels; larger photos are scaled down to this in pictures for people
MEANS_BELOW = 0.7  # scale; above it two neighbours are enough, which takes a sixth of the time of true means
SETTINGS = {
    ".png": [cv2.IMWRITE_PNG_COMPRESSION, 1],  # a third larger than the default and four times as quick
    ".jpg": [cv2.IMWRITE_JPEG_QUALITY, 93],
}


def write_picture(path: Path, picture: np.ndarray) -> Path:
    """Write a picture whole or not at all.

    Args:
        path: ends in `.png` or `.jpg`.
        picture: uint8 or (PNG) uint16, [H, W], [H, W, 3] RGB or [H, W, 4] RGBA.

    Raises:
        OutputError: it cannot be encoded or written.
    """
    colours = {3: cv2.COLOR_RGB2BGR, 4: cv2.COLOR_RGBA2BGRA}
    return _encode(path, picture if picture.ndim == 2 else cv2.cvtColor(picture, colours[picture.shape[2]]))


def write_row(path: Path, pictures: Sequence[np.ndarray], gap: int) -> Path:
    """Write pictures side by side as one, whole or not at all.

    Args:
        path: ends in `.png` or `.jpg`.
        pictures: uint8 [H, W, 3] RGB, of one height.
        gap: white columns between two of them.

    Raises:
        OutputError: it cannot be encoded or written.
        ValueError: the pictures differ in height or are not uint8.
    """
    width = sum(picture.shape[1] for picture in pictures) + gap * (len(pictures) - 1)
    row = np.empty((pictures[0].shape[0], width, 3), np.uint8)
    for picture in pictures:  # OpenCV would write one that does not fit elsewhere, and say nothing
        if picture.dtype != row.dtype or picture.shape[0] != row.shape[0]:
            found = ", ".join(f"{each.dtype} {each.shape}" for each in pictures)
            raise ValueError(f"pictures in one row must be uint8 and of one height, not {found}")
    left = 0
    for picture in pictures:
        right = left + picture.shape[1]
        cv2.cvtColor(picture, cv2.COLOR_RGB2BGR, dst=row[:, left:right])
        row[:, right : right + gap] = 255
        left = right + gap
    return _encode(path, row)


def _encode(path: Path, stored: np.ndarray) -> Path:
    """Write a picture whose colours are in OpenCV's order."""
    done, encoded = cv2.imencode(path.suffix, stored, SETTINGS[path.suffix])
    if not done:
        raise OutputError(
            f"cannot encode {path} ({stored.shape[1]} x {stored.shape[0]}): report this as a fault."
        )
    return write_bytes(path, encoded.data)


def shrink(picture: np.ndarray, longest: int) -> np.ndarray:
    """The picture with its longer side at most `longest` pixels; as it is where that holds already."""
    size = shrunk_size(picture.shape[1], picture.shape[0], longest)
    if size == picture.shape[1::-1]:
        return picture
    return resized(picture, size)


def resized(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The picture at another width and height: smooth where it grows, averaged where it shrinks."""
    width, height = picture.shape[1::-1]
    while width % 2 == 0 and height % 2 == 0 and width >= 2 * size[0] and height >= 2 * size[1]:
        width, height = width // 2, height // 2  # exact means, for which OpenCV has a quick way
        picture = np.asarray(cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA))
    scale = size[1] / height
    smooth = cv2.INTER_CUBIC if scale > 1 else cv2.INTER_LINEAR if scale >= MEANS_BELOW else cv2.INTER_AREA
    return np.asarray(cv2.resize(picture, size, interpolation=smooth))


def shrunk_size(width: int, height: int, longest: int) -> tuple[int, int]:
    """Width and height of what `shrink` gives."""
    scale = min(1.0, longest / max(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))
