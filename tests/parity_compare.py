"""How far two sets of numbers are apart, and how far they may be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from official_release import thinned

if TYPE_CHECKING:
    from torch import Tensor

    from deca_cli.networks.codes import Codes


@dataclass(frozen=True)
class Limit:
    """What may differ, from the README of the data: all values by `worst`, 99.9 % of them by `most`."""

    worst: float
    most: float | None = None
    relative: float = 0.0

    def __str__(self) -> str:
        text = f"{self.worst:g}"
        if self.relative:
            text += f" + {self.relative:g} of the value"
        return text if self.most is None else f"{text}; 99.9 %: {self.most:g}"


GEOMETRY = Limit(1e-6, relative=1e-5)
CODES = Limit(1e-5, relative=1e-5)
CROPS = Limit(2e-5)
# The release's own rounding of vertices (2e-8 m) turns the normals of its smallest triangles by up to 5e-5.
NORMALS = Limit(1e-4)
IMAGES = Limit(5e-4, most=1e-5)
DETAIL = Limit(5e-4, most=5e-5)
# With codes of our own, which differ from theirs by up to 1e-5; and for differences of neighbouring points.
END_TO_END = Limit(5e-4, most=1e-4)
PYTORCH3D = Limit(4e-3, most=1e-3)
EXACT = Limit(0.0)
TRUNCATED = Limit(1.0)  # of 255: a value that lies on a step may fall to either side


@dataclass(frozen=True)
class Deviation:
    """One quantity compared."""

    quantity: str
    limit: Limit
    count: int
    worst: float
    most: float  # 99.9 % of the values are within this
    excess: float  # 1 = at the limit

    @property
    def holds(self) -> bool:
        return self.count > 0 and self.excess <= 1


def compare(
    quantity: str, have: Tensor | np.ndarray, want: np.ndarray, limit: Limit, where: np.ndarray | None = None
) -> Deviation:
    """Measure how far two arrays are apart, where `where` says so (broadcast over their shape)."""
    have, want = np.asarray(have, dtype=np.float64), np.asarray(want, dtype=np.float64)
    assert have.shape == want.shape, f"{quantity}: {have.shape} against {want.shape}"
    errors = np.abs(have - want)
    allowed = limit.worst + limit.relative * np.abs(want)
    if where is not None:
        chosen = np.broadcast_to(where, errors.shape)
        errors, allowed = errors[chosen], allowed[chosen]
    if not errors.size:
        return Deviation(quantity, limit, 0, 0.0, 0.0, np.inf)
    assert np.isfinite(errors).all(), f"{quantity} has values that are no numbers"
    most = float(np.quantile(errors, 0.999))
    with np.errstate(divide="ignore", invalid="ignore"):
        excess = float(np.where(errors == 0, 0.0, errors / allowed).max())
    if limit.most is not None:
        excess = max(excess, most / limit.most)
    return Deviation(quantity, limit, errors.size, float(errors.max()), most, excess)


LIMITS = {
    "op_verts": GEOMETRY,
    "op_trans_verts": GEOMETRY,
    "op_landmarks2d": GEOMETRY,
    "op_landmarks3d": GEOMETRY,
    "op_landmarks3d_world": GEOMETRY,
    "op_normals": NORMALS,
    "op_displacement_map": GEOMETRY,
    "op_albedo": GEOMETRY,
    "op_alpha_images": EXACT,
    "op_grid": IMAGES,
    "op_normal_images": DETAIL,
    "op_rendered_images": IMAGES,
    "op_uv_texture": DETAIL,
    "op_uv_texture_gt": DETAIL,
    "op_uv_detail_normals": END_TO_END,
    "vis_shape_images": IMAGES,
    "vis_shape_detail_images": DETAIL,
    "depth_image": IMAGES,
}
DRAWN = ("op_grid", "op_alpha_images", "op_normal_images", "op_rendered_images", "vis_shape", "depth_image")
NOT_OURS = ("vis_landmarks", "vis_inputs")  # drawings of points, which we draw in our own way


def compare_outputs(
    title: str,
    ours: dict[str, Tensor],
    theirs: dict[str, np.ndarray],
    fragile: np.ndarray | None,
    *,
    stride: int | None = None,
    limits: dict[str, Limit] | None = None,
) -> list[Deviation]:
    """Compare everything that both have; names in the file may end in `_s3` and the like."""
    found = []
    for stored, value in theirs.items():
        name = next((name for name in ours if stored == name or stored.startswith(f"{name}_s")), None)
        if name is None or stored.startswith(NOT_OURS):
            continue
        have = ours[name].numpy()
        limit = (limits or LIMITS).get(name, LIMITS[name])
        want = value / 65535 if value.dtype == np.uint16 else value
        if name == "op_trans_verts":
            want, shift = _without_shift(want, have)
            limit = Limit(3e-6, relative=1e-5) if shift else limit  # adding 10 rounds z to 2e-6 (README)
        where = None
        if have.ndim == 4:
            rows = 1 if name == "op_grid" else 2
            have = thinned(
                have, want.shape[rows], rows=rows, given=stride if name.startswith(DRAWN) else None
            )
            if name.startswith(DRAWN) and fragile is not None:
                clear = thinned(fragile, want.shape[rows], rows=1, given=stride) == 0
                where = clear[..., None] if name == "op_grid" else clear[:, None]
        found.append(
            compare(f"{title}: {name.removeprefix('op_').removeprefix('vis_')}", have, want, limit, where)
        )
    return found


def _without_shift(points: np.ndarray, ours: np.ndarray) -> tuple[np.ndarray, float]:
    """The release adds 10 to z in place, up to three times."""
    shift = 10 * np.rint((points[..., 2] - ours[..., 2]).mean() / 10)
    return points - np.array([0, 0, shift], np.float32), float(shift)


def at(codes: Codes, index: np.ndarray) -> Codes:
    return codes.select(torch.from_numpy(np.atleast_1d(index)))
