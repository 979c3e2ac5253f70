"""The worst images of a run, to look at: coloured error meshes and a picture of scan and prediction."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

from deca_cli.evaluate.alignment import face_region
from deca_cli.evaluate.landmark_rows import read_picked_points
from deca_cli.evaluate.meshes import Mesh, read_mesh, write_coloured_ply, write_obj
from deca_cli.evaluate.official import faces_between
from deca_cli.evaluate.plots import new_figure, save_picture
from deca_cli.export.atomic import make_folder

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.axes import Axes
    from matplotlib.collections import Collection
    from numpy.typing import NDArray

    from deca_cli.evaluate.now_data import NowData, Prediction
    from deca_cli.evaluate.now_run import ImageResult

FULL_COLOUR_MM = 5.0
COLOUR_MAP = "viridis"
MOST_TRIANGLES = 100_000


def write_worst(
    folder: Path, rank: int, data: NowData, prediction: Prediction, result: ImageResult, *, picture: bool
) -> Path:
    """RANK_SUBJECT__CHALLENGE__STEM/{scan_error.ply, prediction.obj, picture.png}, all in the scan's frame, mm.

    Only the picture needs matplotlib.
    """
    image = result.image
    target = make_folder(folder / f"{rank:02d}_{image.subject}__{image.challenge}__{image.stem}")
    landmarks = read_picked_points(data.landmarks(image.subject))
    scan = read_mesh(data.scan(image.subject))
    kept = face_region(landmarks).holds(scan.vertices)
    points, faces = scan.vertices[kept], faces_between(kept, scan.faces)
    write_coloured_ply(target / "scan_error.ply", points, faces, error_colours(result.distances))
    mesh = read_mesh(prediction.mesh)  # type: ignore[arg-type]  # only measured images come here
    moved = Mesh(result.total.apply(mesh.vertices), mesh.faces)  # type: ignore[union-attr]
    write_obj(target / "prediction.obj", moved.vertices, moved.faces)
    if picture:
        _picture(target / "picture.png", image.name, Mesh(points, faces), result.distances, moved, landmarks)
    return target


def error_colours(distances: NDArray[np.floating]) -> NDArray[np.uint8]:
    """RGB [N, 3] of distances [N], mm: viridis from 0 to 5 mm, as in the pictures."""
    levels = np.rint(255 * np.clip(distances / FULL_COLOUR_MM, 0, 1)).astype(np.uint8)
    return cv2.applyColorMap(levels[:, None], cv2.COLORMAP_VIRIDIS)[:, 0, ::-1]


def _picture(
    path: Path,
    name: str,
    scan: Mesh,
    distances: NDArray[np.floating],
    prediction: Mesh,
    landmarks: NDArray[np.float64],
) -> None:
    figure = new_figure(13, 5)
    front, side, shaded = figure.subplots(1, 3)
    axes = face_axes(landmarks)
    middle = landmarks.mean(0)
    turned = turn_left(np.radians(50.0)) @ axes
    dots = _paint_scan(front, (scan.vertices - middle) @ axes.T, scan.faces, distances)
    _paint_scan(side, (scan.vertices - middle) @ turned.T, scan.faces, distances)
    _shade(shaded, (prediction.vertices - middle) @ axes.T, prediction.faces)
    marks = (landmarks - middle) @ axes.T
    shaded.plot(marks[:, 0], marks[:, 1], "o", color="#D55E00", markersize=4, label="landmarks of the scan")
    shaded.legend(loc="lower right", fontsize=8)
    for panel, title in (
        (front, "scan, front"),
        (side, "scan, turned by 50°"),
        (shaded, "aligned prediction"),
    ):
        panel.set(aspect="equal", xlim=(-115, 115), ylim=(-115, 115), title=title, xlabel="mm")
    summary = f"median {np.median(distances):.2f}, mean {distances.mean(dtype=float):.2f} mm"
    figure.suptitle(f"{name}   ({summary})")
    figure.colorbar(dots, ax=[front, side], label="distance to the prediction [mm]", extend="max", shrink=0.8)
    save_picture(figure, path, dpi=110)


def _paint_scan(
    panel: Axes, points: NDArray[np.float64], faces: NDArray[np.integer], distances: NDArray[np.floating]
) -> Collection:
    """Scan coloured by distance, back to front: triangles, or dots where there are too many to draw quickly."""
    from matplotlib.collections import PolyCollection

    if len(faces) > MOST_TRIANGLES or not len(faces):
        order = np.argsort(points[:, 2])
        size = max(1.0, 60000 / len(points))
        x, y = points[order, :2].T
        painted: Collection = panel.scatter(x, y, c=distances[order], s=size, linewidths=0)
    else:
        corners = points[faces]
        order = np.argsort(corners[:, :, 2].mean(1))
        colours = distances[faces].mean(1)[order]
        painted = PolyCollection(corners[order, :, :2], array=colours, edgecolors="face", linewidths=0.2)
        panel.add_collection(painted)
    painted.set(cmap=COLOUR_MAP, clim=(0, FULL_COLOUR_MM), rasterized=True)
    return painted


def _shade(panel: Axes, vertices: NDArray[np.float64], faces: NDArray[np.integer]) -> None:
    """Triangles back to front, grey by how much they face the viewer (either side)."""
    from matplotlib.collections import PolyCollection

    corners = vertices[faces]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    facing = np.abs(normals[:, 2]) / np.maximum(np.linalg.norm(normals, axis=1), np.finfo(float).tiny)
    order = np.argsort(corners[:, :, 2].mean(1))
    grey = np.repeat(0.15 + 0.75 * facing[order, None], 3, axis=1)
    panel.add_collection(
        PolyCollection(corners[order, :, :2], facecolors=grey, edgecolors=grey, linewidths=0.2)
    )


def face_axes(landmarks: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rows: the subject's left, up and out of the face, from seven landmarks [7, 3]."""
    left = landmarks[3] - landmarks[0]
    up = (landmarks[0] + landmarks[3]) / 2 - (landmarks[5] + landmarks[6]) / 2
    out = np.cross(left, up)
    left, out = left / np.linalg.norm(left), out / np.linalg.norm(out)
    return np.stack([left, np.cross(out, left), out])


def turn_left(angle: float) -> NDArray[np.float64]:
    """Rotation about the vertical axis that shows the face from its left, radians."""
    return np.array([[np.cos(angle), 0, -np.sin(angle)], [0, 1, 0], [np.sin(angle), 0, np.cos(angle)]])
