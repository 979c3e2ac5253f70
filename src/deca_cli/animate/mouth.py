"""Colours for what a photo rarely shows: teeth, gums, tongue, the inside of the mouth, and eyes that are half hidden.

Heads with named regions (the open head) have these parts; their texels are painted in plain colours, brought to the
photo's brightness by that of the skin. Heads without regions (FLAME) have no such parts and are left alone.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch

from deca_cli.render.uv import rasterize_uv

if TYPE_CHECKING:
    from deca_cli.heads.assets import HeadAssets

COLOURS = {  # sRGB under a light in which skin has the brightness SKIN
    "teeth_upper": (214, 204, 188),
    "teeth_lower": (200, 189, 172),
    "gums": (150, 84, 80),
    "tongue": (150, 80, 78),
    "mouth_cavity": (74, 32, 32),
}
SKIN = 165.0  # mean of red, green and blue
BRIGHTNESS = (0.35, 1.25)  # range of the factor
GRID = 512
FACE_REGION = "skin"


def paint_inside(head: HeadAssets, texture: np.ndarray) -> np.ndarray:
    """A texture uint8 [U, U, 3] with the inside of the mouth painted; the same one if the head has no such regions."""
    if head.vertex_regions is None or not set(COLOURS) & set(head.region_names):
        return texture
    regions = region_map(head)
    size = texture.shape[0]
    skin = cv2.resize(texture, (GRID, GRID), interpolation=cv2.INTER_AREA)[
        regions == _number(head, FACE_REGION)
    ]
    factor = float(np.clip(np.median(skin.mean(axis=1)) / SKIN, *BRIGHTNESS)) if len(skin) else 1.0
    painted = texture.copy()
    for name, colour in COLOURS.items():
        if name not in head.region_names:
            continue
        mask = cv2.dilate((regions == _number(head, name)).astype(np.uint8), np.ones((3, 3), np.uint8))
        # A seam's neighbour in the chart may be skin: what belongs to another region keeps its colour.
        mask &= (regions == _number(head, name)) | (regions < 0)
        full = cv2.resize(mask, (size, size), interpolation=cv2.INTER_NEAREST).astype(bool)
        painted[full] = np.clip(np.array(colour) * factor, 0, 255).astype(np.uint8)
    return painted


@lru_cache(maxsize=2)
def region_map(head: HeadAssets) -> np.ndarray:
    """int16 [GRID, GRID]: number of the region on each texel, that of the nearest corner; -1 outside the chart."""
    uv, faces = torch.from_numpy(head.uv_coordinates), torch.from_numpy(head.uv_faces.astype(np.int64))
    fragments = rasterize_uv(uv, faces, GRID, backend="cpu")
    triangle = fragments.triangle[0].numpy()
    nearest = fragments.barycentrics[0].numpy().argmax(axis=2)
    assert head.vertex_regions is not None
    regions = head.vertex_regions[head.faces[np.maximum(triangle, 0), nearest]].astype(np.int16)
    return np.asarray(np.where(triangle >= 0, regions, -1))


def _number(head: HeadAssets, name: str) -> int:
    return head.region_names.index(name) if name in head.region_names else -2
