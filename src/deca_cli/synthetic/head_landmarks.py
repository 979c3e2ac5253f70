"""The 68 iBUG landmarks on the open head: a fixed set, and a jaw line that follows the yaw of the head."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from deca_cli.synthetic.head_landmark_points import RIGHT_OF, left_landmarks
from deca_cli.synthetic.head_surface import SurfacePoints, frontmost_points

if TYPE_CHECKING:
    from deca_cli.synthetic.head_regions import Parts
    from deca_cli.synthetic.head_source import SourceHead

JAW = 17
LARGEST_YAW = 39
CURVE_SAMPLES = 240
CURVE_END = 0.35  # share of the way from the mouth to the jaw point where the sliding curve ends
SMOOTHING = 7  # bins, odd


def mirror_points(points: SurfacePoints, source: SourceHead) -> SurfacePoints:
    """The same points on the other side of the head: mirrored triangles, mirrored corners."""
    table = {tuple(sorted(face)): index for index, face in enumerate(source.faces.tolist())}
    faces, barycentrics = [], []
    for face, weights in zip(points.faces, points.barycentrics, strict=True):
        corners = source.mirror[source.faces[face]]
        other = table[tuple(sorted(corners.tolist()))]
        where = [corners.tolist().index(vertex) for vertex in source.faces[other].tolist()]
        faces.append(other)
        barycentrics.append(weights[where])
    return SurfacePoints(np.array(faces), np.array(barycentrics))


def fixed_landmarks(source: SourceHead, mean: np.ndarray, parts: Parts) -> SurfacePoints:
    """All 68 points on the mean head [V,3]: the subject's left half is placed, the right half mirrors it."""
    left = left_landmarks(source, mean, parts)
    mirrored = {16 - number: mirror_points(left[number], source) for number in range(9, JAW)}
    mirrored |= {right: mirror_points(left[number], source) for right, number in RIGHT_OF.items()}
    points = [(left | mirrored)[number] for number in range(68)]
    return SurfacePoints(
        np.concatenate([point.faces for point in points]),
        np.concatenate([point.barycentrics for point in points]),
    )


def _sliding_curve(
    start: np.ndarray, centre: np.ndarray, source: SourceHead, mean: np.ndarray, parts: Parts
) -> SurfacePoints:
    """Surface points from a jaw point inwards along a radius, seen from the front."""
    share = np.linspace(1.0, CURVE_END, CURVE_SAMPLES)
    flat = centre[:2] + share[:, None] * (start[:2] - centre[:2])
    hits = frontmost_points(flat, mean, source.faces, parts.main)
    hit = hits.faces >= 0
    return SurfacePoints(hits.faces[hit], hits.barycentrics[hit])


def _silhouette_steps(positions: np.ndarray, outward: np.ndarray) -> np.ndarray:
    """For yaw 0..39 degrees, the step along the curve [N,3] that lies farthest out in the picture. [40]."""
    steps = []
    for yaw in np.radians(np.arange(LARGEST_YAW + 1)):
        across = positions[:, 0] * np.cos(yaw) + positions[:, 2] * np.sin(yaw)
        steps.append(int(np.argmax(outward[0] * across + outward[1] * positions[:, 1])))
    slid = np.maximum.accumulate(np.array(steps, float)) - steps[0]
    kernel = np.ones(SMOOTHING) / SMOOTHING
    padded = np.concatenate([-slid[SMOOTHING // 2 : 0 : -1], slid, np.repeat(slid[-1], SMOOTHING // 2)])
    smooth = np.convolve(padded, kernel, mode="valid")
    return np.maximum.accumulate(np.maximum(np.rint(smooth), 0)).astype(int)


def contour_landmarks(
    source: SourceHead, mean: np.ndarray, parts: Parts, fixed: SurfacePoints
) -> tuple[np.ndarray, np.ndarray]:
    """Triangles [79,17] and barycentrics [79,17,3] of the jaw line by yaw bin (0..39, then -1..-39 degrees).

    A positive yaw turns the face towards +x and hides the subject's left jaw: points 9..16 then slide over the
    cheek, each along a radius around the mouth, to where that radius reaches farthest out in the picture.
    """
    positions = fixed.positions(mean, source.faces)
    centre = positions[[48, 54]].mean(0)
    faces = np.tile(fixed.faces[:JAW], (2 * LARGEST_YAW + 1, 1))
    barycentrics = np.tile(fixed.barycentrics[:JAW], (2 * LARGEST_YAW + 1, 1, 1))
    for number in range(9, JAW):
        curve = _sliding_curve(positions[number], centre, source, mean, parts)
        along = curve.positions(mean, source.faces)
        outward = positions[number, :2] - centre[:2]
        steps = _silhouette_steps(along, outward / np.linalg.norm(outward))
        other = mirror_points(curve, source)
        for yaw in range(1, LARGEST_YAW + 1):
            if steps[yaw] > 0:
                step = steps[yaw]
                faces[yaw, number], barycentrics[yaw, number] = curve.faces[step], curve.barycentrics[step]
                row, twin = LARGEST_YAW + yaw, 16 - number
                faces[row, twin], barycentrics[row, twin] = other.faces[step], other.barycentrics[step]
    return faces, barycentrics
