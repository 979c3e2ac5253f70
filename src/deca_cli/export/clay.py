"""How heads with named regions (the open head) are modelled in clay: the mouth is a hollow, and nothing is black."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

    from deca_cli.heads.assets import HeadAssets

# What is behind the lips: share of the light at the front teeth, and metres further in after which a third is left.
INSIDE = {
    "teeth_upper": (0.95, 0.025),
    "teeth_lower": (0.9, 0.025),
    "gums": (0.7, 0.02),
    "tongue": (0.7, 0.025),
    "mouth_cavity": (0.5, 0.02),
    "eye_sockets": (0.6, np.inf),
}
# Surface that faces away by this cosine is not drawn. The release's limit of 0.15 makes holes of the edges of lids and
# nostrils; the inside of neck and skull is not to be seen.
FACING, OF_HOLLOWS = 0.8, ("neck", "scalp", "ears")
LIFT = 0.2  # grey of what no light reaches: edges of lids, nostrils


def clay_light(head: HeadAssets) -> np.ndarray | None:
    """Float32 [V], share of the light that each vertex gets; None for heads without regions, drawn as the release does."""
    if head.vertex_regions is None or not set(INSIDE) & set(head.region_names):
        return None
    light = np.ones(len(head.template_vertices), np.float32)
    depth = head.template_vertices[:, 2]
    teeth = [name for name in ("teeth_upper", "teeth_lower", "lips") if name in head.region_names]
    front = depth[head.region(teeth[0])].max() if teeth else depth.max()
    for name in set(INSIDE) & set(head.region_names):
        inside = head.region(name)
        share, fade_m = INSIDE[name]
        light[inside] = share * np.exp(-np.clip(front - depth[inside], 0, None) / fade_m)
    return light


def facing_limit(head: HeadAssets) -> np.ndarray | None:
    """Float32 [V], cosine up to which surface that faces away is drawn; None for heads without regions."""
    from deca_cli.render.passes import SHAPE_FACING

    if head.vertex_regions is None or not set(INSIDE) & set(head.region_names):
        return None
    limit = np.full(len(head.template_vertices), FACING, np.float32)
    for name in set(OF_HOLLOWS) & set(head.region_names):
        limit[head.region(name)] = SHAPE_FACING
    return limit


def lifted(grey: Tensor) -> Tensor:
    """Grey in 0..1, the darkest of it brighter."""
    return grey + LIFT * (1 - grey).clamp(min=0) ** 3
