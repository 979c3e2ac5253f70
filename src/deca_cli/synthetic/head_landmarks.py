"""The 68 iBUG landmarks on the open head: a fixed set, and a jaw line that follows the yaw of the head."""

from __future__ import annotations

import numpy as np

from deca_cli.synthetic.head_landmark_points import landmark_targets
from deca_cli.synthetic.head_regions import Parts
from deca_cli.synthetic.head_source import SourceHead
from deca_cli.synthetic.head_surface import SurfacePoints, frontmost_points, nearest_points

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


# Numbers of the points on the other side of the face.
MIRROR_68 = np.array(
    [*range(16, -1, -1), *range(26, 16, -1), 27, 28, 29, 30, 35, 34, 33, 32, 31, 45, 44, 43, 42, 47, 46, 39, 38, 37,
     36, 41, 40, 54, 53, 52, 51, 50, 49, 48, 59, 58, 57, 56, 55, 64, 63, 62, 61, 60, 67, 66, 65]
)  # fmt: skip


def fixed_landmarks(source: SourceHead, mean: np.ndarray, parts: Parts) -> SurfacePoints:
    """All 68 points on the mean head [V,3]: the subject's left half is placed, the right half mirrors it."""
    targets = landmark_targets(source, mean, parts)
    left = nearest_points(targets, mean, source.faces, parts.main)
    right = mirror_points(left, source)
    faces, barycentrics = left.faces.copy(), left.barycentrics.copy()
    for number in range(68):
        if targets[number, 0] < -1e-6:
            faces[number] = right.faces[MIRROR_68[number]]
            barycentrics[number] = right.barycentrics[MIRROR_68[number]]
    return SurfacePoints(faces, barycentrics)


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
