"""Normal maps at the photo's resolution."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from deca_cli.export.pictures import write_picture
from deca_cli.export.view import look_in_strips

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from deca_cli.export.capture import Capture
    from deca_cli.export.view import View


def normal_map(capture: Capture, views: Iterable[View] | None = None) -> np.ndarray:
    """uint8 [H, W, 4]: x right, y up, z to the viewer as red, green, blue = 255 (n + 1) / 2; alpha 255 on the head.

    Args:
        capture: the face.
        views: the head on the photo's pixels, if it is drawn already.
    """
    size = (capture.photo.width, capture.photo.height)
    picture = np.zeros((*size[::-1], 4), np.uint8)
    for view in views or look_in_strips(capture, size):
        normals = view.interpolate(capture.normals, capture.topology.faces)
        length = np.maximum(np.linalg.norm(normals, axis=-1, keepdims=True), 1e-6)
        colour = np.rint((normals / length + 1) * 127.5).astype(np.uint8)
        opaque = np.full((*view.covered.shape, 1), 255, np.uint8)
        picture[view.region.slices] = np.concatenate([colour, opaque], axis=-1) * view.covered[..., None]
    return picture


def write_normals(capture: Capture, folder: Path, views: Iterable[View] | None = None) -> list[Path]:
    """Write `normals.png`."""
    return [write_picture(folder / "normals.png", normal_map(capture, views))]
