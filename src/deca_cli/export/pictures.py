"""Encode pictures by the ending of their name; quick settings, because overlays of big photos are big."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

from deca_cli.errors import OutputError
from deca_cli.export.atomic import write_bytes

if TYPE_CHECKING:
    from pathlib import Path

PANEL_MAX_SIDE = 2048  # pixels; larger photos are scaled down to this in pictures for people
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
    stored = picture if picture.ndim == 2 else cv2.cvtColor(picture, colours[picture.shape[2]])
    done, encoded = cv2.imencode(path.suffix, stored, SETTINGS[path.suffix])
    if not done:
        raise OutputError(
            f"cannot encode {path} ({picture.shape[1]} x {picture.shape[0]}): report this as a fault."
        )
    return write_bytes(path, encoded.data)


def shrink(picture: np.ndarray, longest: int) -> np.ndarray:
    """The picture with its longer side at most `longest` pixels; as it is where that holds already."""
    size = shrunk_size(picture.shape[1], picture.shape[0], longest)
    if size == picture.shape[1::-1]:
        return picture
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA))


def shrunk_size(width: int, height: int, longest: int) -> tuple[int, int]:
    """Width and height of what `shrink` gives."""
    scale = min(1.0, longest / max(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))
