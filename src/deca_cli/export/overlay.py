"""The picture a person looks at first: photo, landmarks, coarse shape and detail shape side by side."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from deca_cli.export.landmark_lines import draw_landmarks
from deca_cli.export.pictures import PANEL_MAX_SIDE, shrink, write_picture
from deca_cli.export.shape_picture import draw_shapes

if TYPE_CHECKING:
    from pathlib import Path

    from deca_cli.export.capture import Capture

GAP = 1 / 128  # of a panel's longer side, white, between panels


@dataclass(frozen=True, eq=False)
class Pictures:
    """The panels, uint8 [H, W, 3] RGB, all of one size."""

    input: np.ndarray
    landmarks: np.ndarray
    shape: np.ndarray
    detail: np.ndarray | None  # None if the pack has no detail networks

    def panels(self) -> dict[str, np.ndarray]:
        """Those that exist, by name, from left to right."""
        every = {"input": self.input, "landmarks": self.landmarks, "shape": self.shape, "detail": self.detail}
        return {name: picture for name, picture in every.items() if picture is not None}


def draw(capture: Capture) -> Pictures:
    """Draw all panels at the photo's resolution, at most `PANEL_MAX_SIDE` on the longer side."""
    photo = shrink(capture.photo.pixels, PANEL_MAX_SIDE)
    size = (photo.shape[1], photo.shape[0])
    scale = np.array(size) / (capture.photo.width, capture.photo.height)
    points = (
        capture.landmarks_2d_px + 0.5
    ) * scale - 0.5  # scaled about the picture's edge, not its first pixel
    shape, detail = draw_shapes(capture, photo)
    return Pictures(
        input=photo,
        landmarks=draw_landmarks(photo, points, capture.landmarks_visible),
        shape=shape,
        detail=detail,
    )


def write_overlay(pictures: Pictures, folder: Path) -> Path:
    """Write `overlay.jpg`."""
    panels = list(pictures.panels().values())
    height, width = panels[0].shape[:2]
    gap = np.full((height, max(2, round(GAP * max(height, width))), 3), 255, np.uint8)
    row = [part for panel in panels for part in (panel, gap)][:-1]
    return write_picture(folder / "overlay.jpg", np.concatenate(row, axis=1))


def write_images(pictures: Pictures, folder: Path) -> list[Path]:
    """Write every panel as a picture of its own: `input.jpg`, `landmarks.jpg`, `shape.jpg`, `detail.jpg`."""
    return [write_picture(folder / f"{name}.jpg", panel) for name, panel in pictures.panels().items()]
