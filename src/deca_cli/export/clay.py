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
# Surface that faces away by this cosine is not drawn: the inside of the neck, but not the edges of lids and nostrils,
# which the release's limit of 0.15 would make holes of.
OPEN_FACING = 0.6
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


def lifted(grey: Tensor) -> Tensor:
    """Grey in 0..1, the darkest of it brighter."""
    return grey + LIFT * (1 - grey).clamp(min=0) ** 3
