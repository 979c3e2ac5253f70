"""Skin masks: where the fitted head shows the region of its face, in the pixels of a stored crop."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from deca_cli.render.rasterize import rasterize

if TYPE_CHECKING:
    from deca_cli.packs.store import Pack

LEAST_MASK = 0.5


def face_triangles(pack: Pack) -> np.ndarray:
    """Bool [F], the triangles whose middle lies in the head's face mask (`face_eye_mask`, over the chart)."""
    assets = pack.assets
    middle = assets.uv_coordinates[assets.uv_faces].mean(axis=1)  # [F, 2]
    size = len(assets.face_eye_mask)
    columns = np.clip((middle[:, 0] * size).astype(int), 0, size - 1)
    rows = np.clip(((1 - middle[:, 1]) * size).astype(int), 0, size - 1)
    wanted = assets.face_eye_mask[rows, columns] >= LEAST_MASK
    if "eyes" in assets.masks:
        wanted |= assets.masks["eyes"][rows, columns] > 0
    return wanted


def draw_region(vertices_px: np.ndarray, faces: torch.Tensor, wanted: np.ndarray, size: int) -> np.ndarray:
    """Rasterise the whole head, so that it hides itself, and keep the wanted triangles.

    Args:
        vertices_px: [V, 3] pixel indices of a square picture, x, y, and a depth in any unit, smaller is nearer.
        faces: int64 [F, 3].
        wanted: bool [F].
        size: side of the picture.

    Returns:
        uint8 [size, size], 255 where a wanted triangle is seen.
    """
    depth = vertices_px[:, 2] / max(float(np.abs(vertices_px[:, 2]).max()), 1e-9)
    ndc = np.concatenate([(2 * vertices_px[:, :2] + 1) / size - 1, depth[:, None]], axis=1)
    drawn = rasterize(torch.from_numpy(ndc).float()[None], faces.cpu(), size, size, backend="cpu")
    triangle = drawn.triangle[0].numpy()
    seen = (triangle >= 0) & wanted[np.clip(triangle, 0, None)]
    return seen.astype(np.uint8) * 255
