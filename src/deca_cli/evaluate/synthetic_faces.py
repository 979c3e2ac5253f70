"""A made-up head and scans of it whose right answer is known, for the self-test and the tests. No person is involved.

A scan holds pairs of points, one `offset_mm` outside and one inside of the same place on the head. Every pair pulls
equally both ways, so the head itself is the best fit, and every distance to it is exactly `offset_mm`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from deca_cli.evaluate.alignment import Similarity, face_region, rotation_matrix
from deca_cli.evaluate.meshes import Mesh, write_obj
from deca_cli.evaluate.now_data import CHALLENGES
from deca_cli.export.atomic import make_folder, write_array, write_text

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

ROWS, COLUMNS = 60, 90
# Azimuth (to the subject's left) and elevation of the seven landmarks, degrees.
LANDMARK_ANGLES = ((-33, 14), (-13, 14), (13, 14), (33, 14), (0, -14), (-19, -30), (19, -30))


@dataclass(frozen=True)
class SyntheticHead:
    """An egg with a nose, brows and lips, millimetres, head frame (x left, y up, z out of the face)."""

    mesh: Mesh
    landmarks: NDArray[np.float64]  # [7, 3]


def synthetic_head(seed: int = 0) -> SyntheticHead:
    """A head [60 * 90 vertices]; the seed changes its proportions by a few percent."""
    random = np.random.default_rng(seed)
    azimuth = np.radians(np.linspace(-180, 180, COLUMNS, endpoint=False))
    elevation = np.radians(np.linspace(-80, 80, ROWS))
    grid = np.stack(np.meshgrid(azimuth, elevation), axis=-1).reshape(-1, 2)
    size = np.array([72.0, 105.0, 92.0]) * (1 + 0.04 * random.standard_normal(3))
    vertices = _surface(grid[:, 0], grid[:, 1], size)
    marks = np.radians(np.array(LANDMARK_ANGLES, dtype=float))
    return SyntheticHead(Mesh(vertices, _grid_faces()), _surface(marks[:, 0], marks[:, 1], size))


def _surface(
    azimuth: NDArray[np.float64], elevation: NDArray[np.float64], size: NDArray[np.float64]
) -> NDArray:
    """Points [N, 3] of an ellipsoid with bumps: nose, brow ridge, lips, and hollows for the eyes."""

    def bump(at_azimuth: float, at_elevation: float, width: float, height: float) -> NDArray[np.float64]:
        squared = (np.degrees(azimuth) - at_azimuth) ** 2 + 2 * (np.degrees(elevation) - at_elevation) ** 2
        return height * np.exp(-squared / (2 * width**2))

    scale = 1 + bump(0, -6, 9, 0.2) + bump(0, 24, 30, 0.04) + bump(0, -30, 14, 0.05)
    scale += bump(-23, 14, 8, -0.07) + bump(23, 14, 8, -0.07)
    scale += bump(40, -12, 12, 0.06)  # a swollen cheek, so that a mirrored head is another head
    around = np.cos(elevation)
    sphere = np.stack([np.sin(azimuth) * around, np.sin(elevation), np.cos(azimuth) * around], axis=1)
    return sphere * size * scale[:, None]


def _grid_faces() -> NDArray[np.int64]:
    """Two outward triangles per cell; the columns close around the head, crown and neck stay open."""
    row, column = np.meshgrid(np.arange(ROWS - 1), np.arange(COLUMNS), indexing="ij")
    a, b = row * COLUMNS + column, row * COLUMNS + (column + 1) % COLUMNS
    c, d = a + COLUMNS, b + COLUMNS
    return np.concatenate([np.stack([a, b, d], -1).reshape(-1, 3), np.stack([a, d, c], -1).reshape(-1, 3)])


def scan_points(head: SyntheticHead, offset_mm: float, pairs: int, seed: int = 0) -> NDArray[np.float64]:
    """Scan vertices [N, 3], nearly 2 * pairs: random places inside the head's front triangles, moved out and in."""
    random = np.random.default_rng(seed)
    corners = head.mesh.vertices[head.mesh.faces]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    frontal = np.flatnonzero((normals[:, 2] > 0.3) & (np.abs(corners[:, :, 1]).max(1) < 85))
    chosen = random.choice(frontal, pairs)
    # Places in the middle of triangles, so that the nearest point of the surface stays on that triangle.
    weights = 0.25 + 0.25 * random.dirichlet((1, 1, 1), pairs)
    places = np.einsum("nk,nkd->nd", weights, corners[chosen])
    # No pair may be split by the border of the face region: half a pair would pull the head to its side.
    region = face_region(head.landmarks)
    clear = np.abs(np.linalg.norm(places - region.centre, axis=1) - region.radius) > 2 * offset_mm
    places, normals = places[clear], normals[chosen][clear]
    return np.concatenate([places + offset_mm * normals, places - offset_mm * normals])


