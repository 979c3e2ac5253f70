"""Sweeps of the face cascade over a photo: one scale after another, at one in-plane rotation."""

import math
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import cv2
import numpy as np

from deca_cli.photo import cascade_kernel
from deca_cli.photo.cascade import frontal_face_cascade, scan
from deca_cli.photo.read import Photo

PACE = 1.0
"""See `scan`. A hit counts from a score of 1.2 on."""

PATIENT = 0.2
"""Share of the longer side from which on windows need not keep pace: there are few of them, and each weighs much."""

FINE_AFTER = 3
"""Stages of the cascade after which a window's neighbours are tested, too, where nothing else is said."""


@dataclass(frozen=True)
class Pass:
    """One sweep over a photo.

    Attributes:
        long_side: the photo is scaled so that its longer side has this many pixels.
        smallest, largest: sides of the windows in pixels of the scaled photo; never under the cascade's own 24.
        angle_deg: in-plane rotation of the faces that are looked for.
        mirrored: look at the mirror image; the cascade was not trained symmetrically.
        growth: ratio of one window size to the next.
        dense_from: side from which on windows between every second row and column are tested, too, where one beside
            them is promising.
        fine_after: stages that a window must pass to be promising.
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
    fine_after: int = FINE_AFTER
    slack: float = 0.2
    border: float = 0.25
    for_long_side: int = 0


def leaving_out(one: Pass, least: float, reach: int) -> Pass | None:
    """A sweep without the windows whose side is under a share of the photo's longer side, `reach`, or None if no others are left.

    The photo is scaled down so far that the smallest windows that are left have as many pixels as the smallest had. A photo
    smaller than the sweep's copy is not: on less than its own pixels faces that its edges cut off were lost.
    """
    side = one.smallest
    while side < least * one.long_side:
        side *= one.growth
    if side > one.largest:
        return None
    shrink = one.smallest / side if reach >= one.long_side else 1.0
    return replace(
        one,
        smallest=side * shrink,
        long_side=round(one.long_side * shrink),
        largest=one.largest * shrink,
        dense_from=one.dense_from * shrink,
    )


def sweep_all(
    photo: Photo, passes: Sequence[Pass], greys: Mapping[int, np.ndarray] | None = None
) -> np.ndarray:
    """Run all sweeps that are meant for a photo of this size, on as many threads as OpenCV may use.

    Args:
        photo: the photo.
        passes: the sweeps.
        greys: what `grey_copies` gives for these sweeps, or more; made here if left out.

    Returns:
        hits [N, 4]: centre x, y and side of the window in photo pixels, and score; in the order of the passes.
    """
    passes = [one for one in passes if max(photo.width, photo.height) >= one.for_long_side]
    frontal_face_cascade()  # read it once, before the threads
    greys = grey_copies(photo, passes) if greys is None else greys
    threads = min(len(passes), cv2.getNumThreads())
    if threads <= 1:
        return np.concatenate([_sweep(greys[one.long_side], photo.width, one) for one in passes])
    with ThreadPoolExecutor(max_workers=threads) as pool:
        return np.concatenate(
            list(pool.map(lambda one: _sweep(greys[one.long_side], photo.width, one), passes))
        )


def grey_copies(
    photo: Photo, passes: Sequence[Pass], known: Mapping[int, np.ndarray] | None = None
) -> dict[int, np.ndarray]:
    """Grey copies of a photo by the length of their longer side, `known` ones too; each is made from the next larger one."""
    reach = max(photo.width, photo.height)
    greys = dict(known or {})
    long_sides = {one.long_side for one in passes if reach >= one.for_long_side}
    for long_side in sorted(long_sides - set(greys), reverse=True):
        larger = [known_side for known_side in greys if known_side > long_side]
        source = greys[min(larger)] if larger else photo.pixels
        # Whole factors are much quicker; the few pixels that they cut off at the right and below do not matter.
        whole = int(max(source.shape[:2]) / long_side)
        if whole >= 2:
            # A photo slimmer than such a factor keeps one row or column.
            size = (max(source.shape[1] // whole, 1), max(source.shape[0] // whole, 1))
            source = source[: size[1] * whole, : size[0] * whole]
            source = cv2.resize(source, size, interpolation=cv2.INTER_AREA)
        scale = long_side / max(source.shape[:2])
        size = (max(round(source.shape[1] * scale), 1), max(round(source.shape[0] * scale), 1))
        source = source if source.ndim == 2 else cv2.cvtColor(source, cv2.COLOR_RGB2GRAY)
        source = cv2.resize(source, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
        greys[long_side] = source
    return greys


def _sweep(grey: np.ndarray, photo_width: int, one: Pass) -> np.ndarray:
    """Hits [N, 4] of one sweep over a grey copy: centre x, y and side of the window in photo pixels, score."""
    scale = grey.shape[1] / photo_width
    turned, back = _turn(grey, one.angle_deg, round(one.border * one.long_side))
    if one.mirrored:
        turned = cv2.flip(turned, 1)
        back = back @ np.array([[-1.0, 0.0, turned.shape[1] - 1.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    hits = [np.empty((0, 4))]
    cascade = frontal_face_cascade()
    for level in _levels(turned, one):
        to_grey = _window_centres(back, level, cascade.window)
        rows = level.pixels.shape[0] - cascade.window + 1
        spans = cascade_kernel.spans_inside(to_grey, max(rows, 0), grey.shape[0], grey.shape[1])
        fine_after = one.fine_after if level.side >= one.dense_from else 0
        pace = PACE if level.side < PATIENT * one.long_side else 0.0
        corners, scores = scan(cascade, level.pixels, spans, 2, one.slack, fine_after=fine_after, pace=pace)
        if len(scores) == 0:
            continue
        centres = (corners @ to_grey[:, :2].T + to_grey[:, 2] + 0.5) / scale - 0.5
        hits.append(np.column_stack([centres, np.full(len(scores), level.side / scale), scores]))
    return np.concatenate(hits)


def _turn(grey: np.ndarray, angle_deg: float, border: int) -> tuple[np.ndarray, np.ndarray]:
    """Turn a picture about its centre, keeping all of it and a repeated border; and the 2 x 3 map from there back."""
    framed = cv2.copyMakeBorder(grey, border, border, border, border, cv2.BORDER_REPLICATE)
    if angle_deg == 0:
        return framed, np.array([[1.0, 0.0, -border], [0.0, 1.0, -border]])
    height, width = framed.shape
    there = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), angle_deg, 1.0)
    cosine, sine = abs(there[0, 0]), abs(there[0, 1])
    # All of the photo and a border; the frame's own corners, which would stick out, are not needed.
    new_width = math.ceil(grey.shape[1] * cosine + grey.shape[0] * sine) + 2 * border
    new_height = math.ceil(grey.shape[1] * sine + grey.shape[0] * cosine) + 2 * border
    there[:, 2] += (new_width - width) / 2, (new_height - height) / 2
    turned = cv2.warpAffine(framed, there, (new_width, new_height), flags=cv2.INTER_LINEAR)
    back = cv2.invertAffineTransform(there)
    back[:, 2] -= border  # of the frame
    return turned, back


@dataclass(frozen=True, eq=False)
class _Level:
    """Part of a picture, shrunk so that windows of one size become the cascade's.

    Attributes:
        side: of the windows, in pixels of the picture.
        pixels: uint8 [H, W].
        ratio: pixels of the picture per pixel of the level, along x and y.
        origin: where the part's upper left corner lies in the picture, along x and along y.
    """

    side: float
    pixels: np.ndarray
    ratio: np.ndarray
    origin: float


def _levels(picture: np.ndarray, one: Pass) -> Iterator[_Level]:
    """All window sizes of a sweep over a picture with a border."""
    window = frontal_face_cascade().window
    border = round(one.border * one.long_side)
    side = max(one.smallest, float(window))
    halved, halvings = picture, 1
    while side <= min(one.largest, *picture.shape):
        while side >= 2 * window * halvings:
            # Exact halving first is quick and keeps fine texture from aliasing; the rest is under a factor of two. An
            # odd last row or column is cut off, since OpenCV is quick for whole factors only.
            height, width = halved.shape[0] // 2, halved.shape[1] // 2
            even = halved[: 2 * height, : 2 * width]
            halved = cv2.resize(even, (width, height), interpolation=cv2.INTER_AREA)
            halvings *= 2
        # Windows have their centre in the photo, so of the border no more is needed than half of one.
        trim = max(int((border - side / 2 - 1) / halvings), 0)
        part = halved[trim : halved.shape[0] - trim, trim : halved.shape[1] - trim]
        scale = window * halvings / side
        size = (round(part.shape[1] * scale), round(part.shape[0] * scale))
        pixels = cv2.resize(part, size, interpolation=cv2.INTER_LINEAR) if scale < 1 else part
        ratio = np.array(part.shape[::-1]) * halvings / pixels.shape[::-1]
        yield _Level(side, pixels, ratio, trim * halvings)
        side *= one.growth


def _window_centres(back: np.ndarray, level: _Level, window: int) -> np.ndarray:
    """2 x 3 map from the corner of a window on a level to its centre in pixels of the grey photo."""
    x, y = level.ratio.tolist()
    shift = level.origin - 0.5
    # The centre of the window in the upper left corner.
    across, down = window / 2 * x + shift, window / 2 * y + shift
    return np.array([[a * x, b * y, a * across + b * down + c] for a, b, c in back.tolist()])
