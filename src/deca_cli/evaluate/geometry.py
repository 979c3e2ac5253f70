"""Closest points on a triangle mesh, exact, in float64.

`Surface` answers with a bounding volume hierarchy compiled by numba; `closest_points_plain` is its slow twin that
looks at every triangle. Both use the region test of Ericson, "Real-Time Collision Detection", section 5.1.5.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numba import njit

if TYPE_CHECKING:
    from numpy.typing import NDArray

LEAF_TRIANGLES = 2  # measured on heads of 10 000 triangles: 1 to 4 are alike, 8 is slower
STACK = 128  # a median split halves the triangles, so 64 levels are never reached


class ClosestPoints(NamedTuple):
    """Where the points [N, 3] project to, in the mesh's own frame and unit."""

    distances: NDArray[np.float64]  # [N] unsigned
    points: NDArray[np.float64]  # [N, 3] on the surface
    triangles: NDArray[np.int64]  # [N] position in the surface's own order; a hint for the next query


@dataclass(frozen=True)
class Surface:
    """A triangle mesh prepared for closest-point queries; degenerate triangles act as their edges or points."""

    corners: NDArray[np.float64]  # [F, 12] corner a, edges ab and ac, then ab.ab, ab.ac, ac.ac; leaf order
    order: NDArray[np.int64]  # [F] leaf order -> triangle of the mesh
    children: NDArray[np.int64]  # [nodes] first of two neighbouring children (odd), -1 for a leaf
    parents: NDArray[np.int64]  # [nodes] 0 for the root itself
    leaves: NDArray[np.int64]  # [F] node that holds a triangle
    spans: NDArray[np.int64]  # [nodes, 2] first and last + 1 triangle of a leaf
    boxes: NDArray[np.float64]  # [nodes, 6] low corner, high corner

    @classmethod
    def of(cls, vertices: NDArray[np.floating], faces: NDArray[np.integer]) -> Surface:
        """Prepare vertices [V, 3] and faces [F, 3]."""
        corners = np.asarray(vertices, np.float64)[faces]  # [F, 3, 3]
        order = np.arange(len(faces))
        nodes = 2 * len(faces) + 1
        children, parents, leaves = (
            np.full(nodes, -1),
            np.zeros(nodes, np.int64),
            np.zeros(len(faces), np.int64),
        )
        spans, boxes = np.zeros((nodes, 2), np.int64), np.empty((nodes, 6))
        _build(corners.min(1), corners.max(1), order, children, parents, leaves, spans, boxes)
        a, ab, ac = corners[order, 0], *(corners[order, k] - corners[order, 0] for k in (1, 2))
        products = np.stack([(ab * ab).sum(1), (ab * ac).sum(1), (ac * ac).sum(1)], axis=1)
        return cls(np.hstack([a, ab, ac, products]), order, children, parents, leaves, spans, boxes)

    def closest(self, points: NDArray[np.float64], hint: NDArray[np.int64] | None = None) -> ClosestPoints:
        """Project points [N, 3]; `hint` is `triangles` of an earlier, nearby query and only makes it faster."""
        triangles = np.full(len(points), -1) if hint is None else hint.copy()
        squared, found = np.empty(len(points)), np.empty((len(points), 3))
        points = np.ascontiguousarray(points, np.float64)
        tree = (self.corners, self.children, self.parents, self.leaves, self.spans, self.boxes)
        _query(points, *tree, triangles, squared, found)
        return ClosestPoints(np.sqrt(squared), found, triangles)


def spatial_order(points: NDArray[np.float64]) -> NDArray[np.int64]:
    """An order [N] of points [N, 3] in which neighbours in space follow each other: along a Z curve of 1024^3 cells.

    Queries in this order find the same triangles in the processor's cache.
    """
    low, size = points.min(0), np.ptp(points, axis=0).max()
    cells = ((points - low) * (1023 / max(size, np.finfo(float).tiny))).astype(np.int64)
    code = np.zeros(len(points), np.int64)
    for bit in range(10):
        for axis in range(3):
            code |= ((cells[:, axis] >> bit) & 1) << (3 * bit + axis)
    return np.argsort(code)


