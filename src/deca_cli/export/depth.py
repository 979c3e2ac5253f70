"""Depth maps at the photo's resolution: a 16-bit picture, metres as an array, the mask, and a coloured preview."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

from deca_cli.export.atomic import write_array
from deca_cli.export.pictures import PANEL_MAX_SIDE, write_picture
from deca_cli.export.view import look_in_strips

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from deca_cli.export.capture import Capture
    from deca_cli.export.view import View

STEP_M = 1e-4  # one step of the 16-bit picture: 0.1 mm


def depth_map(capture: Capture, views: Iterable[View] | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Depth behind the point of the head that is nearest to the viewer, along the viewing axis.

    The scale is that of the model's head, a guess from a single photo: see docs/outputs.md.

    Args:
        capture: the face.
        views: the head on the photo's pixels, if it is drawn already.

    Returns:
        Metres float32 [H, W], 0 where there is no head, and the mask bool [H, W].
    """
    size = (capture.photo.width, capture.photo.height)
    depth = np.zeros(size[::-1], np.float32)
    mask = np.zeros(size[::-1], np.bool_)
    metres = (capture.vertices_px[:, 2:] - capture.vertices_px[:, 2].min()) / capture.pixels_per_metre
    for view in views or look_in_strips(capture, size):
        depth[view.region.slices] = view.interpolate(metres, capture.topology.faces)[..., 0]
        mask[view.region.slices] = view.covered
    return depth, mask


def write_depth(capture: Capture, folder: Path, views: Iterable[View] | None = None) -> list[Path]:
    """Write `depth.png` (16 bit, 0.1 mm a step, 0 = no head), `depth.npy`, `depth_mask.png`, `depth_preview.jpg`."""
    depth, mask = depth_map(capture, views)
    return [
        write_picture(folder / "depth.png", _steps(depth, mask)),
        write_array(folder / "depth.npy", depth),
        write_picture(folder / "depth_mask.png", mask.view(np.uint8) * np.uint8(255)),
        write_picture(folder / "depth_preview.jpg", _coloured(depth, mask)),
    ]


def _steps(depth: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """uint16 [H, W] in steps of 0.1 mm; row by row, as whole pictures of floats would need memory."""
    steps = np.zeros(depth.shape, np.uint16)
    for row in np.flatnonzero(mask.any(axis=1)):
        # The nearest point would be 0 like the background: the head starts at 1, which is within rounding.
        steps[row] = np.clip(np.rint(depth[row] / STEP_M), 1, 65535) * mask[row]
    return steps


def _coloured(depth: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """uint8 RGB, at most `PANEL_MAX_SIDE` a side: near is yellow, far is violet, no head is black."""
    stride = -(-max(depth.shape) // PANEL_MAX_SIDE)
    depth, mask = depth[::stride, ::stride], mask[::stride, ::stride]
    picture = np.zeros((*mask.shape, 3), np.uint8)
    if not mask.any():
        return picture
    seen = depth[mask]
    low, high = float(seen.min()), float(seen.max())
    near = (255 * (1 - (seen - low) / max(high - low, 1e-6))).astype(np.uint8)
    picture[mask] = cv2.applyColorMap(near[:, None], cv2.COLORMAP_VIRIDIS)[:, 0, ::-1]
    return picture
