"""Crop, landmark alignment and rigid refinement of the NoW protocol (Sanyal et al., CVPR 2019, and its public code).

A prediction meets a scan in three steps: cut the scan to the face (`face_region`), fit the seven landmarks
(`fit_landmarks`), then move the whole surface onto the scan (`refine`). All lengths are the scan's millimetres.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numba import njit

from deca_cli.evaluate.dogleg import Evaluation, minimise
from deca_cli.evaluate.geometry import spatial_order

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from deca_cli.evaluate.geometry import Surface

EYE_RIGHT_OUTER, EYE_RIGHT_INNER, EYE_LEFT_INNER, EYE_LEFT_OUTER, NOSE_BOTTOM, MOUTH_RIGHT, MOUTH_LEFT = (
    range(7)
)
NOW_RADIUS = 1.4  # of the mean of eye distance and nose length
CENTRE_ABOVE_NOSE = 0.3  # of the way from the nose bottom to the bridge


@dataclass(frozen=True)
class Sphere:
    """The part of a scan that is measured, mm."""

    centre: NDArray[np.float64]  # [3]
    radius: float

    def holds(self, points: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Which of the points [N, 3] lie inside or on the sphere."""
        offsets = points - self.centre
        return np.sqrt((offsets * offsets).sum(1)) <= self.radius


@dataclass(frozen=True)
class Similarity:
    """v -> scale * rotation @ v + translation; the rotation may hold a reflection."""

    scale: float
    rotation: NDArray[np.float64]  # [3, 3]
    translation: NDArray[np.float64]  # [3]

    def apply(self, points: NDArray[np.floating]) -> NDArray[np.float64]:
        """Move points [N, 3]."""
        return _rows_times(np.asarray(points, np.float64), self.scale * self.rotation.T) + self.translation

    def after(self, first: Similarity) -> Similarity:
        """Do `first`, then this."""
        return Similarity(
            self.scale * first.scale,
            self.rotation @ first.rotation,
            self.scale * self.rotation @ first.translation + self.translation,
        )


@dataclass(frozen=True)
class Refinement:
    """Result of `refine`."""

    motion: Similarity  # of the landmark-aligned mesh
    distances: NDArray[np.float64]  # [N] from every scan point to the moved surface, mm
    objective: float  # sum of squared distances, mm^2
    steps: int  # accepted


