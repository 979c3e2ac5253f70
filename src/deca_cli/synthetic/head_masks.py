"""Masks of the open head as maps over its texture chart."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from deca_cli.synthetic.head_regions import (
    REGION_NAMES,
    Parts,
    distance_to_polyline,
    inside_polygon,
    scalp_height,
)

if TYPE_CHECKING:
    from deca_cli.synthetic.head_source import SourceHead
    from deca_cli.synthetic.head_uv import Chart

MASK_SIZE = 256
FACE_EDGE = 0.008  # metres over which the face mask fades out


def rasterise_chart(chart: Chart, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Triangle [size,size] (-1 empty), barycentrics [size,size,3] and coverage count [size,size] of the chart.

    Texel (row, column) has its centre at u = (column + 0.5) / size, v = 1 - (row + 0.5) / size.
    """
    triangle = np.full((size, size), -1)
    weights = np.zeros((size, size, 3))
    count = np.zeros((size, size), int)
    corners = chart.coordinates[chart.faces] * np.array([size, -size]) + np.array([0.0, size])
    for index, ((ax, ay), (bx, by), (cx, cy)) in enumerate(corners):
        left, right = int(np.ceil(min(ax, bx, cx) - 0.5)), int(np.floor(max(ax, bx, cx) - 0.5))
        top, bottom = int(np.ceil(min(ay, by, cy) - 0.5)), int(np.floor(max(ay, by, cy) - 0.5))
        area = (bx - ax) * (cy - ay) - (cx - ax) * (by - ay)
        if left > right or top > bottom or area == 0:
            continue
        x, y = np.meshgrid(np.arange(left, right + 1) + 0.5, np.arange(top, bottom + 1) + 0.5)
        first = ((bx - x) * (cy - y) - (cx - x) * (by - y)) / area
        second = ((cx - x) * (ay - y) - (ax - x) * (cy - y)) / area
        inside = (first > 0) & (second > 0) & (first + second < 1)
        rows, columns = (y[inside] - 0.5).astype(int), (x[inside] - 0.5).astype(int)
        triangle[rows, columns] = index
        weights[rows, columns] = np.stack([first, second, 1 - first - second], -1)[inside]
        count[rows, columns] += 1
    return triangle, weights, count


def _smooth(distance: np.ndarray, width: float) -> np.ndarray:
    """0 below -width/2, 1 above width/2, smooth between."""
    share = np.clip(distance / width + 0.5, 0.0, 1.0)
    return share**2 * (3.0 - 2.0 * share)


def _signed_distance(points: np.ndarray, polygon: np.ndarray) -> np.ndarray:
    """Distance [N] of flat points to a closed polygon's border, positive inside."""
    distance = distance_to_polyline(points, np.concatenate([polygon, polygon[:1]]))
    return np.where(inside_polygon(points, polygon), distance, -distance)


def _face_weight(points: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """1 on the face from jaw line to forehead, fading to 0 towards ears, neck and hair. [N,3] -> [N]."""
    jaw = landmarks[:17] * np.array([0.97, 1.0, 1.0])
    outline = np.concatenate(
        [jaw[:, :2], [[0.066, 0.060], [0.045, 0.088], [0.0, 0.095], [-0.045, 0.088], [-0.066, 0.060]]]
    )
    inside = _smooth(_signed_distance(points[:, :2], outline) - FACE_EDGE / 2, FACE_EDGE)
    in_front = _smooth(points[:, 2] - (landmarks[[1, 15], 2].mean() + 0.004), FACE_EDGE)
    return inside * in_front * _smooth(-scalp_height(points) - 0.004, FACE_EDGE)


def build_masks(
    source: SourceHead,
    mean: np.ndarray,
    parts: Parts,
    chart: Chart,
    landmarks: np.ndarray,
    regions: np.ndarray,
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """face_eye_mask float64 [U,U] in 0..1 and the named masks uint8 [U,U].

    The face_eye_mask says where skin detail belongs: the face without lids' inner sides, eyes and mouth.
    """
    triangle, weights, _ = rasterise_chart(chart, MASK_SIZE)
    covered = triangle >= 0
    ids = triangle[covered]
    positions = np.einsum("nk,nkd->nd", weights[covered], mean[source.faces[ids]])
    on_main = parts.main[ids]
    vertex = {name: regions == index for index, name in enumerate(REGION_NAMES)}

    def share(*names: str) -> np.ndarray:
        flags = np.any([vertex[name] for name in names], axis=0).astype(float)
        return np.einsum("nk,nk->n", weights[covered], flags[source.faces[ids]])

    brow_distance = np.minimum(
        distance_to_polyline(positions, landmarks[17:22]), distance_to_polyline(positions, landmarks[22:27])
    )
    face = _face_weight(positions, landmarks) * on_main
    lips = _smooth(share("lips") - 0.5, 0.6) * on_main
    values = {
        "face": face,
        "eyes": share("eyeball_left", "eyeball_right"),
        "lips": lips,
        "scalp": _smooth(scalp_height(positions), 0.012) * on_main,
        "brows": _smooth(0.005 - brow_distance, 0.003) * on_main,
    }
    cavities = share("mouth_cavity", "eye_sockets")
    maps = {name: np.zeros((MASK_SIZE, MASK_SIZE)) for name in (*values, "face_eye")}
    for name, value in values.items():
        maps[name][covered] = value
    maps["face_eye"][covered] = face * (1.0 - np.clip(2.0 * cavities, 0.0, 1.0))
    face_eye = maps.pop("face_eye")
    return face_eye, {name: np.rint(255 * value).astype(np.uint8) for name, value in maps.items()}
