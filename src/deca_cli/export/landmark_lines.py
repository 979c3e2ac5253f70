"""Draw the 68 landmarks as the lines a person expects: jaw, brows, nose, eyes, lips."""

from __future__ import annotations

from itertools import groupby, pairwise
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


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
LARGE_ENOUGH = 1600  # pixels up to which the part with the face is enlarged for drawing
LARGEST_FACTOR = 4  # sixteen samples a pixel, which need no smoothing of their own
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
    factor = LARGEST_FACTOR
    while factor > 1 and factor * max(part.shape[:2]) > LARGE_ENOUGH:
        factor //= 2
    places = (points - (left, top) + 0.5) * factor - 0.5
    width = max(extent / 130, 0.9) * factor
    if factor == 1:
        _draw(part, places, visible, width, cv2.LINE_AA)
        return drawn
    lines = np.zeros((factor * part.shape[0], factor * part.shape[1], 4), np.uint8)
    _draw(lines, places, visible, width, cv2.LINE_8 if factor == LARGEST_FACTOR else cv2.LINE_AA)
    while factor > 1:  # by halves, for which OpenCV has a quick way
        factor //= 2
        size = (factor * part.shape[1], factor * part.shape[0])
        lines = np.asarray(cv2.resize(lines, size, interpolation=cv2.INTER_AREA))
    through = cv2.cvtColor(cv2.bitwise_not(cv2.extractChannel(lines, 3)), cv2.COLOR_GRAY2RGB)
    around = cv2.multiply(part, through, scale=1 / 255)
    drawn[top:bottom, left:right] = cv2.add(around, cv2.cvtColor(lines, cv2.COLOR_RGBA2RGB))
    return drawn


def _draw(picture: np.ndarray, points: np.ndarray, visible: np.ndarray, width: float, smooth: int) -> None:
    """Lines with a thin dark edge, then dots, drawn into an RGB or RGBA picture; `width` of a line in its pixels."""
    places, seen_points = _fixed(points), visible.tolist()
    runs = [(places[ids], seen) for part in PARTS for ids, seen in _runs(part, seen_points)]

    def lines(of: Iterable[np.ndarray], colour: tuple[int, int, int], share: float) -> None:
        thickness = max(1, round(share * width))
        cv2.polylines(picture, list(of), False, (*colour, 255), thickness, smooth, FRACTION_BITS)

    lines((run for run, _ in runs), EDGE, 1.8)
    lines((run for run, seen in runs if seen), SEEN, 1.0)
    lines((run for run, seen in runs if not seen), HIDDEN, 1.0)
    for place, seen in zip(places.tolist(), seen_points, strict=True):
        for radius, fill in ((1.5 * width, EDGE), (1.15 * width, DOT if seen else HIDDEN)):
            fixed = round(radius * (1 << FRACTION_BITS))
            cv2.circle(picture, place, fixed, (*fill, 255), -1, smooth, FRACTION_BITS)


def _runs(part: Part, visible: list[bool]) -> Iterator[tuple[list[int], bool]]:
    """The line of a part cut where its colour changes: indices of points, and whether it is seen."""
    ids = list(range(part.first, part.last + 1)) + [part.first] * part.closed
    for seen, run in groupby(pairwise(ids), lambda ends: visible[ends[0]] and visible[ends[1]]):
        starts, ends = zip(*run, strict=True)
        yield [starts[0], *ends], seen


def _fixed(points: np.ndarray) -> np.ndarray:
    """Fixed-point coordinates; points far outside are pulled in so that OpenCV's 32-bit arithmetic holds."""
    near = np.clip(np.nan_to_num(points, nan=-1e4), -1e4, 3e4) * (1 << FRACTION_BITS)
    return np.rint(near).astype(np.int32)