@njit(cache=True, nogil=True)
def _build(low, high, order, children, parents, leaves, spans, boxes):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Split at the median along the longest side, top down; writes everything after `high`."""
    centres = 0.5 * (low + high)
    stack = np.empty((STACK, 3), np.int64)
    stack[0] = (0, 0, len(order))
    top, nodes = 1, 1
    while top > 0:
        top -= 1
        node, first, last = stack[top]
        axis, widest = 0, -1.0
        for k in range(3):
            box_low, box_high, low_centre, high_centre = np.inf, -np.inf, np.inf, -np.inf
            for i in range(first, last):
                t = order[i]
                box_low, box_high = min(box_low, low[t, k]), max(box_high, high[t, k])
                low_centre, high_centre = min(low_centre, centres[t, k]), max(high_centre, centres[t, k])
            boxes[node, k], boxes[node, 3 + k] = box_low, box_high
            if high_centre - low_centre > widest:
                axis, widest = k, high_centre - low_centre
        if last - first <= LEAF_TRIANGLES:
            spans[node] = (first, last)
            leaves[first:last] = node
            continue
        part = order[first:last].copy()
        order[first:last] = part[np.argsort(centres[part, axis])]
        middle = (first + last) // 2
        children[node] = nodes
        parents[nodes] = parents[nodes + 1] = node
        stack[top], stack[top + 1] = (nodes, first, middle), (nodes + 1, middle, last)
        top, nodes = top + 2, nodes + 2


@njit(inline="always")
def _on_triangle(x, y, z, corners, i):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202, PLR0911
    """Weights (v, w) of the second and third corner at the point of triangle i closest to (x, y, z)."""
    x, y, z = x - corners[i, 0], y - corners[i, 1], z - corners[i, 2]
    d1 = corners[i, 3] * x + corners[i, 4] * y + corners[i, 5] * z
    d2 = corners[i, 6] * x + corners[i, 7] * y + corners[i, 8] * z
    bb, bc, cc = corners[i, 9], corners[i, 10], corners[i, 11]
    if d1 <= 0.0 and d2 <= 0.0:
        return 0.0, 0.0
    d3, d4 = d1 - bb, d2 - bc
    if d3 >= 0.0 and d4 <= d3:
        return 1.0, 0.0
    d5, d6 = d1 - bc, d2 - cc
    if d6 >= 0.0 and d5 <= d6:
        return 0.0, 1.0
    if bb > 0.0 and d1 >= 0.0 and d3 <= 0.0 and d1 * d4 - d3 * d2 <= 0.0:
        return d1 / bb, 0.0
    if d2 >= 0.0 and d6 <= 0.0 and d5 * d2 - d1 * d6 <= 0.0:
        return 0.0, d2 / cc
    va = d3 * d6 - d5 * d4
    if va <= 0.0 and d4 >= d3 and d5 >= d6:
        w = (d4 - d3) / ((d4 - d3) + (d5 - d6))
        return 1.0 - w, w
    scale = 1.0 / (va + (d5 * d2 - d1 * d6) + (d1 * d4 - d3 * d2))
    return (d5 * d2 - d1 * d6) * scale, (d1 * d4 - d3 * d2) * scale


@njit(inline="always")
def _offset(x, y, z, corners, i, v, w):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Vector from the point of triangle i with weights (v, w) to (x, y, z)."""
    return (
        x - corners[i, 0] - v * corners[i, 3] - w * corners[i, 6],
        y - corners[i, 1] - v * corners[i, 4] - w * corners[i, 7],
        z - corners[i, 2] - v * corners[i, 5] - w * corners[i, 8],
    )


