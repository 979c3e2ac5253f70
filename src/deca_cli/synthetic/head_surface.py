"""Points on the surface of a triangle mesh: nearest points and rays along the line of sight."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

TIE = 1e-7  # metres: nearer than this, the triangle with the lower number wins, whatever the rounding
WEIGHT_DIGITS = 6  # barycentric coordinates are rounded, so that edges and corners give exact zeros


@dataclass(frozen=True)
class SurfacePoints:
    """Triangle [N] and barycentric coordinates [N,3] of points on the mesh."""

    faces: np.ndarray
    barycentrics: np.ndarray

    def positions(self, vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
        """Positions [N,3] on the mesh with these vertices."""
        return np.einsum("nk,nkd->nd", self.barycentrics, vertices[faces[self.faces]])


def _segment_share(point: np.ndarray, start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """Nearest position along segments [F], 0 at start and 1 at end."""
    along = end - start
    return np.clip(((point - start) * along).sum(1) / np.maximum((along**2).sum(1), 1e-18), 0.0, 1.0)


def _nearest_on_triangles(point: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """Barycentric coordinates [F,3] of the point of each triangle [F,3,3] that is nearest to `point`."""
    a, b, c = corners[:, 0], corners[:, 1], corners[:, 2]
    normal = np.cross(b - a, c - a)
    squared = np.maximum((normal**2).sum(1), 1e-24)
    weight_b = (np.cross(point - a, c - a) * normal).sum(1) / squared
    weight_c = (np.cross(b - a, point - a) * normal).sum(1) / squared
    inner = np.stack([1.0 - weight_b - weight_c, weight_b, weight_c], 1)
    candidates = [inner]
    for start, end in ((0, 1), (1, 2), (2, 0)):
        share = _segment_share(point, corners[:, start], corners[:, end])
        edge = np.zeros_like(inner)
        edge[:, start], edge[:, end] = 1.0 - share, share
        candidates.append(edge)
    stacked = np.stack(candidates)  # [4,F,3]
    distance = np.linalg.norm(np.einsum("cfk,fkd->cfd", stacked, corners) - point, axis=-1)
    distance[0][(inner < 0).any(1)] = np.inf
    best = distance.argmin(0)
    return stacked[best, np.arange(len(corners))]


def _rounded(weights: np.ndarray) -> np.ndarray:
    """Barycentric coordinates [3] with few digits that still sum to 1."""
    rounded = np.round(np.clip(weights, 0.0, 1.0), WEIGHT_DIGITS)
    return rounded / rounded.sum()


def nearest_points(
    points: np.ndarray, vertices: np.ndarray, faces: np.ndarray, allowed: np.ndarray
) -> SurfacePoints:
    """Nearest surface points to `points` [N,3] on the triangles marked in `allowed` [F]."""
    ids = np.flatnonzero(allowed)
    corners = vertices[faces[ids]]
    found_faces, found = [], []
    for point in points:
        weights = _nearest_on_triangles(point, corners)
        distance = np.linalg.norm(np.einsum("fk,fkd->fd", weights, corners) - point, axis=1)
        best = int(np.argmax(distance < distance.min() + TIE))
        found_faces.append(ids[best])
        found.append(_rounded(weights[best]))
    return SurfacePoints(np.array(found_faces), np.array(found))


def frontmost_points(
    flat: np.ndarray, vertices: np.ndarray, faces: np.ndarray, allowed: np.ndarray
) -> SurfacePoints:
    """First surface points met by rays along -z at image positions `flat` [N,2]; face -1 where nothing is hit."""
    ids = np.flatnonzero(allowed)
    corners = vertices[faces[ids]]
    (ax, ay), (bx, by), (cx, cy) = (corners[:, k, :2].T for k in range(3))
    area = (bx - ax) * (cy - ay) - (cx - ax) * (by - ay)
    safe = np.where(np.abs(area) < 1e-15, 1e-15, area)
    found_faces, found = np.full(len(flat), -1), np.zeros((len(flat), 3))
    for index, (x, y) in enumerate(flat):
        weight_a = ((bx - x) * (cy - y) - (cx - x) * (by - y)) / safe
        weight_b = ((cx - x) * (ay - y) - (ax - x) * (cy - y)) / safe
        weights = np.stack([weight_a, weight_b, 1.0 - weight_a - weight_b], 1)
        inside = (weights >= -1e-9).all(1) & (area > 1e-15)
        if inside.any():
            depth = np.where(inside, (weights * corners[:, :, 2]).sum(1), -np.inf)
            best = int(
                np.argmax(depth > depth.max() - TIE)
            )  # the lowest number among neighbours that share it
            found_faces[index], found[index] = ids[best], _rounded(weights[best])
    return SurfacePoints(found_faces, found)
