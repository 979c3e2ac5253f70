"""The seven landmarks that NoW, Feng et al. and REALY share: order, names and the files they come in."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np

from deca_cli.errors import InputError
from deca_cli.evaluate.files import read_array, read_text

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

# The subject's right is the viewer's left in a frontal photo.
SEVEN_NAMES = (
    *("right eye outer corner", "right eye inner corner", "left eye inner corner", "left eye outer corner"),
    *("nose bottom", "right mouth corner", "left mouth corner"),
)
SEVEN_OF_68 = (36, 39, 42, 45, 33, 48, 54)
SEVEN_OF_51 = (19, 22, 25, 28, 16, 31, 37)


def read_seven(path: Path) -> NDArray[np.float64]:
    """Read a prediction's landmarks [7, 3] from .npy ([7, 3] or [1, 7, 3]) or .txt (seven rows of three numbers).

    Text is rounded to float32, as the official code does. Raises InputError for any other shape.
    """
    rows = read_array(path) if path.suffix.lower() == ".npy" else _read_text(path)
    if rows.ndim == 3 and len(rows) == 1:
        rows = rows[0]
    if rows.shape != (7, 3):
        raise InputError(
            f"{path}: landmarks of shape {rows.shape}, expected (7, 3). {_which_rows(rows.shape)}"
        )
    if not np.isfinite(rows).all():
        raise InputError(
            f"{path}: landmarks hold NaN or infinity. Write the seven 3D points as finite numbers."
        )
    return rows.astype(np.float64)


def _read_text(path: Path) -> NDArray[np.float32]:
    words = [line.replace(",", " ").split() for line in read_text(path).splitlines()]
    words = [row for row in words if row]
    if len({len(row) for row in words}) != 1:
        raise InputError(
            f"{path}: rows of different lengths. Write seven rows of three numbers, parted by a space."
        )
    try:
        return np.array(words, dtype=np.float64).astype(np.float32)
    except ValueError as error:
        raise InputError(f"{path}: {error}. Write seven rows of three numbers, parted by a space.") from None


def _which_rows(shape: tuple[int, ...]) -> str:
    if shape[-2:-1] == (68,):
        return f"These look like the usual 68 points: keep rows {list(SEVEN_OF_68)} (from 0), in this order."
    if shape[-2:-1] == (51,):
        return f"These look like the inner 51 points: keep rows {list(SEVEN_OF_51)} (from 0), in this order."
    if shape == (7, 2):
        return "They are 2D: the benchmark needs the points on the predicted mesh, x y z in the mesh's own frame."
    return f"Write seven rows of x y z in this order: {', '.join(SEVEN_NAMES)}."


def read_picked_points(path: Path) -> NDArray[np.float64]:
    """Read a scan's landmarks [7, 3] from MeshLab's .pp (attributes in any order); float32, as the official code."""
    elements = re.findall(r"<point\b[^>]*>", read_text(path))
    if len(elements) != 7:
        raise InputError(
            f"{path}: {len(elements)} picked points, expected 7. Download the scan landmarks again."
        )
    try:
        rows = [[float(re.search(rf'\b{a}="([^"]*)"', e).group(1)) for a in "xyz"] for e in elements]  # type: ignore[union-attr]
    except (AttributeError, ValueError):
        raise InputError(
            f"{path}: a point without readable x, y, z. Download the scan landmarks again."
        ) from None
    return np.array(rows, np.float32).astype(np.float64)