def random_similarity(seed: int, scale: float) -> Similarity:
    """A rotation of up to half a radian per axis and a shift of a few hundredths of a metre."""
    random = np.random.default_rng(seed)
    return Similarity(scale, rotation_matrix(random.uniform(-0.5, 0.5, 3)), random.uniform(-0.05, 0.05, 3))


def write_dataset(
    folder: Path, subjects: int = 2, offset_mm: float = 0.75, pairs: int = 8000
) -> dict[str, SyntheticHead]:
    """Write a data set in NoW's layout, one image per challenge and subject; returns the subjects' heads."""
    heads, lines = {}, []
    for number in range(subjects):
        subject = f"SELFTEST_{number:05d}"
        heads[subject] = head = synthetic_head(number)
        scans = make_folder(folder / "scans" / subject)
        landmarks = make_folder(folder / "scans_lmks_onlypp" / subject)
        points = scan_points(head, offset_mm, pairs, seed=number)
        write_obj(scans / "scan.obj", points, np.zeros((0, 3), np.int64))
        write_picked_points(landmarks / "scan.pp", head.landmarks)
        lines += [f"{subject}/{challenge}/IMG_{i:04d}.jpg" for i, challenge in enumerate(CHALLENGES)]
    write_text(folder / "imagepathsvalidation.txt", "\n".join(lines) + "\n")
    return heads


def write_predictions(folder: Path, heads: dict[str, SyntheticHead], *, metrical: bool = False) -> None:
    """The heads themselves as predictions, rotated and shifted; in metres, or in a unit of their own."""
    for number, (subject, head) in enumerate(heads.items()):
        for i, challenge in enumerate(CHALLENGES):
            seed = 10 * number + i
            motion = random_similarity(seed, 1e-3 * (1 if metrical else 0.8 + 0.1 * i))
            if metrical:  # the metrical start is only exact when the landmarks' middle is the origin
                motion = Similarity(
                    motion.scale, motion.rotation, -motion.scale * motion.rotation @ head.landmarks.mean(0)
                )
            write_prediction(folder / subject / challenge, f"IMG_{i:04d}", head, motion)


def write_prediction(folder: Path, stem: str, head: SyntheticHead, motion: Similarity) -> None:
    """One moved head with its landmarks."""
    make_folder(folder)
    write_obj(folder / f"{stem}.obj", motion.apply(head.mesh.vertices), head.mesh.faces)
    write_array(folder / f"{stem}.npy", motion.apply(head.landmarks))


def write_picked_points(path: Path, landmarks: NDArray[np.float64]) -> None:
    """MeshLab's format, with the seven points on lines 9 to 15, where the official reader looks for them."""
    header = ["<!DOCTYPE PickedPoints>", "<PickedPoints>", " <DocumentData>", "  <DateTime/>", "  <User/>"]
    header += ["  <DataFileName/>", "  <templateName/>", " </DocumentData>"]
    points = [
        f' <point x="{x:.6f}" y="{y:.6f}" z="{z:.6f}" active="1" name="{i}"/>'
        for i, (x, y, z) in enumerate(landmarks.tolist())
    ]
    write_text(path, "\n".join([*header, *points, "</PickedPoints>"]) + "\n")
