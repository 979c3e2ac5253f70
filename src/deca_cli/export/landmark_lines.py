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
FRACTION_BITS = 4  # OpenCV draws at sixteenths of a pixel


def draw_landmarks(picture: np.ndarray, points: np.ndarray, visible: np.ndarray) -> np.ndarray:
    """A copy of the picture with the landmarks on it; lines to hidden points have another colour.

    Args:
        picture: uint8 [H, W, 3] RGB.
        points: [68, 2] in pixels of the picture.
        visible: bool [68].
    """
    drawn = picture.copy()
    extent = float(np.ptp(points, axis=0).mean())
    width = max(1, round(extent / 170))
    segments = [pair for part in PARTS for pair in _segments(part)]
    for grow, colours in ((2 * max(1, width // 2), None), (0, (HIDDEN, SEEN))):
        for start, end in segments:
            colour = colours[bool(visible[start] and visible[end])] if colours else EDGE
            cv2.line(drawn, _fixed(points[start]), _fixed(points[end]), colour, width + grow, cv2.LINE_AA, FRACTION_BITS)
    for point, seen in zip(points, visible, strict=True):
        _dot(drawn, point, extent / 110, SEEN if seen else HIDDEN)
    return drawn


def _segments(part: Part) -> list[tuple[int, int]]:
    ids = list(range(part.first, part.last + 1))
    ends = ids[1:] + ids[:1] if part.closed else ids[1:]
    return list(zip(ids, ends, strict=False))


def _dot(picture: np.ndarray, point: np.ndarray, radius: float, colour: tuple[int, int, int]) -> None:
    """A point with a dark rim, drawn into `picture`."""
    radius = max(radius, 1.2)
    for size, fill in ((radius * 1.45, EDGE), (radius, DOT if colour == SEEN else colour)):
        cv2.circle(picture, _fixed(point), round(size * (1 << FRACTION_BITS)), fill, -1, cv2.LINE_AA, FRACTION_BITS)


def _fixed(point: np.ndarray) -> tuple[int, int]:
    """Fixed-point coordinates; points far outside are pulled in so that OpenCV's 32-bit arithmetic holds."""
    x, y = np.clip(np.nan_to_num(point, nan=-1e4), -1e4, 3e4)
    return round(float(x) * (1 << FRACTION_BITS)), round(float(y) * (1 << FRACTION_BITS))
