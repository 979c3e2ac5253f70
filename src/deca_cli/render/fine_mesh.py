"""The coarse mesh cut finer, for detail: closed wherever the coarse one is, also across the borders of the chart."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from deca_cli.errors import ModelError
from deca_cli.render.uv import UvChart, sample_mesh

# Parts of every edge; sixteen small triangles for a large one, edges of about a millimetre on the face.
STEPS = 4
ROUND = 0.75  # how much of the way to the tangent planes; the authors' choice
REACH = 1 / 8  # of the chart's side: how far from a point outside its pieces the nearest texel may be


@dataclass(frozen=True, eq=False)
class FineMesh:
    """Small triangles over texture vertices. Those of one point of the surface lie at the same place to the bit.

    Attributes:
        points: the texture vertices as points of the coarse mesh, each with a texel of the displacement; triangles.
        uv_coordinates: float32 [N, 2], u right, v up.
    """

    points: UvChart
    uv_coordinates: np.ndarray


def fine_mesh(
    uv_coordinates: np.ndarray, uv_faces: np.ndarray, faces: np.ndarray, chart: UvChart, steps: int = STEPS
) -> FineMesh:
    """Cut every triangle into ``steps`` squared.

    Args:
        uv_coordinates: [T, 2].
        uv_faces: int [F, 3].
        faces: int [F, 3], of the mesh, in the same order.
        chart: of the head; its texels are those that have a displacement.
        steps: parts of every edge.

    Raises:
        ModelError: a point of the mesh is far from every texel of the chart.
    """
    weights, small = _lattice(steps)
    textured, rows, numbers = _distinct(uv_faces, weights)
    meshed, first, point = _distinct(faces, weights, rows)
    corners, shares = _unpacked(textured)
    places = (uv_coordinates[corners] * shares[..., None]).sum(axis=1) / steps
    vertex_ids, parts = _unpacked(meshed)
    return FineMesh(
        UvChart(
            chart.size,
            torch.from_numpy(_texels(places, first, chart)[point]),
            torch.from_numpy(vertex_ids[point]),
            torch.from_numpy((parts[point] / steps).astype(np.float32)),
            torch.from_numpy(numbers.reshape(len(faces), -1)[:, small].reshape(-1, 3)),
        ),
        places.astype(np.float32),
    )


def rounding(points: UvChart, vertices: Tensor, normals: Tensor) -> Tensor:
    """How far points of flat triangles lie under a smooth surface: [B, N, 3] to add, so that the large triangles do not show.

    Phong tessellation (Boubekeur and Alexa 2008): a point is moved onto the tangent planes of its corners, weighted as it is.

    Args:
        points: of a `FineMesh`.
        vertices: [B, V, 3].
        normals: [B, V, 3], unit.
    """
    flat = sample_mesh(points, vertices)
    total = torch.zeros_like(flat)
    for corner in range(3):
        ids, weights = points.vertex_ids[:, corner], points.weights[:, corner, None]
        normal = normals[:, ids]
        height = ((vertices[:, ids] - flat) * normal).sum(-1, keepdim=True)
        total = total + weights * height * normal
    return ROUND * total


def _lattice(steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Points of a triangle cut fine: weights int64 [P, 3] that sum to `steps`, and triangles int64 [steps squared, 3]."""
    number: dict[tuple[int, int], int] = {}
    for i in range(steps + 1):
        for j in range(steps + 1 - i):
            number[i, j] = len(number)
    weights = np.array([(steps - i - j, i, j) for i, j in number])
    upright = [(number[i, j], number[i + 1, j], number[i, j + 1]) for i, j in number if i + j < steps]
    turned = [
        (number[i + 1, j], number[i + 1, j + 1], number[i, j + 1]) for i, j in number if i + j < steps - 1
    ]
    return weights, np.array(upright + turned)


def _distinct(
    faces: np.ndarray, weights: np.ndarray, rows: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The points of all triangles (or some rows of them), each once whichever triangle it is seen from.

    Returns:
        Points int64 [N, 6], corners in ascending order and their weights, -1 and 0 where there are fewer than three; the
        row at which each is first met; and for every row its point.
    """
    corners = np.repeat(faces.astype(np.int64)[:, None], len(weights), axis=1).reshape(-1, 3)
    shares = np.broadcast_to(weights, (len(faces), *weights.shape)).reshape(-1, 3)
    if rows is not None:
        corners, shares = corners[rows], shares[rows]
    corners = np.where(shares > 0, corners, -1)
    order = np.argsort(corners, axis=1)
    table = np.concatenate(
        [np.take_along_axis(corners, order, axis=1), np.take_along_axis(shares, order, axis=1)], axis=1
    )
    # One number for a row: numpy finds distinct numbers much faster than distinct rows.
    most, parts = int(faces.max()) + 2, int(weights.max()) + 1
    key = np.zeros(len(table), np.int64)
    for column in range(3):
        key = key * most + table[:, column] + 1
    for column in range(4, 6):  # the last two say what the first is
        key = key * parts + table[:, column]
    _, first, point = np.unique(key, return_index=True, return_inverse=True)
    return table[first], first, point.reshape(-1)


def _unpacked(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Corners [N, 3], any where the weight is 0, and weights [N, 3]."""
    return np.maximum(points[:, :3], 0), points[:, 3:]


def _texels(places: np.ndarray, chosen: np.ndarray, chart: UvChart) -> np.ndarray:
    """Row-major texels int64 [M] of the chart at or nearest to the chosen of the places [N, 2]."""
    size = chart.size
    texels = chart.texels.cpu().numpy()
    inside = np.full((size, size), -1, np.int64)
    inside.reshape(-1)[texels] = texels
    reach = max(2, round(REACH * size))
    inside = np.pad(inside, reach, constant_values=-1)
    columns, rows = (
        np.clip(np.floor(values * size), 0, size - 1).astype(np.int64)
        for values in (places[chosen, 0], 1 - places[chosen, 1])
    )
    found = np.full(len(chosen), -1, np.int64)
    steps = [(y, x) for y in range(-reach, reach + 1) for x in range(-reach, reach + 1)]
    for y, x in sorted(steps, key=lambda step: step[0] ** 2 + step[1] ** 2):
        left = np.flatnonzero(found < 0)
        if not len(left):
            return found
        found[left] = inside[rows[left] + reach - y, columns[left] + reach - x]
    if (found < 0).any():
        raise ModelError(
            f"{(found < 0).sum()} points of the head's mesh lie more than {reach} texels from every texel of its UV chart "
            f"of {size} x {size}, so they have no displacement: check uv_coordinates and uv_faces of the head."
        )
    return found
