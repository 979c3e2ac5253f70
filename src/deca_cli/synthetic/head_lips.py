"""Closing the lips of the mean head: MakeHuman's leave a slit through which the teeth would shine."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from deca_cli.synthetic.head_regions import Parts, distance_to_polyline

if TYPE_CHECKING:
    from deca_cli.synthetic.head_source import SourceHead

LIFT = 0.0003  # metres that each lip moves at the middle of the mouth
CORNER_LIFT = 0.0009  # and in addition at its corners
REACH = 0.0025  # metres from the lip line over which the shift fades
PARTING = (0.006, 0.016)  # motion under jawOpen, metres: below it is upper lip, above it lower lip


def lip_line(landmarks: np.ndarray) -> np.ndarray:
    """Where the closed lips touch, from the right corner to the left one [5,3], from the 68 landmarks [68,3]."""
    upper, lower = landmarks[[61, 62, 63]], landmarks[[67, 66, 65]]
    return np.concatenate([landmarks[[60]], 0.5 * (upper + lower), landmarks[[64]]])


def upper_side(source: SourceHead) -> np.ndarray:
    """[V] 1 on what stays with the upper jaw, -1 on what the lower jaw takes along, between them in between."""
    motion = np.linalg.norm(source.actions[source.action_names.index("jawOpen")], axis=1)
    motion = 0.5 * (motion + motion[source.mirror])
    still, taken = PARTING
    return -np.clip(2.0 * (motion - still) / (taken - still) - 1.0, -1.0, 1.0)


def seal_lips(mean: np.ndarray, landmarks: np.ndarray, source: SourceHead, parts: Parts) -> np.ndarray:
    """The mean head [V,3] with its lips pressed together by less than a millimetre."""
    line = lip_line(landmarks)
    along = np.minimum(np.abs(mean[:, 0]) / line[-1, 0], 1.15)
    shift = (LIFT + CORNER_LIFT * along**2) * np.exp(-((distance_to_polyline(mean, line) / REACH) ** 2))
    sealed = mean.copy()
    skin = np.unique(source.faces[parts.main | parts.pieces["mouth"]])
    sealed[skin, 1] -= upper_side(source)[skin] * shift[skin]
    return sealed
