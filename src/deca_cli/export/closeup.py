"""What the overlay shows of a photo: all of it, or only the surroundings of a face that is small in it, enlarged."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import cv2
import numpy as np

from deca_cli.export.pictures import PANEL_MAX_SIDE, resized, shrunk_size
from deca_cli.export.view import Region, region_of

if TYPE_CHECKING:
    from deca_cli.export.capture import Capture

AROUND = 2.2  # side of the surroundings, in sizes of the landmarks' box: the head and some air
UP = 0.2  # from the middle of that box to the middle of the head, in units of chin to bridge of the nose
SMALL = 0.6  # share of the photo's longer side up to which the surroundings are shown alone
LOW, HIGH = 448, 1024  # rows of the enlarged surroundings
SLIM = 0.3  # share of the surroundings' side that must lie within the photo, each way: a strip would become a huge picture
WIDEST = 4  # width of the photo beside them, in units of its height
CHIN, BRIDGE = 8, 27


@dataclass(frozen=True)
class Cut:
    """A part of the photo and the size at which it is drawn."""

    region: Region  # pixels of the photo
    size: tuple[int, int]  # width, height of the picture, at most `PANEL_MAX_SIDE` each
    close: bool  # whether it is less than the photo


def overlay_cut(landmarks_px: np.ndarray, photo_size: tuple[int, int]) -> Cut:
    """What the overlay of a face shows.

    Args:
        landmarks_px: [68, 2] in pixels of the photo.
        photo_size: its width and height.
    """
    whole = Cut(Region(0, 0, *photo_size), shrunk_size(*photo_size, PANEL_MAX_SIDE), close=False)
    low, high = landmarks_px.min(axis=0), landmarks_px.max(axis=0)
    half = AROUND * (high - low).max() / 2
    if 2 * half > SMALL * max(photo_size):
        return whole
    middle = (low + high) / 2 + UP * (landmarks_px[BRIDGE] - landmarks_px[CHIN])
    region = region_of(middle - half, middle + half, photo_size)
    if min(region.width, region.height) <= SLIM * 2 * half:  # all but a strip of the face is outside
        return whole
    widest = PANEL_MAX_SIDE * region.height // region.width  # rows at which it is as wide as a panel may be
    rows = min(max(region.height, LOW), HIGH, widest)
    return Cut(region, (max(1, round(rows * region.width / region.height)), rows), close=True)


def cut_out(capture: Capture, cut: Cut) -> Capture:
    """The capture as if the photo were that part of it; layers that it has are those of the part already."""
    corner = np.array([cut.region.left, cut.region.top])
    scale = np.array(cut.size) / (cut.region.width, cut.region.height)

    def moved(points: np.ndarray, offset: float) -> np.ndarray:
        flat = (points[:, :2] - offset - corner) * scale + offset
        return np.concatenate([flat, points[:, 2:] * scale[1]], axis=1)

    return replace(
        capture,
        photo=replace(capture.photo, pixels=resized(capture.photo.pixels[cut.region.slices], cut.size)),
        vertices_px=moved(capture.vertices_px, capture.pixel_offset),
        landmarks_2d_px=moved(capture.landmarks_2d_px, -0.5),
    )


def framed(pixels: np.ndarray, cut: Cut) -> np.ndarray:
    """The whole photo as high as the part, with a thin frame around what is shown enlarged; white above and below panoramas."""
    (height, width), rows = pixels.shape[:2], cut.size[1]
    scale = min(rows / height, WIDEST * rows / width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = resized(pixels, size)
    ends = np.array([[cut.region.left, cut.region.top], [cut.region.right, cut.region.bottom]]) * scale
    first, last = np.round(ends).astype(int) - [[0], [1]]
    for thick, grey in ((3, 0), (1, 255)):
        cv2.rectangle(small, first.tolist(), last.tolist(), (grey,) * 3, thick)
    if size[1] == rows:
        return small
    whole = np.full((rows, size[0], 3), 255, np.uint8)
    above = (rows - size[1]) // 2
    whole[above : above + size[1]] = small
    return whole
