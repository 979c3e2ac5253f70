"""The picture a person looks at first: photo, landmarks, coarse shape and detail shape side by side.

Where the face is small in the photo, the panels show its surroundings enlarged, and the whole photo comes first.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from deca_cli.export.closeup import Cut, cut_out, framed, overlay_cut
from deca_cli.export.landmark_lines import draw_landmarks
from deca_cli.export.pictures import PANEL_MAX_SIDE, shrink, write_picture, write_row
from deca_cli.export.shape_picture import draw_shapes
from deca_cli.export.view import look, strips_of

if TYPE_CHECKING:
    from pathlib import Path

    from deca_cli.export.capture import Capture
    from deca_cli.export.view import View

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


@dataclass(frozen=True, eq=False)
class Drawing:
    """What is drawn of a face, when it is first asked for.

    Attributes:
        capture: the face. If it brings layers, they are those of the overlay.
    """

    capture: Capture

    @cached_property
    def cut(self) -> Cut:
        """What the overlay shows."""
        capture = self.capture
        return overlay_cut(capture.landmarks_2d_px, (capture.photo.width, capture.photo.height))

    @cached_property
    def overlay(self) -> Pictures:
        """Panels of the overlay."""
        return draw(cut_out(self.capture, self.cut) if self.cut.close else self.capture)

    @cached_property
    def photo(self) -> Pictures:
        """Panels of the whole photo."""
        return draw(replace(self.capture, layers=None)) if self.cut.close else self.overlay

    @cached_property
    def views(self) -> list[View] | None:
        """The head on the photo's pixels; None if it takes several strips, which memory shall not hold together."""
        size = (self.capture.photo.width, self.capture.photo.height)
        strips = strips_of(self.capture, size)
        return [look(self.capture, size, strip) for strip in strips] if len(strips) == 1 else None


def write_overlay(drawing: Drawing, folder: Path) -> Path:
    """Write `overlay.jpg`."""
    panels = list(drawing.overlay.panels().values())
    if drawing.cut.close:
        panels.insert(0, framed(drawing.capture.photo.pixels, drawing.cut))
    gap = max(2, round(GAP * max(panels[-1].shape[:2])))
    return write_row(folder / "overlay.jpg", panels, gap)


def write_images(pictures: Pictures, folder: Path) -> list[Path]:
    """Write every panel as a picture of its own: `input.jpg`, `landmarks.jpg`, `shape.jpg`, `detail.jpg`."""
    return [write_picture(folder / f"{name}.jpg", panel) for name, panel in pictures.panels().items()]