@njit(inline="always")
def _to_box(x, y, z, boxes, n):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Squared distance from (x, y, z) to the box of node n, 0 inside."""
    dx = max(boxes[n, 0] - x, 0.0, x - boxes[n, 3])
    dy = max(boxes[n, 1] - y, 0.0, y - boxes[n, 4])
    dz = max(boxes[n, 2] - z, 0.0, z - boxes[n, 5])
    return dx * dx + dy * dy + dz * dz


@njit(cache=True, nogil=True, error_model="numpy")
def _query(points, corners, children, parents, leaves, spans, boxes, triangles, squared, found):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202, C901
    """Nearest triangle of each point: from the hint's leaf upwards, down into whatever lies nearer than the best yet."""
    stack, reach = np.empty(STACK, np.int64), np.empty(STACK)
    last = 0
    for q in range(len(points)):
        x, y, z = points[q]
        nearest = triangles[q] if triangles[q] >= 0 else last  # neighbours in a file are near on the surface
        v, w = _on_triangle(x, y, z, corners, nearest)
        ox, oy, oz = _offset(x, y, z, corners, nearest, v, w)
        best = ox * ox + oy * oy + oz * oz
        climbed = leaves[nearest]
        stack[0], reach[0], top = climbed, 0.0, 1
        while True:
            while top == 0 and climbed > 0:
                sibling = climbed + 1 if climbed % 2 == 1 else climbed - 1
                stack[0], reach[0] = sibling, _to_box(x, y, z, boxes, sibling)
                climbed = parents[climbed]
                top = 1 if reach[0] < best else 0
            if top == 0:
                break
            top -= 1
            node = stack[top]
            if reach[top] >= best:
                continue
            while children[node] >= 0:
                near, far = children[node], children[node] + 1
                to_near, to_far = _to_box(x, y, z, boxes, near), _to_box(x, y, z, boxes, far)
                if to_far < to_near:
                    near, far, to_near, to_far = far, near, to_far, to_near
                if to_far < best:
                    stack[top], reach[top], top = far, to_far, top + 1
                if to_near >= best:
                    break
                node = near
            for i in range(spans[node, 0], spans[node, 1]):  # empty unless a leaf was reached
                iv, iw = _on_triangle(x, y, z, corners, i)
                ix, iy, iz = _offset(x, y, z, corners, i, iv, iw)
                distance = ix * ix + iy * iy + iz * iz
                if distance < best:
                    best, nearest, ox, oy, oz = distance, i, ix, iy, iz
        triangles[q] = last = nearest
        squared[q] = best
        found[q, 0], found[q, 1], found[q, 2] = x - ox, y - oy, z - oz


def closest_points_plain(
    points: NDArray[np.float64], vertices: NDArray[np.floating], faces: NDArray[np.integer]
) -> NDArray[np.float64]:
    """Distances [N] from points [N, 3] to the mesh, by projecting on every plane and every edge: the slow twin."""
    corners = np.asarray(vertices, np.float64)[faces]
    edges = np.roll(corners, -1, axis=1) - corners  # [F, 3, 3]
    normals = np.cross(edges[:, 0], edges[:, 1])
    distances = np.empty(len(points))
    for n, point in enumerate(points):
        offsets = point - corners  # [F, 3, 3] from each corner
        along = (offsets * edges).sum(-1) / np.maximum((edges * edges).sum(-1), np.finfo(float).tiny)
        to_edges = np.linalg.norm(offsets - np.clip(along, 0, 1)[..., None] * edges, axis=-1).min(1)
        inside = ((np.cross(edges, offsets) * normals[:, None]).sum(-1) >= 0).all(1)
        inside &= (normals * normals).sum(-1) > 0
        heights = np.abs((offsets[:, 0] * normals).sum(-1)) / np.maximum(
            np.linalg.norm(normals, axis=-1), 1e-300
        )
        distances[n] = np.where(inside, heights, to_edges).min()
    return distances
