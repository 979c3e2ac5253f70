"""Flattening a disc-shaped piece of mesh without overlaps.

Every interior vertex is a convex combination of its neighbours and the boundary is convex, so the flat map is
one-to-one (Tutte 1963, Floater 2003: mean value coordinates). The combination is then reweighted so that areas even
out (Yoshizawa, Belyaev and Seidel 2004); the weights stay positive, so the map stays one-to-one.
"""

from __future__ import annotations

import numpy as np
from scipy.sparse import coo_matrix, csr_matrix
from scipy.sparse.linalg import splu


def boundary_loops(faces: np.ndarray) -> list[list[int]]:
    """Closed boundary loops of an oriented triangle list [F,3], each in the direction of its triangles' edges."""
    edges = {(int(a), int(b)) for face in faces for a, b in zip(face, np.roll(face, -1), strict=True)}
    following = {a: b for a, b in edges if (b, a) not in edges}
    loops = []
    while following:
        start = min(following)
        loop, current = [start], following.pop(start)
        while current != start:
            loop.append(current)
            current = following.pop(current)
        loops.append(loop)
    return sorted(loops, key=lambda loop: (-len(loop), loop))


def fill_holes(faces: np.ndarray, vertices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Close all loops but the longest with a fan around a new vertex. Returns faces and vertices [V+holes,3]."""
    _, *holes = boundary_loops(faces)
    new_faces, new_vertices = [faces], [vertices]
    for number, loop in enumerate(holes):
        centre = len(vertices) + number
        new_vertices.append(vertices[loop].mean(0, keepdims=True))
        new_faces.append(np.array([(b, a, centre) for a, b in zip(loop, np.roll(loop, -1), strict=True)]))
    return np.concatenate(new_faces), np.concatenate(new_vertices)


def _mean_value_weights(vertices: np.ndarray, faces: np.ndarray) -> csr_matrix:
    """Floater's mean value weights w_ij = (tan(a/2) + tan(b/2)) / |x_j - x_i|, positive for every edge."""
    rows, columns, values = [], [], []
    for corner in range(3):
        i, j, k = (faces[:, (corner + shift) % 3] for shift in range(3))
        to_j, to_k = vertices[j] - vertices[i], vertices[k] - vertices[i]
        length_j, length_k = np.linalg.norm(to_j, axis=1), np.linalg.norm(to_k, axis=1)
        cosine = (to_j * to_k).sum(1) / np.maximum(length_j * length_k, 1e-18)
        half_tangent = np.tan(0.5 * np.arccos(np.clip(cosine, -0.9999, 0.9999)))
        for other, length in ((j, length_j), (k, length_k)):
            rows.append(i)
            columns.append(other)
            values.append(half_tangent / np.maximum(length, 1e-9))
    index = (np.concatenate(rows), np.concatenate(columns))
    return coo_matrix((np.concatenate(values), index), shape=(len(vertices),) * 2).tocsr()


def _solve(weights: csr_matrix, fixed: np.ndarray, fixed_uv: np.ndarray) -> np.ndarray:
    """Positions [V,2] where each free vertex is the weighted mean of its neighbours."""
    count = weights.shape[0]
    free = np.setdiff1d(np.arange(count), fixed)
    uv = np.zeros((count, 2))
    uv[fixed] = fixed_uv
    rows = weights[free]
    total = np.asarray(rows.sum(1)).ravel()
    system = coo_matrix((total, (np.arange(len(free)),) * 2)).tocsr() - rows[:, free]
    uv[free] = splu(system.tocsc()).solve(rows[:, fixed] @ fixed_uv)
    return uv


def _vertex_stretch(
    vertices: np.ndarray, uv: np.ndarray, faces: np.ndarray, density: np.ndarray
) -> tuple[np.ndarray, float]:
    """Root mean square stretch (Sander et al. 2001) around each vertex [V], and over the piece."""
    edge_1, edge_2 = uv[faces[:, 1]] - uv[faces[:, 0]], uv[faces[:, 2]] - uv[faces[:, 0]]
    area = np.maximum(0.5 * (edge_1[:, 0] * edge_2[:, 1] - edge_1[:, 1] * edge_2[:, 0]), 1e-15)
    side_1, side_2 = (
        vertices[faces[:, 1]] - vertices[faces[:, 0]],
        vertices[faces[:, 2]] - vertices[faces[:, 0]],
    )
    along_u = (side_1 * edge_2[:, 1:2] - side_2 * edge_1[:, 1:2]) / (2 * area[:, None])
    along_v = (side_2 * edge_1[:, 0:1] - side_1 * edge_2[:, 0:1]) / (2 * area[:, None])
    squared = 0.5 * ((along_u**2).sum(1) + (along_v**2).sum(1)) * density**2
    size = 0.5 * np.linalg.norm(np.cross(side_1, side_2), axis=1) * density**2
    numerator, denominator = np.zeros(len(vertices)), np.zeros(len(vertices))
    for corner in range(3):
        np.add.at(numerator, faces[:, corner], squared * size)
        np.add.at(denominator, faces[:, corner], size)
    stretch = np.sqrt(numerator / np.maximum(denominator, 1e-18))
    return stretch, float(np.sqrt((squared * size).sum() / size.sum()))


def flatten_disc(
    vertices: np.ndarray,
    faces: np.ndarray,
    border: np.ndarray,
    border_uv: np.ndarray,
    *,
    density: np.ndarray | None = None,
    rounds: int = 8,
) -> np.ndarray:
    """Flat positions [V,2] of a disc; its border vertices [N] are placed at the convex polygon `border_uv` [N,2].

    Args:
        vertices: [V,3]; all must be used by the faces.
        faces: [F,3] after fill_holes (one boundary loop).
        border: the boundary loop.
        border_uv: counter-clockwise convex polygon.
        density: [F] how much larger each triangle shall appear in the map.
        rounds: most reweightings; the best map in the sense of the mean stretch is returned.
    """
    scale = np.ones(len(faces)) if density is None else density
    weights = _mean_value_weights(vertices, faces)
    best, best_stretch = None, np.inf
    for _ in range(rounds + 1):
        uv = _solve(weights, border, border_uv)
        stretch, mean_stretch = _vertex_stretch(vertices, uv, faces, scale)
        if mean_stretch >= best_stretch:
            break
        best, best_stretch = uv, mean_stretch
        weights = weights.multiply(1.0 / stretch[None, :]).tocsr()
    assert best is not None  # noqa: S101 - the first round always improves on infinity
    return best


def circle(vertices: np.ndarray, loop: list[int], first_angle: float = 0.0) -> np.ndarray:
    """The loop [N] laid on the unit circle by arc length, counter-clockwise from `first_angle`. [N,2]."""
    points = vertices[loop]
    steps = np.linalg.norm(np.roll(points, -1, 0) - points, axis=1)
    angle = first_angle + 2 * np.pi * np.concatenate([[0.0], np.cumsum(steps)[:-1]]) / steps.sum()
    return np.stack([np.cos(angle), np.sin(angle)], 1)
