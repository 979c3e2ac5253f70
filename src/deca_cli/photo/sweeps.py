"""Sweeps of the face cascade over a photo: one scale after another, at one in-plane rotation."""

import math
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import cv2
import numpy as np

from deca_cli.photo.cascade import frontal_face_cascade, scan
from deca_cli.photo.read import Photo


@dataclass(frozen=True)
class Pass:
    """One sweep over a photo.

    Attributes:
        long_side: the photo is scaled so that its longer side has this many pixels.
        smallest, largest: sides of the windows in pixels of the scaled photo; never under the cascade's own 24.
        angle_deg: in-plane rotation of the faces that are looked for.
        mirrored: look at the mirror image; the cascade was not trained symmetrically.
        growth: ratio of one window size to the next.
        dense_from: side from which on every window is tested; below, every second row and column.
        slack: see `scan`.
        border: width of the repeated border over the longer side; lets faces be found that fill the photo.
        for_long_side: photos whose longer side has fewer pixels skip this sweep.
    """

    long_side: int = 480
    smallest: float = 24.0
    largest: float = math.inf
    angle_deg: float = 0.0
    mirrored: bool = False
    growth: float = 1.15
    dense_from: float = 48.0
    slack: float = 0.2
    border: float = 0.25
    for_long_side: int = 0


def sweep_all(photo: Photo, passes: Sequence[Pass]) -> np.ndarray:
    """Run all sweeps that are meant for a photo of this size, on as many threads as OpenCV may use.

    Returns:
        hits [N, 4]: centre x, y and side of the window in photo pixels, and score; in the order of the passes.
    """
    passes = [one for one in passes if max(photo.width, photo.height) >= one.for_long_side]
    frontal_face_cascade()  # read it once, before the threads
    greys = _greys(photo, {one.long_side for one in passes})
    with ThreadPoolExecutor(max_workers=max(1, min(len(passes), cv2.getNumThreads()))) as pool:
        return np.concatenate(
            list(pool.map(lambda one: _sweep(greys[one.long_side], photo.width, one), passes))
        )


def _greys(photo: Photo, long_sides: set[int]) -> dict[int, np.ndarray]:
    """Grey copies of a photo by the length of their longer side; each is made from the next larger one."""
    source = photo.pixels
    greys: dict[int, np.ndarray] = {}
    for long_side in sorted(long_sides, reverse=True):
        # Whole factors are much quicker; the few pixels that they cut off at the right and below do not matter.
        whole = int(max(source.shape[:2]) / long_side)
        if whole >= 2:
            size = (source.shape[1] // whole, source.shape[0] // whole)
            source = source[: size[1] * whole, : size[0] * whole]
            source = cv2.resize(source, size, interpolation=cv2.INTER_AREA)
        scale = long_side / max(source.shape[:2])
        size = (max(round(source.shape[1] * scale), 1), max(round(source.shape[0] * scale), 1))
        source = cv2.resize(source, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
        source = source if source.ndim == 2 else cv2.cvtColor(source, cv2.COLOR_RGB2GRAY)
        greys[long_side] = source
    return greys


def _sweep(grey: np.ndarray, photo_width: int, one: Pass) -> np.ndarray:
    """Hits [N, 4] of one sweep over a grey copy: centre x, y and side of the window in photo pixels, score."""
    scale = grey.shape[1] / photo_width
    border = round(one.border * one.long_side)
    framed = cv2.copyMakeBorder(grey, border, border, border, border, cv2.BORDER_REPLICATE)
    turned, back = _turn(framed, one.angle_deg)
    if one.mirrored:
        turned = cv2.flip(turned, 1)
        back = back @ np.array([[-1.0, 0.0, turned.shape[1] - 1.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    back[:, 2] -= border  # now from turned pixels to pixels of `grey`
    hits = [np.empty((0, 4))]
    cascade = frontal_face_cascade()
    for side, level in _levels(turned, one):
        ratio = np.array(turned.shape[::-1]) / level.shape[::-1]
        to_grey = _window_centres(back, ratio, cascade.window)
        spans = _spans_inside(to_grey, level.shape[0] - cascade.window + 1, grey.shape)
        corners, scores = scan(cascade, level, spans, 1 if side >= one.dense_from else 2, one.slack)
        centres = (corners @ to_grey[:, :2].T + to_grey[:, 2] + 0.5) / scale - 0.5
        hits.append(np.column_stack([centres, np.full(len(scores), side / scale), scores]))
    return np.concatenate(hits)


def _turn(grey: np.ndarray, angle_deg: float) -> tuple[np.ndarray, np.ndarray]:
    """Turn a picture about its centre, keeping all of it; and the 2 x 3 map from turned pixels back."""
    if angle_deg == 0:
        return grey, np.eye(3)[:2]
    height, width = grey.shape
    there = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), angle_deg, 1.0)
    cosine, sine = abs(there[0, 0]), abs(there[0, 1])
    new_width, new_height = (
        math.ceil(width * cosine + height * sine),
        math.ceil(width * sine + height * cosine),
    )
    there[:, 2] += (new_width - width) / 2, (new_height - height) / 2
    turned = cv2.warpAffine(grey, there, (new_width, new_height), flags=cv2.INTER_LINEAR)
    return turned, cv2.invertAffineTransform(there)


def _levels(grey: np.ndarray, one: Pass) -> Iterator[tuple[float, np.ndarray]]:
    """Window sides in pixels of `grey`, each with `grey` shrunk so that this side becomes the cascade's window."""
    window = frontal_face_cascade().window
    height, width = grey.shape
    side = max(one.smallest, float(window))
    halved, halvings = grey, 1
    while side <= min(one.largest, height, width):
        while side >= 2 * window * halvings:
            # Exact halving first is quick and keeps fine texture from aliasing; the rest is under a factor of two.
            halved = cv2.resize(
                halved, (halved.shape[1] // 2, halved.shape[0] // 2), interpolation=cv2.INTER_AREA
            )
            halvings *= 2
        scale = window / side
        size = (round(width * scale), round(height * scale))
        yield side, cv2.resize(halved, size, interpolation=cv2.INTER_LINEAR)
        side *= one.growth


def _window_centres(back: np.ndarray, ratio: np.ndarray, window: int) -> np.ndarray:
    """2 x 3 map from the corner of a window on a level to its centre in pixels of the grey photo."""
    linear = back[:, :2] * ratio
    return np.column_stack(
        [linear, linear @ np.full(2, window / 2) - back[:, :2] @ np.full(2, 0.5) + back[:, 2]]
    )


def _spans_inside(to_grey: np.ndarray, rows: int, shape: tuple[int, ...]) -> np.ndarray:
    """For each row of a level the windows whose centre lies in the photo, int32 [rows, 2] as `scan` takes them."""
    first, last = np.full(rows, -1.0), np.full(rows, 1e6)
    for axis, length in ((0, shape[1]), (1, shape[0])):
        slope = to_grey[axis, 0]
        start = to_grey[axis, 1] * np.arange(rows) + to_grey[axis, 2]
        if abs(slope) < 1e-9:
            last[(start < 0) | (start > length - 1)] = -2.0
            continue
        ends = np.stack([-start / slope, (length - 1 - start) / slope])
        first = np.maximum(first, ends.min(axis=0))
        last = np.minimum(last, ends.max(axis=0))
    return np.stack([np.ceil(first), np.floor(last)], axis=1).astype(np.int32)
