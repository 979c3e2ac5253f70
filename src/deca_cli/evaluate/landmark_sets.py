"""Read true 68-point landmarks: AFLW2000-3D .mat, 300-W .pts and JSON files.

Pixels: x right, y down, the centre of the top left pixel at (0, 0).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from deca_cli.errors import InputError
from deca_cli.evaluate.files import read_json, read_text

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

POINTS = 68
KEYS = ("landmarks", "landmarks_2d_px", "landmarks2d", "points")


@dataclass(frozen=True)
class TrueFace:
    """One annotated face."""

    name: str
    landmarks: NDArray[np.float64]  # [68, 2] px, iBUG order
    valid: NDArray[np.bool_]  # [68] points to score
    box: tuple[
        float, float, float, float
    ]  # x0, y0, x1, y1 px; tight around all points unless the file says otherwise
    yaw_degrees: float | None = None


def read_truth(path: Path) -> list[TrueFace]:
    """Read a folder of .mat or .pts files, a JSON file, or a folder with landmarks.json; sorted by name."""
    if path.is_dir() and (path / "landmarks.json").is_file():
        path = path / "landmarks.json"
    if path.suffix.lower() == ".json" and path.is_file():
        return [_face(name, entry, path) for name, entry in sorted(read_table(path).items())]
    for suffix, reader in ((".mat", _read_mat), (".pts", _read_pts_face)):
        files = sorted(path.rglob(f"*{suffix}")) if path.is_dir() else []
        if files:
            return [reader(file) for file in files]
    raise InputError(
        f"no landmarks at {path}: expected a folder of AFLW2000-3D .mat or 300-W .pts files, or a JSON file "
        '{"image.jpg": [[x, y], ... 68 points]}.'
    )


def as_points(entry: Any, what: str) -> NDArray[np.float64]:  # noqa: ANN401 - whatever a file held
    """68 points as an array [68, 2]; raises InputError when they are none."""
    if isinstance(entry, dict):
        entry = next((entry[key] for key in KEYS if key in entry), None)
    try:
        points = np.asarray(entry, dtype=np.float64)
    except (TypeError, ValueError):
        points = np.zeros(0)
    if points.shape == (2 * POINTS,):
        points = points.reshape(POINTS, 2)
    if points.ndim == 3 and len(points) == 1:
        points = points[0]
    if points.ndim != 2 or len(points) != POINTS or points.shape[1] < 2:
        raise InputError(f"{what}: expected {POINTS} rows of x y, found an array of shape {points.shape}.")
    if not np.isfinite(points[:, :2]).all():
        raise InputError(f"{what}: landmarks hold NaN or infinity.")
    return points[:, :2]


def tight_box(points: NDArray[np.float64]) -> tuple[float, float, float, float]:
    """Box of points [N, 2]: x0, y0, x1, y1."""
    (x0, y0), (x1, y1) = points.min(0), points.max(0)
    return float(x0), float(y0), float(x1), float(y1)


def read_table(path: Path) -> dict[str, Any]:
    """A JSON object of image name to landmarks; raises InputError for anything else."""
    table = read_json(path)
    if not isinstance(table, dict):
        raise InputError(f"{path}: expected a JSON object of image name to landmarks.")
    return table


def _face(name: str, entry: Any, path: Path) -> TrueFace:  # noqa: ANN401 - whatever the file held
    points = as_points(entry, f"{path}: {name}")
    extra = entry if isinstance(entry, dict) else {}
    try:
        x0, y0, x1, y1 = (float(v) for v in extra.get("bbox") or tight_box(points))
        valid = np.asarray(extra.get("valid", np.ones(POINTS)), float) != 0
        yaw = extra.get("yaw_deg", extra.get("yaw_degrees"))
        yaw = None if yaw is None else float(yaw)
    except (TypeError, ValueError):
        valid = np.zeros(0)
    if valid.shape != (POINTS,) or not (x0 < x1 and y0 < y1):
        raise InputError(
            f"{path}: {name}: expected bbox as x0, y0, x1, y1, valid as {POINTS} of true and false, and yaw_deg as a "
            "number. Mend that entry."
        )
    return TrueFace(name, points, valid, (x0, y0, x1, y1), yaw)


def _read_mat(path: Path) -> TrueFace:
    """AFLW2000-3D: pt3d_68 [3, 68] in image pixels, Pose_Para = pitch, yaw, roll in radians and more."""
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    try:
        content = loadmat(path)
        points = as_points(np.asarray(content["pt3d_68"])[:2].T, str(path))
        yaw = float(np.degrees(np.ravel(content["Pose_Para"])[1]))
    except (KeyError, ValueError, IndexError, TypeError, NotImplementedError, MatReadError) as error:
        raise InputError(f"{path}: not an AFLW2000-3D file with pt3d_68 and Pose_Para ({error}).") from None
    return TrueFace(path.stem, points, np.ones(POINTS, bool), tight_box(points), yaw)


def _read_pts_face(path: Path) -> TrueFace:
    points = read_pts(path)
    return TrueFace(path.stem, points, np.ones(POINTS, bool), tight_box(points))


def read_pts(path: Path) -> NDArray[np.float64]:
    """300-W: points between braces, counted from (1, 1) as in Matlab, so one is taken off."""
    text = read_text(path)
    if "{" not in text or "}" not in text:
        raise InputError(f"{path}: not a .pts file: no braces around the points.")
    rows = text[text.index("{") + 1 : text.index("}")].split("\n")
    return as_points([row.split() for row in rows if row.split()], str(path)) - 1.0