def _rows_times(rows: NDArray[np.float64], matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rows [N, 3] times a matrix [3, 3]; einsum, because BLAS would wake a thread per core for it."""
    return np.einsum("ni,ij->nj", rows, matrix)


def face_region(landmarks: NDArray[np.floating], radius_factor: float = NOW_RADIUS) -> Sphere:
    """Sphere around the face of a scan with seven landmarks [7, 3]; NoW uses a factor of 1.4, Feng et al. 1.2."""
    marks = np.asarray(landmarks, np.float64)
    bridge = (marks[EYE_RIGHT_INNER] + marks[EYE_LEFT_INNER]) / 2
    nose = bridge - marks[NOSE_BOTTOM]
    eyes = np.linalg.norm(marks[EYE_RIGHT_OUTER] - marks[EYE_LEFT_OUTER])
    radius = radius_factor * (eyes + np.linalg.norm(nose)) / 2
    return Sphere(marks[NOSE_BOTTOM] + CENTRE_ABOVE_NOSE * nose, float(radius))


def fit_landmarks(
    source: NDArray[np.floating], target: NDArray[np.floating], *, reflection: bool = True
) -> Similarity:
    """Least-squares similarity from source [N, 3] to target [N, 3]; `reflection` lets it mirror when that fits better."""
    source, target = np.asarray(source, np.float64), np.asarray(target, np.float64)
    source_mean, target_mean = source.mean(0), target.mean(0)
    source_centred, target_centred = source - source_mean, target - target_mean
    source_size, target_size = np.linalg.norm(source_centred), np.linalg.norm(target_centred)
    u, stretch, vt = np.linalg.svd((target_centred / target_size).T @ (source_centred / source_size))
    if not reflection and np.linalg.det(u @ vt) < 0:
        u, stretch = u * [1, 1, -1], stretch * [1, 1, -1]
    rotation = u @ vt
    scale = float(stretch.sum() * target_size / source_size)
    return Similarity(scale, rotation, target_mean - scale * rotation @ source_mean)


def with_known_scale(fit: Similarity, scale: float) -> Similarity:
    """The metrical start: the known unit replaces the fitted scale, but the translation stays the fitted one.

    So the start is off by (scale - fit.scale) rotation @ mean(source). The official code does this, and numbers are
    only comparable when it is kept.
    """
    return Similarity(scale, fit.rotation, fit.translation)


def refine(surface: Surface, points: NDArray[np.float64], *, free_scale: bool) -> Refinement:
    """Move the surface onto scan points [N, 3] by minimising the sum of their squared distances to it.

    Unknowns: scale (only when free), rotation vector about the frame's origin, translation, in this order.
    """
    parameters = np.array([1.0, 0, 0, 0, 0, 0, 0]) if free_scale else np.zeros(6)
    order = spatial_order(points)
    result = minimise(_SurfaceDistance(surface, points[order]).evaluate, parameters)
    distances = np.empty(len(points))
    distances[order] = result.evaluation.residuals
    return Refinement(_motion(result.parameters), distances, result.evaluation.objective, result.steps)


def _motion(parameters: NDArray[np.float64]) -> Similarity:
    scale = float(parameters[0]) if len(parameters) == 7 else 1.0
    return Similarity(scale, rotation_matrix(parameters[-6:-3]), parameters[-3:])


class _SurfaceDistance:
    """Distances to a moved surface, found by moving the points back, so that the tree is built once."""

    def __init__(self, surface: Surface, points: NDArray[np.float64]) -> None:
        self.surface, self.points = surface, points
        self.hint: NDArray[np.int64] | None = None

    def evaluate(self, parameters: NDArray[np.float64]) -> Evaluation:
        motion = _motion(parameters)
        back = _rows_times(
            self.points - motion.translation, motion.rotation / motion.scale
        )  # R^T (x - t) / s
        closest = self.surface.closest(back, self.hint)
        self.hint = closest.triangles
        distances = closest.distances * motion.scale

        def normal_equations() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
            return _normal_equations(parameters, motion, back, closest.points, distances)

        return Evaluation(distances, float(np.square(distances).sum()), normal_equations)


def _normal_equations(
    parameters: NDArray[np.float64],
    motion: Similarity,
    back: NDArray[np.float64],
    found: NDArray[np.float64],
    distances: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """J^T J and -J^T d, with every closest point q = s R v + t carried along by the motion.

    A row of J is -n . dq/dx, n the unit vector from q to the scan point. In the mesh's frame e = R^T n, so
    n . dq/ds = e . v, n . dq/dt = R e and n . dq/dr = s Jr^T (v x e) with the right Jacobian Jr of the rotation.
    """
    plain, right = _accumulate(back, found, distances, motion.scale)
    chain = np.zeros((7, 7))
    chain[0, 0] = 1
    chain[1:4, 1:4] = motion.scale * right_jacobian(parameters[-6:-3]).T
    chain[4:, 4:] = motion.rotation
    chain = chain[-len(parameters) :]
    return chain @ plain @ chain.T, chain @ right


@njit(cache=True, nogil=True)
def _accumulate(back, found, distances, scale):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Sums of b b^T [7, 7] and b d [7] over the points, b = (e . v, v x e, e); plain loops, as BLAS would use threads."""
    matrix, right = np.zeros((7, 7)), np.zeros(7)
    row = np.empty(7)
    for n in range(len(distances)):
        if distances[n] == 0.0:
            continue  # on the surface: no direction, nothing to gain
        inverse = scale / distances[n]
        vx, vy, vz = found[n]
        ex, ey, ez = (back[n, 0] - vx) * inverse, (back[n, 1] - vy) * inverse, (back[n, 2] - vz) * inverse
        row[0] = ex * vx + ey * vy + ez * vz
        row[1], row[2], row[3] = vy * ez - vz * ey, vz * ex - vx * ez, vx * ey - vy * ex
        row[4], row[5], row[6] = ex, ey, ez
        for i in range(7):
            right[i] += row[i] * distances[n]
            for j in range(i, 7):
                matrix[i, j] += row[i] * row[j]
    for i in range(7):
        for j in range(i):
            matrix[i, j] = matrix[j, i]
    return matrix, right


def _cross_matrix(vector: NDArray[np.float64]) -> NDArray[np.float64]:
    x, y, z = vector
    return np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])


def rotation_matrix(vector: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rodrigues' formula: rotation vector [3] in radians -> matrix [3, 3]."""
    angle = float(np.linalg.norm(vector))
    cross = _cross_matrix(vector)
    if angle < 1e-8:  # the series is exact to rounding here
        return np.eye(3) + cross + cross @ cross / 2
    return np.eye(3) + np.sin(angle) / angle * cross + (1 - np.cos(angle)) / angle**2 * cross @ cross


def right_jacobian(vector: NDArray[np.float64]) -> NDArray[np.float64]:
    """Jr [3, 3] with R(r + dr) = R(r) exp([Jr dr]) to first order (Sola, "A micro Lie theory", eq. 143)."""
    angle = float(np.linalg.norm(vector))
    cross = _cross_matrix(vector)
    if angle < 1e-5:
        return np.eye(3) - cross / 2 + cross @ cross / 6
    first, second = (1 - np.cos(angle)) / angle**2, (angle - np.sin(angle)) / angle**3
    return np.eye(3) - first * cross + second * cross @ cross
