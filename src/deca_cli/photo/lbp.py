"""The face detector that is always there: scikit-image's cascade over scales and in-plane rotations.

Every window that passes the (slightly loosened) cascade is a hit with a score. Hits are then summed where they
overlap: a face gathers many good hits over neighbouring places, scales and rotations, a false one few and weak.
"""

import math
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import cv2
import numpy as np

from deca_cli.photo.cascade import frontal_face_cascade, scan
from deca_cli.photo.crop import PixelBox
from deca_cli.photo.face import Face
from deca_cli.photo.read import Photo

# From the cascade's window to the box of the 68 landmarks, in units of the window's side.
BOX_WIDTH = 0.84
BOX_HEIGHT = 0.83
BOX_DROP = 0.15

# A hit of score q weighs exp(STEEPNESS * (q - EVEN)); hits under FAINTEST are dropped.
STEEPNESS = 3.0
EVEN = 1.6
FAINTEST = 1.2

# Hits sum up where their windows overlap by more than SAME (intersection over union). A candidate removes
# all hits that overlap it by more than RIVAL, and those with under WEAKER of its support that lie inside it by
# more than WITHIN.
SAME = 0.5
RIVAL = 0.35
WITHIN = 0.7
WEAKER = 0.3


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


def _turned(*angles_deg: float) -> tuple[Pass, ...]:
    return tuple(Pass(smallest=36.0, angle_deg=angle, growth=1.2) for angle in angles_deg)


def _far(angle_deg: float, smallest: float, for_long_side: int) -> Pass:
    largest = 2 * smallest
    return Pass(960, smallest, largest, angle_deg, border=0.0, for_long_side=for_long_side)


USUAL = (
    Pass(),
    *_turned(-15.0, 15.0, -30.0, 30.0),
    _far(0.0, 24.0, 960),
    _far(-20.0, 36.0, 1600),
    _far(20.0, 36.0, 1600),
)
"""Faces from 1/20 of the longer side of the photo; in large photos, which may show a group, from 1/40."""

THOROUGH = (Pass(mirrored=True), *_turned(-45.0, 45.0, -60.0, 60.0, -90.0, 90.0, 180.0))
"""What is tried on top when the usual sweeps find nothing sure: lying and upside-down faces."""

EVEN_SUPPORT = 4.0
"""Support of a candidate that gets the score 0.5: nearly every face has more, and few other places."""

SURE = 0.5
"""Score under which even the best candidate of a photo leads to a longer search."""

FAINT = 0.11
"""Score under which a candidate is dropped."""

VISIBLE = 0.55
"""Least share of a candidate's box that lies in the photo."""

DESPERATE = 0.02
"""Score of the guess that a small, roughly square photo is one face."""


def find_with_cascade(photo: Photo, *, thorough: bool = False) -> list[Face]:
    """Candidates of the bundled cascade, best first.

    Args:
        photo: the photo.
        thorough: also look for faces that lie on their side or head, and end the list with the guess that the
            photo as a whole is a face. Done anyway when the usual search finds nothing sure. Three times slower.
    """
    reach = max(photo.width, photo.height)
    hits = _sweep_all(photo, USUAL)
    faces = _faces(photo, group_hits(hits, reach))
    if thorough or not faces or faces[0].score < SURE:
        hits = np.concatenate([hits, _sweep_all(photo, THOROUGH)])
        faces = [*_faces(photo, group_hits(hits, reach)), *_whole_photo(photo)]
    return faces


def _faces(photo: Photo, groups: list[tuple[float, float, float, float]]) -> list[Face]:
    """The candidates worth a look by the network."""
    faces = [
        Face(_landmark_box(x, y, side), support / (EVEN_SUPPORT + support), None, "lbp")
        for x, y, side, support in groups
    ]
    return [face for face in faces if face.score >= FAINT and _visible_share(photo, face.box_px) >= VISIBLE]


def _visible_share(photo: Photo, box: PixelBox) -> float:
    left, top, right, bottom = box
    width = min(right, photo.width - 0.5) - max(left, -0.5)
    height = min(bottom, photo.height - 0.5) - max(top, -0.5)
    return max(width, 0.0) * max(height, 0.0) / ((right - left) * (bottom - top))


def _whole_photo(photo: Photo) -> list[Face]:
    """The guess that a small, roughly square photo is one face with little around it."""
    short, long = sorted((photo.width, photo.height))
    if long > 640 or long > 1.6 * short:
        return []
    half = 0.36 * short  # so that the crop of a landmark box, 1.4 times as wide, is about the photo
    x, y = (photo.width - 1) / 2, (photo.height - 1) / 2
    return [Face((x - half, y - half, x + half, y + half), DESPERATE, None, "lbp")]


def _landmark_box(x: float, y: float, side: float) -> PixelBox:
    y += BOX_DROP * side
    half_width, half_height = BOX_WIDTH * side / 2, BOX_HEIGHT * side / 2
    return (x - half_width, y - half_height, x + half_width, y + half_height)


def _sweep_all(photo: Photo, passes: tuple[Pass, ...]) -> np.ndarray:
    """Hits [N, 4] of all sweeps meant for a photo of this size, in the order of the passes."""
    passes = tuple(one for one in passes if max(photo.width, photo.height) >= one.for_long_side)
    frontal_face_cascade()  # read it once, before the threads
    greys = _greys(photo, {one.long_side for one in passes})
    with ThreadPoolExecutor(max_workers=min(len(passes), os.cpu_count() or 1, 4)) as pool:
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


def group_hits(hits: np.ndarray, reach: float) -> list[tuple[float, float, float, float]]:
    """Merge overlapping hits into candidates.

    Args:
        hits: [N, 4], centre x, y, side and score.
        reach: length that sides are compared with: a false hit is the likelier the smaller the window, because
            there are more of them, so support is weighted by side / reach.

    Returns:
        centre x, y, side and support of the candidates, most support first.
    """
    hits = hits[hits[:, 3] >= FAINTEST]
    weights = np.exp(STEEPNESS * (hits[:, 3] - EVEN))
    sides = hits[:, 2]
    shared = _intersections(hits)
    areas = sides**2
    union = areas[:, None] + areas - shared
    overlap = shared / union
    support = ((overlap > SAME) @ weights) * sides / reach
    left = np.ones(len(hits), dtype=bool)
    groups: list[tuple[float, float, float, float]] = []
    while left.any():
        best = int(np.argmax(np.where(left, support, -1.0)))
        members = overlap[best] > SAME
        x, y = np.average(hits[members, :2], axis=0, weights=weights[members])
        side = math.exp(np.average(np.log(sides[members]), weights=weights[members]))
        groups.append((float(x), float(y), side, float(support[best])))
        inside = (shared[best] / areas > WITHIN) & (support < WEAKER * support[best])
        left &= ~((overlap[best] > RIVAL) | inside)
        left[best] = False
    return groups


def _intersections(hits: np.ndarray) -> np.ndarray:
    """Common area of every pair of square windows, [N, N]."""
    half = hits[:, 2] / 2
    common = np.ones((len(hits), len(hits)))
    for axis in (0, 1):
        low, high = hits[:, axis] - half, hits[:, axis] + half
        common *= np.clip(np.minimum(high[:, None], high) - np.maximum(low[:, None], low), 0, None)
    return common
