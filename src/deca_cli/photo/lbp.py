"""The face detector that is always there: scikit-image's cascade over scales and in-plane rotations.

Every window that passes the (slightly loosened) cascade is a hit with a score. Hits are then summed where they
overlap: a face gathers many good hits over neighbouring places, scales and rotations, a false one few and weak.
"""

import math

import numpy as np

from deca_cli.photo.crop import PixelBox
from deca_cli.photo.face import Face
from deca_cli.photo.read import Photo
from deca_cli.photo.sweeps import Pass, grey_copies, leaving_out, sweep_all

# From the cascade's window to the box of the 68 landmarks, in units of the window's side.
BOX_WIDTH = 0.84
BOX_HEIGHT = 0.83
BOX_DROP = 0.15

# A hit of score q weighs exp(STEEPNESS * (q - EVEN)); hits under FAINTEST are dropped.
STEEPNESS = 3.0
EVEN = 1.6
FAINTEST = 1.2
MOST_HITS = 2000  # the best of a crowd; real portraits give under 400

# Hits sum up where their windows overlap by more than SAME (intersection over union). A candidate removes
# all hits that overlap it by more than RIVAL, and those with under WEAKER of its support that lie inside it by
# more than WITHIN.
SAME = 0.5
RIVAL = 0.35
WITHIN = 0.7
WEAKER = 0.3


def _turned(*angles_deg: float) -> tuple[Pass, ...]:
    return tuple(
        Pass(400, smallest=30.0, dense_from=40.0, fine_after=4, angle_deg=angle, growth=1.2)
        for angle in angles_deg
    )


def _far(angle_deg: float, smallest: float, for_long_side: int) -> Pass:
    largest = 2 * smallest
    return Pass(960, smallest, largest, angle_deg, dense_from=0.0, border=0.0, for_long_side=for_long_side)


USUAL = (
    Pass(),
    _far(0.0, 24.0, 960),
    *_turned(-15.0, 15.0, -30.0, 30.0),
    _far(-20.0, 36.0, 1600),
    _far(20.0, 36.0, 1600),
)
"""Faces from 1/20 of the longer side of the photo; in large photos, which may show a group, from 1/40."""

THOROUGH = (Pass(mirrored=True), *_turned(-45.0, 45.0, -60.0, 60.0, -90.0, 90.0, 180.0))
"""What is tried on top when the usual sweeps find nothing sure: lying and upside-down faces."""

EVEN_SUPPORT = 4.0
"""Support of a candidate that gets the score 0.5: nearly every face has more, and few other places."""

COMPANY = 0.5
"""Least size of a turned face that is looked for beside a plain upright one, compared with that. What supports the upright
one is larger than that, so its place and score stay the same. A thorough search has no such limit."""

PLAIN = 0.6
"""Score from upright sweeps alone from which on a face is plain."""

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
    hits = _usual_hits(photo, reach, complete=thorough)
    faces = _faces(photo, group_hits(hits, reach, _support(FAINT)))
    if thorough or not faces or faces[0].score < SURE:
        hits = np.concatenate([hits, sweep_all(photo, THOROUGH)])
        faces = [*_faces(photo, group_hits(hits, reach, _support(FAINT))), *_whole_photo(photo)]
    return faces


def _usual_hits(photo: Photo, reach: int, *, complete: bool) -> np.ndarray:
    """Hits of the usual sweeps; turned ones leave out what is small beside a plain upright face unless they are complete."""
    plain = [one for one in USUAL if one.angle_deg == 0]
    greys = grey_copies(photo, plain)
    upright = sweep_all(photo, plain, greys)
    sides = group_hits(upright, reach, _support(PLAIN))[:, 2]
    least = 0.0 if complete or len(sides) == 0 else COMPANY * sides.max() / reach
    turned = [left for one in USUAL if one.angle_deg != 0 and (left := leaving_out(one, least, reach))]
    return np.concatenate([upright, sweep_all(photo, turned, grey_copies(photo, turned, greys))])


def _faces(photo: Photo, groups: np.ndarray) -> list[Face]:
    """The candidates worth a look by the network."""
    faces = [
        Face(_landmark_box(x, y, side), support / (EVEN_SUPPORT + support), None, "lbp")
        for x, y, side, support in groups.tolist()
    ]
    return [face for face in faces if _visible_share(photo, face.box_px) >= VISIBLE]


def _support(score: float) -> float:
    """Of candidates with this score."""
    return EVEN_SUPPORT * score / (1 - score)


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


def group_hits(hits: np.ndarray, reach: float, least: float = 0.0) -> np.ndarray:
    """Merge overlapping hits into candidates.

    Args:
        hits: [N, 4], centre x, y, side and score.
        reach: length that sides are compared with: a false hit is the likelier the smaller the window, because
            there are more of them, so support is weighted by side / reach.
        least: support that a candidate must have.

    Returns:
        [M, 4]: centre x, y, side and support of the candidates, most support first.
    """
    hits = hits[hits[:, 3] >= FAINTEST]
    hits = hits[np.argsort(-hits[:, 3], kind="stable")[:MOST_HITS]]
    weights = np.exp(STEEPNESS * (hits[:, 3] - EVEN))
    sides = hits[:, 2]
    shared, overlap = _overlaps(hits, hits)
    support = ((overlap > SAME) @ weights) * sides / reach
    left = np.ones(len(hits), dtype=bool)
    groups = np.empty((0, 4))
    while left.any():
        best = int(np.argmax(np.where(left, support, -1.0)))
        if support[best] < least:
            break
        members = overlap[best] > SAME
        centre = np.average(hits[members, :2], axis=0, weights=weights[members])
        side = math.exp(np.average(np.log(sides[members]), weights=weights[members]))
        group = np.array([[*centre, side, support[best]]])
        # Averaging may move a group onto an earlier one that shares members with it.
        if not (_overlaps(group, groups)[1] > RIVAL).any():
            groups = np.concatenate([groups, group])
        inside = (shared[best] / sides**2 > WITHIN) & (support < WEAKER * support[best])
        left &= ~((overlap[best] > RIVAL) | inside)
        left[best] = False
    return groups


def _overlaps(some: np.ndarray, others: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Common area, and intersection over union, of every pair of square windows; both [N, M]."""
    shared = np.ones((len(some), len(others)))
    for axis in (0, 1):
        low = np.maximum(some[:, None, axis] - some[:, None, 2] / 2, others[:, axis] - others[:, 2] / 2)
        high = np.minimum(some[:, None, axis] + some[:, None, 2] / 2, others[:, axis] + others[:, 2] / 2)
        shared *= np.clip(high - low, 0, None)
    return shared, shared / (some[:, None, 2] ** 2 + others[:, 2] ** 2 - shared)
