"""Strict checks of head arrays: every complaint names the array, what was expected and what came."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

import numpy as np

from deca_cli.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from deca_cli.heads.assets import AlbedoAssets, HeadAssets

CONTOUR_ROWS = 79  # yaw 0..39 degrees, then -1..-39 (spec section 4)
CONTOUR_POINTS = 17
INNER_POINTS = 51
ALL_POINTS = 68


class _Checker:
    """Collects nothing, raises at once; knows which file is being checked."""

    def __init__(self, what: str, path: Path | None) -> None:
        self._where = what if path is None else f"{what} in {path}"

    def fail(self, array: str, why: str) -> NoReturn:
        """Raise the error that names the array."""
        raise ModelError(
            f"{self._where}: `{array}` {why}. The file is damaged or of another version: "
            "reinstall the package or build the file again."
        )

    def array(self, name: str, value: np.ndarray, dtype: type, shape: Sequence[int | None]) -> None:
        """Check type, shape (None = any length) and finiteness."""
        if value.dtype != np.dtype(dtype):
            self.fail(name, f"must be {np.dtype(dtype).name}, but is {value.dtype.name}")
        fits = value.ndim == len(shape) and all(
            want is None or want == have for want, have in zip(shape, value.shape, strict=True)
        )
        if not fits:
            wanted = ", ".join("any" if n is None else str(n) for n in shape)
            self.fail(name, f"must have shape [{wanted}], but has {list(value.shape)}")
        if value.dtype.kind == "f" and not np.isfinite(value).all():
            self.fail(name, "holds values that are not finite")

    def indices(self, name: str, value: np.ndarray, count: int) -> None:
        """Check that all entries lie in 0..count-1."""
        if value.size and (value.min() < 0 or value.max() >= count):
            self.fail(name, f"must lie in 0..{count - 1}, but spans {value.min()}..{value.max()}")

    def sums_to_one(self, name: str, value: np.ndarray) -> None:
        """Check rows that are weights."""
        worst = float(np.abs(value.sum(axis=-1) - 1).max()) if value.size else 0.0
        if worst > 1e-3:
            self.fail(name, f"must sum to 1 along the last axis, but is off by up to {worst:.3g}")


def check_head(assets: HeadAssets, path: Path | None = None) -> None:
    """Check every array of a head against the others.

    Raises:
        ModelError: The first array that does not fit, by name.
    """
    check = _Checker("head", path)
    vertices = len(assets.template_vertices)
    check.array("template_vertices", assets.template_vertices, np.float32, (None, 3))
    check.array("faces", assets.faces, np.int32, (None, 3))
    check.indices("faces", assets.faces, vertices)
    check.array("shape_basis", assets.shape_basis, np.float32, (vertices, 3, None))
    check.array("expression_basis", assets.expression_basis, np.float32, (vertices, 3, None))
    names = len(assets.expression_names)
    if names not in (0, assets.expression_basis.shape[2]):
        check.fail(
            "expression_names",
            f"must hold {assets.expression_basis.shape[2]} names or none, but holds {names}",
        )
    _check_skeleton(check, assets, vertices)
    _check_uv(check, assets)
    _check_landmarks(check, assets)
    if assets.mirror_vertices is not None:
        check.array("mirror_vertices", assets.mirror_vertices, np.int32, (vertices,))
        check.indices("mirror_vertices", assets.mirror_vertices, vertices)
    if assets.vertex_regions is not None:
        check.array("vertex_regions", assets.vertex_regions, np.uint8, (vertices,))
        check.indices("vertex_regions", assets.vertex_regions, len(assets.region_names))


def _check_skeleton(check: _Checker, assets: HeadAssets, vertices: int) -> None:
    joints = len(assets.joint_names)
    if joints == 0 or "jaw" not in assets.joint_names:
        check.fail("joint_names", f"must name a root and a `jaw`, but is {assets.joint_names}")
    check.array("joint_regressor", assets.joint_regressor, np.float32, (joints, vertices))
    check.array("skin_weights", assets.skin_weights, np.float32, (vertices, joints))
    check.sums_to_one("skin_weights", assets.skin_weights)
    check.array("parents", assets.parents, np.int32, (joints,))
    in_order = assets.parents[0] == -1 and all(
        0 <= parent < j for j, parent in enumerate(assets.parents[1:], 1)
    )
    if not in_order:
        check.fail(
            "parents",
            f"must start with -1 and name parents before children, but is {assets.parents.tolist()}",
        )
    check.array("pose_basis", assets.pose_basis, np.float32, (None, 3 * vertices))
    if len(assets.pose_basis) not in (0, 9 * (joints - 1)):
        check.fail(
            "pose_basis", f"must have {9 * (joints - 1)} rows or none, but has {len(assets.pose_basis)}"
        )


def _check_uv(check: _Checker, assets: HeadAssets) -> None:
    check.array("uv_coordinates", assets.uv_coordinates, np.float32, (None, 2))
    check.array("uv_faces", assets.uv_faces, np.int32, assets.faces.shape)
    check.indices("uv_faces", assets.uv_faces, len(assets.uv_coordinates))
    check.array("face_eye_mask", assets.face_eye_mask, np.float32, (None, None))
    size = assets.face_eye_mask.shape[0]
    check.array("face_eye_mask", assets.face_eye_mask, np.float32, (size, size))
    check.array("fixed_displacement", assets.fixed_displacement, np.float32, (size, size))
    for name, mask in assets.masks.items():
        check.array(f"mask_{name}", mask, np.uint8, (size, size))


def _check_landmarks(check: _Checker, assets: HeadAssets) -> None:
    for kind, shape in (
        ("inner", (INNER_POINTS,)),
        ("contour", (CONTOUR_ROWS, CONTOUR_POINTS)),
        ("full", (ALL_POINTS,)),
    ):
        faces = getattr(assets, f"{kind}_landmark_faces")
        barycentrics = getattr(assets, f"{kind}_landmark_barycentrics")
        check.array(f"{kind}_landmark_faces", faces, np.int32, shape)
        check.indices(f"{kind}_landmark_faces", faces, len(assets.faces))
        check.array(f"{kind}_landmark_barycentrics", barycentrics, np.float32, (*shape, 3))
        check.sums_to_one(f"{kind}_landmark_barycentrics", barycentrics)


def check_albedo(albedo: AlbedoAssets, path: Path | None = None) -> None:
    """Check the albedo arrays.

    Raises:
        ModelError: The first array that does not fit, by name.
    """
    check = _Checker("albedo", path)
    check.array("albedo_mean", albedo.mean, np.float32, (3, None, None))
    size = albedo.mean.shape[1]
    check.array("albedo_mean", albedo.mean, np.float32, (3, size, size))
    check.array("albedo_basis", albedo.basis, np.float32, (3, size, size, None))
