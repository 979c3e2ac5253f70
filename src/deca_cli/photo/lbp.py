"""The face detector that is always there: scikit-image's cascade over scales and in-plane rotations.

Every window that passes the (slightly loosened) cascade is a hit with a score. Hits are then summed where they
overlap: a face gathers many good hits over neighbouring places, scales and rotations, a false one few and weak.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from deca_cli.photo.cascade import frontal_face_cascade, scan
from deca_cli.photo.crop import PixelBox
from deca_cli.photo.face import Face
from deca_cli.photo.read import Photo

# From the cascade's window to the box of the 68 landmarks, in units of the window's side.
BOX_WIDTH = 0.87
BOX_HEIGHT = 0.86
BOX_DROP = 0.15

# A hit of score q weighs exp(STEEPNESS * (q - EVEN)); hits under FAINTEST are dropped.
STEEPNESS = 4.0
EVEN = 1.6
FAINTEST = 1.2

# Hits sum up where their windows overlap by more than SAME (intersection over union). A candidate removes
# all hits that overlap it by more than RIVAL, and smaller ones that lie inside it by more than WITHIN.
SAME = 0.5
RIVAL = 0.35
WITHIN = 0.7


@dataclass(frozen=True)
class Pass:
    """One sweep over a photo.

    Attributes:
        long_side: the photo is scaled so that its longer side has this many pixels.
        largest: windows up to this many pixels of the scaled photo; the smallest is the cascade's own 24.
        growth: ratio of one window size to the next.
        stride: pixels between windows, at the size where the window is 24 pixels.
        angles_deg: in-plane rotations that are searched.
        slack: see `scan`.
        border: width of the repeated border over the longer side; lets faces be found that fill the photo.
    """

    long_side: int
    largest: float = math.inf
    growth: float = 1.15
    stride: int = 1
    angles_deg: tuple[float, ...] = (0.0, -20.0, 20.0)
    slack: float = 0.2
    border: float = 0.15


LARGE = Pass(long_side=480)
SMALL = Pass(long_side=960, largest=48, stride=2, angles_deg=(0.0,), border=0.0)


def find_with_cascade(photo: Photo) -> list[Face]:
    """Candidates of the bundled cascade, best first."""
    passes = (LARGE, SMALL) if max(photo.width, photo.height) >= SMALL.long_side else (LARGE,)
    hits = np.concatenate([_sweep(photo, one) for one in passes])
    reach = max(photo.width, photo.height)
    return [
        Face(_landmark_box(x, y, side), support / (1.0 + support), None, "lbp")
        for x, y, side, support in group_hits(hits, reach)
    ]


def _landmark_box(x: float, y: float, side: float) -> PixelBox:
    y += BOX_DROP * side
    half_width, half_height = BOX_WIDTH * side / 2, BOX_HEIGHT * side / 2
    return (x - half_width, y - half_height, x + half_width, y + half_height)


def _sweep(photo: Photo, one: Pass) -> np.ndarray:
    """Hits [N, 4] of one sweep: centre x, y and side of the window in photo pixels, score."""
    scale = one.long_side / max(photo.width, photo.height)
    size = (max(round(photo.width * scale), 1), max(round(photo.height * scale), 1))
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    grey = cv2.cvtColor(cv2.resize(photo.pixels, size, interpolation=how), cv2.COLOR_RGB2GRAY)
    border = round(one.border * one.long_side)
    framed = cv2.copyMakeBorder(grey, border, border, border, border, cv2.BORDER_REPLICATE)
    hits = [np.empty((0, 4))]
    for angle in one.angles_deg:
        turned, back = _turn(framed, angle)
        for corners, scores, side, ratio in _scan_scales(turned, one):
            centres = (corners + frontal_face_cascade().window / 2) * ratio - 0.5
            centres = centres @ back[:, :2].T + back[:, 2] - border
            centres = (centres + 0.5) / scale - 0.5
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


def _scan_scales(grey: np.ndarray, one: Pass) -> Iterator[tuple[np.ndarray, np.ndarray, float, np.ndarray]]:
    """For every window size: corners and scores of the hits, the size in pixels of `grey`, and the shrinking ratio."""
    cascade = frontal_face_cascade()
    height, width = grey.shape
    side = float(cascade.window)
    while side <= min(one.largest, height, width):
        scale = cascade.window / side
        size = (round(width * scale), round(height * scale))
        level = cv2.resize(grey, size, interpolation=cv2.INTER_AREA)
        corners, scores = scan(cascade, level, one.stride, one.slack)
        if len(scores):
            yield corners, scores, side, np.array([width / size[0], height / size[1]])
        side *= one.growth


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
        inside = (shared[best] / areas > WITHIN) & (areas < areas[best])
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
