"""The REALY benchmark (Chai et al., "REALY: Rethinking the Evaluation of 3D Face Reconstruction", ECCV 2022).

Four regions of a scan are each met by the prediction: similarity on seven keypoints, rigid ICP on the region, then the
scan region is bent onto the prediction to find corresponding points; their mean distance to the unbent scan, in mm, is
the region's error. Steps and constants follow the benchmark's public description and code; no official result was at
hand to compare with.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from deca_cli.errors import InputError
from deca_cli.evaluate.files import read_json, read_text
from deca_cli.evaluate.geometry import Surface
from deca_cli.evaluate.landmark_rows import SEVEN_OF_68
from deca_cli.evaluate.meshes import Mesh, read_mesh
from deca_cli.evaluate.nonrigid import Keypoints, register

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

KEYPOINTS = 85
REGIONS = ("nose", "mouth", "forehead", "cheek")
EYES, BROWS, MOUTH = tuple(range(36, 48)), tuple(range(17, 27)), (*range(48, 61), 64)
# Keypoints that steer the rigid alignment of a region, and those that steer its bending (the cheek has none).
ALIGNED_BY = {
    "nose": (*range(27, 36), 70, 71),
    "mouth": MOUTH,
    "forehead": (*EYES, *BROWS),
    "cheek": (*MOUTH, 76, 77, 36, 41, 40, 39, 42, 47, 46, 45, 7, 8, 9),
}
BENT_BY = {"nose": tuple(range(27, 36)), "mouth": MOUTH, "forehead": (*EYES, *BROWS), "cheek": ()}
MOST_ROUNDS = 100
SETTLED = 1e-6  # change of the mean squared distance


@dataclass(frozen=True)
class Topology:
    """Where the 85 keypoints lie on every prediction."""

    faces: NDArray[np.int64]  # [F, 3] of the template; predictions share them
    vertices: int
    triangles: NDArray[np.int64]  # [85]
    weights: NDArray[np.float64]  # [85, 3] barycentric

    def keypoints(self, vertices: NDArray[np.float64]) -> NDArray[np.float64]:
        """Keypoints [85, 3] of a prediction [V, 3]."""
        return np.einsum("kc,kcd->kd", self.weights, vertices[self.faces[self.triangles]])


@dataclass(frozen=True)
class RealyScan:
    """Ground truth of one subject."""

    keypoints: NDArray[np.float64]  # [85, 3]
    regions: dict[str, Mesh]
    mm_per_unit: float


def read_topology(template: Path, keypoints: Path) -> Topology:
    """Read a template mesh and its 85 keypoints: JSON rows of triangle, first and second barycentric weight."""
    mesh = read_mesh(template)
    try:
        rows = np.array(read_json(keypoints), dtype=np.float64)
    except (TypeError, ValueError):
        rows = np.zeros(0)
    if rows.shape != (KEYPOINTS, 3) or not 0 <= rows[:, 0].min() <= rows[:, 0].max() < len(mesh.faces):
        raise InputError(
            f"{keypoints}: expected {KEYPOINTS} rows of triangle, weight, weight that fit {template}."
        )
    weights = np.column_stack([rows[:, 1:], 1 - rows[:, 1] - rows[:, 2]])
    return Topology(mesh.faces, len(mesh.vertices), rows[:, 0].astype(np.int64), weights)


def read_realy_scan(data: Path, subject: int) -> RealyScan:
    """Read DATA/REALY_HIFI3D_keypoints/ID.obj, DATA/REALY_scan_region/ID/REGION.obj and DATA/metrical_scale.txt."""
    files = [data / "REALY_HIFI3D_keypoints" / f"{subject}.obj", data / "metrical_scale.txt"]
    files += [data / "REALY_scan_region" / str(subject) / f"{region}.obj" for region in REGIONS]
    missing = next((file for file in files if not file.is_file()), None)
    if missing is not None:
        raise InputError(
            f"{missing} is missing. Ask for the benchmark's data at https://www.realy3dface.com."
        )
    keypoints = read_mesh(files[0]).vertices
    scales = _read_scales(files[1])
    if len(keypoints) != KEYPOINTS or not 1 <= subject <= len(scales):
        raise InputError(
            f"{files[0]}: expected {KEYPOINTS} vertices and a scale for subject {subject} in {files[1]}."
        )
    regions = {name: merge_vertices(read_mesh(file)) for name, file in zip(REGIONS, files[2:], strict=True)}
    return RealyScan(keypoints, regions, float(scales[subject - 1]))


def _read_scales(path: Path) -> NDArray[np.float64]:
    """Millimetres per unit of every subject's scan [N]."""
    try:
        return np.loadtxt(read_text(path).splitlines(), ndmin=1)
    except ValueError as error:
        raise InputError(
            f"{path}: not one number a line ({error}). Get the benchmark's data again."
        ) from None


