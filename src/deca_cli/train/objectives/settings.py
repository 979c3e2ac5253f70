"""Choices behind the objectives, and what they give back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from deca_cli.train.losses.detail import OFFICIAL_PATCH, Patch

if TYPE_CHECKING:
    from torch import Tensor

    from deca_cli.render.fragments import Rule


@dataclass(frozen=True)
class ObjectiveSettings:
    """How the heads are compared with the photos. The defaults are right; `OFFICIAL` repeats the release's numbers."""

    light_in_photometric: bool = True
    """Whether the coarse photometric term sees the lit head. The published code does not pass the light (spec B1), though
    the published weights were trained with it."""
    photo_behind_overlay: bool = True
    """Whether the identity network sees the photo around the face. In the release it sees one flat colour (spec B17)."""
    patch: Patch | None = None
    """What the detail stage compares in the UV map; none = the official rectangle for heads of the FLAME form, else the
    square around the head's own mask of the face."""
    uv_rule: Rule = "standard"
    """Of the rasteriser for the UV map; `pytorch3d` repeats its weights on small triangles, which miss to sum to 1."""
    depth_shift: float = 0.0
    """Added to the projected depth before the detail stage asks which way the surface faces. The release had 10 there, and
    its float32 then puts a few texels to the other side of the threshold (spec B2)."""
    processes: int = 1
    """How many processes share a step. Terms that are sums over the batch are multiplied by it, so that the mean of the
    processes' gradients is the gradient of the whole batch."""


OFFICIAL = ObjectiveSettings(
    light_in_photometric=False,
    photo_behind_overlay=False,
    patch=OFFICIAL_PATCH,
    uv_rule="pytorch3d",
    depth_shift=10.0,
)


@dataclass(frozen=True, eq=False)
class Step:
    """What one batch gave.

    Attributes:
        total: scalar to minimise, the sum of the terms.
        terms: scalars by their official names, weighted.
        pictures: if asked for, pictures [N, 3, S, S] RGB to look at, not clamped: `inputs`, `predicted_images`,
            `shape_images`, in the coarse stage `overlay_images`, in the detail stage `predicted_detail_images`,
            `uv_texture`, `uv_texture_gt`; and points [N, 68, 2] in NDC, `landmarks2d` and `landmarks2d_gt`.
    """

    total: Tensor
    terms: dict[str, Tensor]
    pictures: dict[str, Tensor] | None = None
