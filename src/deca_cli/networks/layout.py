"""What the numbers of the coarse encoder mean, and how they become codes.

A layout is a list of (name, size) in the order of the encoder's output:

================== ==== =========================================================================================
name               size meaning
================== ==== =========================================================================================
shape                 S identity code
albedo                N skin colour code
expression            E expression code
pose                  6 axis-angle of the head, axis-angle of the jaw (radians)
pose_euler_jaw        6 axis-angle of the head, Euler angles x, y, z of the jaw (spec section 3.2, jaw type euler)
rotation_6d           6 rotation of the head as its first two columns; the jaw stays at rest
camera                3 s, tx, ty
log_camera            3 log s, and the shift in NDC: x' = s x + cx, y' = s y + cy (before the flip)
light                27 spherical harmonics, [9, 3] row by row
detail                D wrinkle code, in packs whose coarse encoder answers it as well
face_score            1 logit of "this is a face"
dense_points          n helper of the training, not used here
================== ==== =========================================================================================
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from deca_cli.heads.rotations import euler_to_axis_angle, matrix_to_axis_angle, rotation_6d_to_matrix
from deca_cli.networks.codes import Codes, CodeSizes, Encoding

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Layout = tuple[tuple[str, int], ...]

DECA_LAYOUT: Layout = (
    ("shape", 100),
    ("albedo", 50),
    ("expression", 50),
    ("pose", 6),
    ("camera", 3),
    ("light", 27),
)

FREE_SIZES = ("shape", "albedo", "expression", "detail", "dense_points")
FIXED_SIZES = {
    "pose": 6,
    "pose_euler_jaw": 6,
    "rotation_6d": 6,
    "camera": 3,
    "log_camera": 3,
    "light": 27,
    "face_score": 1,
}
ALTERNATIVES = (("pose", "pose_euler_jaw", "rotation_6d"), ("camera", "log_camera"))


def layout_width(layout: Layout) -> int:
    """Length of the encoder's output."""
    return sum(size for _, size in layout)


def check_layout(layout: Sequence[tuple[str, int]]) -> None:
    """Refuse a layout that cannot be turned into codes.

    Raises:
        ValueError: An unknown or doubled name, a wrong size, or no pose or camera.
    """
    names = [name for name, _ in layout]
    for name, size in layout:
        if name not in FIXED_SIZES and name not in FREE_SIZES:
            raise ValueError(f"unknown output `{name}`, known are {', '.join((*FREE_SIZES, *FIXED_SIZES))}")
        if size != FIXED_SIZES.get(name, size) or size < 1:
            raise ValueError(f"output `{name}` cannot have size {size}")
    if len(set(names)) != len(names):
        raise ValueError(f"an output is named twice in {names}")
    for choice in ALTERNATIVES:
        if sum(name in names for name in choice) != 1:
            raise ValueError(f"exactly one of {', '.join(choice)} is needed, but the outputs are {names}")


def split_raw(raw: Tensor, layout: Layout) -> dict[str, Tensor]:
    """[B, outputs] -> one [B, size] per name of the layout."""
    parts = raw.split([size for _, size in layout], dim=1)
    return {name: part for (name, _), part in zip(layout, parts, strict=True)}


def raw_to_codes(
    raw: Tensor,
    layout: Layout,
    sizes: CodeSizes,
    expression_range: tuple[float, float] | None = None,
) -> Encoding:
    """Turn the encoder's output into codes.

    Args:
        raw: [B, outputs] as `Encoder` gives it.
        layout: Names and sizes of the outputs.
        sizes: Sizes of the codes; what the layout lacks becomes zeros of that size.
        expression_range: Limits of the expression code, (0, 1) for ARKit coefficients; none = unbounded.
    """
    parts = split_raw(raw.float(), layout)
    expression = _part(parts, "expression", raw, sizes.expression)
    if expression_range is not None:
        expression = expression.clamp(*expression_range)
    light = _part(parts, "light", raw, sizes.light)
    codes = Codes(
        shape=_part(parts, "shape", raw, sizes.shape),
        albedo=_part(parts, "albedo", raw, sizes.albedo),
        expression=expression,
        pose=_pose(parts),
        camera=_camera(parts),
        light=light.unflatten(1, (sizes.light // 3, 3)),
        detail=_part(parts, "detail", raw, sizes.detail),
    )
    score = torch.sigmoid(parts["face_score"][:, 0]) if "face_score" in parts else None
    return Encoding(codes, score)


def _part(parts: Mapping[str, Tensor], name: str, raw: Tensor, size: int) -> Tensor:
    return parts[name] if name in parts else raw.new_zeros(len(raw), size, dtype=torch.float32)


def _pose(parts: Mapping[str, Tensor]) -> Tensor:
    """[B, 6] axis-angle of head and jaw from whichever form the layout has."""
    if "pose" in parts:
        return parts["pose"]
    if "pose_euler_jaw" in parts:
        pose = parts["pose_euler_jaw"]
        return torch.cat([pose[:, :3], euler_to_axis_angle(pose[:, 3:])], dim=1)
    head = matrix_to_axis_angle(rotation_6d_to_matrix(parts["rotation_6d"]))
    return torch.cat([head, torch.zeros_like(head)], dim=1)


def _camera(parts: Mapping[str, Tensor]) -> Tensor:
    """[B, 3] s, tx, ty from whichever form the layout has."""
    if "camera" in parts:
        return parts["camera"]
    log_camera = parts["log_camera"]
    scale = torch.exp(log_camera[:, :1])
    return torch.cat([scale, log_camera[:, 1:] / scale], dim=1)
