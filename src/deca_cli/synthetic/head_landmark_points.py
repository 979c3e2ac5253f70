"""Where the 68 iBUG landmarks lie on the mean open head.

The inner points are given where an annotator would click in a frontal picture, in millimetres from the middle between
the eyeballs (x to the subject's left, y up), for the left half; the right half mirrors it. docs/open-head.md gives
the anatomical reason for each. The jaw line is the frontal outline of the face, divided evenly.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from deca_cli.synthetic.head_regions import EYEBALL_LEFT, Parts
from deca_cli.synthetic.head_surface import SurfacePoints, frontmost_points, nearest_points

if TYPE_CHECKING:
    from deca_cli.synthetic.head_source import SourceHead

INNER_MM = {
    22: (15.5, 15.4),  # brows: upper third of the hair; the brow begins a little inside the line that rises
    23: (
        25.6,
        20.2,
    ),  # from the base of the wing through the inner canthus, and ends beyond the outer canthus
    24: (36.0, 22.0),
    25: (46.9, 19.6),
    26: (55.8, 13.8),
    27: (
        0.0,
        -1.0,
    ),  # sellion, the deepest point of the profile; 28, 29 divide the ridge evenly down to the tip
    28: (0.0, -13.6),
    29: (0.0, -26.2),
    30: (0.0, -38.8),  # middle of the tip
    33: (0.0, -50.6),  # subnasale
    34: (7.2, -48.2),  # below the middle of the nostril
    35: (14.0, -46.6),  # below the nostril's outer end, inside the widest place of the wing
    42: (18.4, -3.8),  # inner canthus
    43: (26.6, 2.6),  # lash line of the upper lid, at about one and two thirds
    44: (36.0, 2.9),
    45: (44.3, -1.6),  # outer canthus, where the white ends
    46: (36.4, -6.2),  # lash line of the lower lid
    47: (27.0, -6.1),
    51: (0.0, -64.4),  # upper vermilion border: dip of the cupid's bow
    52: (6.2, -63.4),  # its peak
    53: (15.0, -66.6),
    54: (24.3, -73.3),  # corner of the mouth
    55: (15.8, -79.2),  # lower vermilion border
    56: (7.0, -81.9),
    57: (0.0, -82.5),
}
# The lips meet where the surface folds inwards, out of reach of a frontal ray: nearest points to (x, y, z).
LIP_LINE_MM = {
    62: (0.0, -72.8, 28.3),
    63: (6.6, -72.5, 27.8),
    64: (21.3, -73.3, 20.0),
    65: (6.6, -72.6, 29.0),
    66: (0.0, -72.7, 29.6),
}
LOWER_LIP_MOTION = 0.012  # metres that jawOpen moves the lower lip's inner edge at least
RIGHT_OF = {
    17: 26, 18: 25, 19: 24, 20: 23, 21: 22, 31: 35, 32: 34, 36: 45, 37: 44, 38: 43, 39: 42, 40: 47, 41: 46,
    48: 54, 49: 53, 50: 52, 58: 56, 59: 55, 60: 64, 61: 63, 67: 65,
}  # fmt: skip

VISIBLE_EDGE = 0.20  # forward part of the unit normal where the face turns out of sight in a frontal picture
JAW_START_MM = -8.0  # height of points 0 and 16 above the eyes
OUTLINE_RADII = np.linspace(0.035, 0.11, 151)
OUTLINE_ANGLES = np.radians(np.linspace(-90.0, 50.0, 141))


def face_origin(mean: np.ndarray) -> np.ndarray:
    """Middle between the eyeballs [3]."""
    return mean[EYEBALL_LEFT].mean(0) * np.array([0.0, 1.0, 1.0])


def _normals(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Unit vertex normals [V,3], weighted by area."""
    corners = vertices[faces]
    flat = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    total = np.zeros_like(vertices)
    for corner in range(3):
        np.add.at(total, faces[:, corner], flat)
    return total / np.maximum(np.linalg.norm(total, axis=1, keepdims=True), 1e-12)


def _outline(mean: np.ndarray, source: SourceHead, parts: Parts, centre: np.ndarray) -> np.ndarray:
    """Frontal outline [N,2] of the left half of the face around `centre` [2], from the chin upwards."""
    normals = _normals(mean, source.faces)
    left_front = (
        parts.main & (mean[source.faces][:, :, 0].min(1) > -0.005) & (mean[source.faces][:, :, 2].max(1) > 0)
    )
    points = []
    for angle in OUTLINE_ANGLES:
        flat = centre + OUTLINE_RADII[:, None] * np.array([np.cos(angle), np.sin(angle)])
        hits = frontmost_points(flat, mean, source.faces, left_front)
        forward = hits.positions(normals, source.faces)
        turned = (hits.faces < 0) | (forward[:, 2] < VISIBLE_EDGE * np.linalg.norm(forward, axis=1))
        points.append(flat[int(np.argmax(turned))])
    outline = np.array(points)
    kernel = np.ones(9) / 9
    mirrored = np.concatenate([outline[4:0:-1] * np.array([-1.0, 1.0]), outline])
    smooth = [np.convolve(mirrored[:, axis], kernel, mode="valid") for axis in range(2)]
    return np.stack(smooth, 1)


def jaw_targets(mean: np.ndarray, source: SourceHead, parts: Parts) -> np.ndarray:
    """Flat positions [9,2] of the jaw points 8..16: the outline divided evenly from the chin to ear height."""
    origin = face_origin(mean)
    centre = origin[:2] + 0.001 * np.array([0.0, INNER_MM[54][1]])
    outline = _outline(mean, source, parts, centre)
    outline[0, 0] = 0.0
    end = int(np.argmax(outline[:, 1] >= origin[1] + 0.001 * JAW_START_MM))
    outline = outline[: end + 1]
    length = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(outline, axis=0), axis=1))])
    even = np.linspace(0.0, length[-1], 9)
    return np.stack([np.interp(even, length, outline[:, axis]) for axis in range(2)], 1)


def left_landmarks(source: SourceHead, mean: np.ndarray, parts: Parts) -> dict[int, SurfacePoints]:
    """Surface points of the left half and the middle line by landmark number (8..16, 22..30, ...)."""
    origin = face_origin(mean)
    flat = {number: origin[:2] + 0.001 * np.array(xy) for number, xy in INNER_MM.items()}
    flat |= dict(zip(range(8, 17), jaw_targets(mean, source, parts), strict=True))
    hits = frontmost_points(np.array(list(flat.values())), mean, source.faces, parts.main)
    points = {
        number: SurfacePoints(hits.faces[[row]], hits.barycentrics[[row]]) for row, number in enumerate(flat)
    }
    jaw_open = source.actions[source.action_names.index("jawOpen")]
    lowered = np.linalg.norm(jaw_open[source.faces], axis=-1).mean(1) > LOWER_LIP_MOTION
    surface = parts.main | parts.pieces["mouth"]
    for number, xyz in LIP_LINE_MM.items():
        lip = surface & (lowered if number > 64 else ~lowered)
        lip = surface if number == 64 else lip
        points[number] = nearest_points(origin[None] + 0.001 * np.array([xyz]), mean, source.faces, lip)
    return points