def merge_vertices(mesh: Mesh) -> Mesh:
    """Vertices at the same place become one and loose ones go, so that bending cannot tear the surface."""
    used = np.unique(mesh.faces)
    vertices, index = np.unique(mesh.vertices[used], axis=0, return_inverse=True)
    faces = index.reshape(-1)[np.searchsorted(used, mesh.faces)]
    distinct = (faces[:, 0] != faces[:, 1]) & (faces[:, 1] != faces[:, 2]) & (faces[:, 2] != faces[:, 0])
    return Mesh(vertices, faces[distinct])


def fit_rotation(
    source: NDArray[np.float64], target: NDArray[np.float64], *, free_scale: bool
) -> tuple[float, NDArray[np.float64], NDArray[np.float64]]:
    """Scale, rotation [3, 3] and translation [3] from source [N, 3] to target; the scale is a ratio of absolute sums."""
    source_centred, target_centred = source - source.mean(0), target - target.mean(0)
    u, _, vt = np.linalg.svd(target_centred.T @ source_centred)
    rotation = u @ vt
    scale = 1.0
    if free_scale:
        scale = float(np.abs(target_centred).sum() / np.abs(source_centred @ rotation.T).sum())
    return scale, rotation, target.mean(0) - scale * rotation @ source.mean(0)


def align_globally(vertices: NDArray[np.float64], topology: Topology, scan: RealyScan) -> NDArray[np.float64]:
    """Similarity on the seven usual keypoints."""
    seven = list(SEVEN_OF_68)
    scale, rotation, shift = fit_rotation(
        topology.keypoints(vertices)[seven], scan.keypoints[seven], free_scale=True
    )
    return scale * vertices @ rotation.T + shift


def align_region(
    vertices: NDArray[np.float64], topology: Topology, scan: RealyScan, region: str
) -> NDArray[np.float64]:
    """Rigid ICP of a globally aligned prediction [V, 3] to one region; keypoints weigh as much as the region's points."""
    points, chosen = scan.regions[region].vertices, list(ALIGNED_BY[region])
    wanted = scan.keypoints[chosen]
    repeat = int(len(points) / len(chosen) / (4 if region == "cheek" else 1))
    target = np.vstack([points, np.tile(wanted, (repeat, 1))])
    previous = 0.0
    surface = Surface.of(vertices, topology.faces)
    total_rotation, total_shift = np.eye(3), np.zeros(3)
    marks, hint = topology.keypoints(vertices)[chosen], None
    for _ in range(MOST_ROUNDS + 1):
        back = (
            points - total_shift
        ) @ total_rotation  # the scan in the prediction's frame: one tree serves all rounds
        closest = surface.closest(back, hint)
        hint = closest.triangles
        source = np.vstack([closest.points, np.tile(marks, (repeat, 1))]) @ total_rotation.T + total_shift
        _, rotation, shift = fit_rotation(source, target, free_scale=False)
        error = float(((source @ rotation.T + shift - target) ** 2).sum(1).mean())
        if abs(error - previous) < SETTLED:
            break  # as in the public code, the last small motion is not applied
        previous = error
        total_rotation, total_shift = rotation @ total_rotation, rotation @ total_shift + shift
    return vertices @ total_rotation.T + total_shift


def region_errors(
    aligned: NDArray[np.float64], topology: Topology, scan: RealyScan, region: str
) -> NDArray[np.float64]:
    """Distances [N] from the region's vertices to their corresponding points on the prediction, mm."""
    mesh, chosen = scan.regions[region], list(BENT_BY[region])
    surface = Surface.of(aligned, topology.faces)
    first = surface.closest(mesh.vertices)
    keypoints = None
    if chosen:
        offsets = mesh.vertices[None] - scan.keypoints[chosen][:, None]
        nearest = (offsets**2).sum(-1).argmin(1)
        keypoints = Keypoints(nearest, topology.keypoints(aligned)[chosen])
    bent = register(mesh.vertices, mesh.faces, first.points, keypoints)
    corresponding = surface.closest(bent, first.triangles).points
    return np.linalg.norm(corresponding - mesh.vertices, axis=1) * scan.mm_per_unit


def measure_realy(
    vertices: NDArray[np.float64], topology: Topology, scan: RealyScan
) -> dict[str, NDArray[np.float64]]:
    """Distances of every region, mm; raises InputError for another topology or useless numbers."""
    if len(vertices) != topology.vertices:
        raise InputError(
            f"the prediction has {len(vertices)} vertices and the template {topology.vertices}: they must share one "
            "topology. Some libraries merge vertices when saving (trimesh: process=False)."
        )
    if not np.isfinite(vertices).all() or not np.ptp(vertices, axis=0).any():
        raise InputError("the mesh holds NaN, infinity, or nothing but one point. Export it again.")
    start = align_globally(vertices, topology, scan)
    return {
        region: region_errors(align_region(start, topology, scan, region), topology, scan, region)
        for region in REGIONS
    }
