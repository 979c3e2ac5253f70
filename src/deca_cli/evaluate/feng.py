"""The benchmark of Feng et al., "Evaluation of Dense 3D Reconstruction from 2D Face Images in the Wild" (FG 2018).

A prediction is put on the scan by its seven landmarks only (similarity, mirroring allowed, no refinement). The error is
the root mean square of the distances from the scan's face region to the predicted surface; the face region is a sphere
as in NoW with the paper's factor of 1.2. (An early version of the public script had 1.5 and added the eye corners
where it should subtract them; `--radius-factor` is there for other versions.)
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from deca_cli.errors import InputError
from deca_cli.evaluate.alignment import face_region, fit_landmarks
from deca_cli.evaluate.files import read_text
from deca_cli.evaluate.geometry import Surface
from deca_cli.evaluate.landmark_rows import read_seven
from deca_cli.evaluate.meshes import read_mesh
from deca_cli.evaluate.now import Scan

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from deca_cli.evaluate.meshes import Mesh

FENG_RADIUS = 1.2
LANDMARKS = (".npy", ".txt", ".lnd")


def measure_feng(
    scan: Scan, mesh: Mesh, landmarks: NDArray[np.float64], radius_factor: float = FENG_RADIUS
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Indices [N] of the scan vertices in the face region and their distances [N] to the prediction, mm.

    Raises InputError when no scan vertex is near the scan's landmarks.
    """
    inside = np.flatnonzero(face_region(scan.landmarks, radius_factor).holds(scan.vertices))
    if not len(inside):
        raise InputError(
            "no scan vertex near the scan's landmarks: they belong to another scan. Download both again."
        )
    moved = fit_landmarks(landmarks, scan.landmarks).apply(mesh.vertices)
    return inside, Surface.of(moved, mesh.faces).closest(scan.vertices[inside]).distances


def read_lnd(path: Path) -> NDArray[np.float64]:
    """Seven landmarks [7, 3]: rows of x y z, or of a number and x y z."""
    rows = [line.split() for line in read_text(path).splitlines() if line.split()]
    try:
        table = np.array([row[-3:] for row in rows], dtype=np.float64)
    except ValueError as error:
        raise InputError(f"{path}: {error}. Expected seven rows of a number and x y z.") from None
    if table.shape != (7, 3):
        raise InputError(f"{path}: {len(rows)} rows, expected seven of a number and x y z.")
    return table


def read_landmarks_of(mesh: Path) -> NDArray[np.float64]:
    """The seven landmarks [7, 3] that lie beside a predicted mesh; raises InputError when there are none."""
    for suffix in LANDMARKS:
        path = mesh.with_suffix(suffix)
        if path.is_file():
            return read_lnd(path) if suffix == ".lnd" else read_seven(path)
    raise InputError(
        f"no landmarks beside {mesh}: expected {mesh.stem}.npy, .txt or .lnd with seven 3D points."
    )


@lru_cache(maxsize=2)
def read_feng_scan(scans: Path, landmarks: Path, name: str) -> Scan:
    """NAME.obj or .ply and NAME.lnd at any depth; neighbouring predictions share a scan, so the last two are kept."""
    mesh = _below(scans, f"{name}.obj") or _below(scans, f"{name}.ply")
    marks = _below(landmarks, f"{name}.lnd")
    if mesh is None or marks is None:
        what, where = (f"{name}.obj", scans) if mesh is None else (f"{name}.lnd", landmarks)
        raise InputError(
            f"no {what} below {where}. The folder above a prediction names its scan; the scans are the Stirling/ESRC "
            "set's, the landmarks those of the competition's repository."
        )
    return Scan(read_mesh(mesh).vertices, read_lnd(marks))


def _below(folder: Path, name: str) -> Path | None:
    return next(iter(sorted(folder.rglob(name))), None)
