"""The photo with the head as grey clay over it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2

from deca_cli.export.shape_layers import draw_layers

if TYPE_CHECKING:
    import numpy as np

    from deca_cli.export.capture import Capture
    from deca_cli.export.shape_layers import Layers


def draw_shapes(capture: Capture, picture: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """Copies of a picture of the whole photo (uint8 [H, W, 3], any size) with the coarse and the detailed shape over it.

    The second is None if the pack has no detail networks.
    """
    layers = capture.layers or draw_layers(capture, (picture.shape[1], picture.shape[0]))
    if layers.opacity.size == 0:
        return picture.copy(), None if layers.detail is None else picture.copy()
    around = cv2.multiply(picture[layers.region.slices], cv2.merge([255 - layers.opacity] * 3), scale=1 / 255)
    coarse = _lay_over(picture, layers, around, layers.coarse)
    return coarse, None if layers.detail is None else _lay_over(picture, layers, around, layers.detail)


def _lay_over(picture: np.ndarray, layers: Layers, around: np.ndarray, grey: np.ndarray) -> np.ndarray:
    """Composite the grey surface over a copy of the picture; `around` is what of the picture shines through."""
    out = picture.copy()
    out[layers.region.slices] = cv2.add(around, cv2.merge([grey] * 3))
    return out
