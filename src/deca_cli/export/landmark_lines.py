"""Draw the 68 landmarks as the lines a person expects: jaw, brows, nose, eyes, lips."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np


class Part(NamedTuple):
    """A run of the 68 points that forms one line."""

    first: int
    last: int  # included
    closed: bool


PARTS = (
    Part(0, 16, closed=False),  # jaw
    Part(17, 21, closed=False),  # brow on the image's left
    Part(22, 26, closed=False),
    Part(27, 30, closed=False),  # bridge of the nose
    Part(31, 35, closed=False),  # nostrils
    Part(36, 41, closed=True),  # eye on the image's left
    Part(42, 47, closed=True),
    Part(48, 59, closed=True),  # outer lips
    Part(60, 67, closed=True),  # inner lips
)
SEEN = (64, 224, 140)  # RGB
HIDDEN = (255, 150, 60)
EDGE = (20, 30, 28)
DOT = (255, 255, 255)
MARGIN = 0.05  # of the face, around the points
LARGE_ENOUGH = 1600  # pixels up to which the part with the face is enlarged before drawing
FRACTION_BITS = 4  # OpenCV draws at sixteenths of a pixel


def draw_landmarks(picture: np.ndarray, points: np.ndarray, visible: np.ndarray) -> np.ndarray:
    """A copy of the picture with the landmarks on it; hidden points and lines to them have another colour.

    Drawn several times larger and averaged down, so that lines may be thinner than a pixel and never jagged.

    Args:
        picture: uint8 [H, W, 3] RGB.
        points: [68, 2] in pixels of the picture.
        visible: bool [68].
    """
    drawn = picture.copy()
    extent = float(np.ptp(points, axis=0).mean())
    left, top = np.maximum(np.floor(points.min(axis=0) - MARGIN * extent - 3), 0).astype(int)
    right, bottom = np.ceil(points.max(axis=0) + MARGIN * extent + 3).astype(int)
    part = drawn[top : max(bottom, top), left : max(right, left)]
    if part.size == 0:
        return drawn
    factor = int(np.clip(LARGE_ENOUGH // max(part.shape[:2]), 1, 4))
    large = cv2.resize(part, None, fx=factor, fy=factor, interpolation=cv2.INTER_NEAREST)
    _draw(large, (points - (left, top) + 0.5) * factor - 0.5, visible, max(extent / 130, 0.9) * factor)
    drawn[top:bottom, left:right] = cv2.resize(large, part.shape[1::-1], interpolation=cv2.INTER_AREA)
    return drawn


def _draw(picture: np.ndarray, points: np.ndarray, visible: np.ndarray, width: float) -> None:
    """Lines with a thin dark edge, then dots, drawn into `picture`; `width` of a line in its pixels."""
    segments = [pair for part in PARTS for pair in _segments(part)]
    places = _fixed(points)
    for edge in (True, False):
        thickness = max(1, round(width * (1.8 if edge else 1.0)))
        for start, end in segments:
            colour = EDGE if edge else SEEN if visible[start] and visible[end] else HIDDEN
            cv2.line(
                picture,
                places[start],
                places[end],
                colour,
                thickness,
                cv2.LINE_AA,
                FRACTION_BITS,
            )
    for place, seen in zip(places, visible.tolist(), strict=True):
        for radius, fill in ((1.5 * width, EDGE), (1.15 * width, DOT if seen else HIDDEN)):
            fixed = round(radius * (1 << FRACTION_BITS))
            cv2.circle(picture, place, fixed, fill, -1, cv2.LINE_AA, FRACTION_BITS)


def _segments(part: Part) -> list[tuple[int, int]]:
    ids = list(range(part.first, part.last + 1))
    ends = ids[1:] + ids[:1] if part.closed else ids[1:]
    return list(zip(ids, ends, strict=False))


def _fixed(points: np.ndarray) -> list[tuple[int, int]]:
    """Fixed-point coordinates; points far outside are pulled in so that OpenCV's 32-bit arithmetic holds."""
    near = np.clip(np.nan_to_num(points, nan=-1e4), -1e4, 3e4) * (1 << FRACTION_BITS)
    return [(x, y) for x, y in np.rint(near).astype(int).tolist()]
