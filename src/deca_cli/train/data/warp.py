"""The device's half of a crop: sample the canvas, change colours (`cut.py` is the worker's half)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

CHUNK = 64  # pictures at a time; the float copy of a canvas is four times as large as the canvas
GREY = (0.299, 0.587, 0.114)


def warp(canvases: Tensor, places: Tensor, colours: Tensor | None, size: int) -> tuple[Tensor, Tensor]:
    """Bilinear samples, zero outside the canvas.

    Args:
        canvases: uint8 [N, C, C, 4], RGB and mask.
        places: float32 [N, 4]: canvas pixels per crop pixel, canvas x and y of the crop's first pixel centre, and
            whether the crop is mirrored (1) or not (0).
        colours: float32 [N, 3], factors of brightness, contrast and saturation; None: colours stay.
        size: side S of the crops.

    Returns:
        Images float32 [N, 3, S, S] in 0..1 and masks float32 [N, S, S] in 0..1.
    """
    parts = zip(canvases.split(CHUNK), places.split(CHUNK), strict=True)
    sampled = torch.cat([_sample(*part, size) for part in parts])
    images, masks = sampled[:, :3].contiguous(), sampled[:, 3].contiguous()
    return (images if colours is None else _recolour(images, colours)), masks


def _sample(canvases: Tensor, places: Tensor, size: int) -> Tensor:
    """[N, 4, S, S], pictures and masks."""
    pixels = canvases.permute(0, 3, 1, 2).float() / 255
    indices = torch.arange(size, dtype=torch.float32, device=canvases.device)
    step, first_x, first_y, flipped = places[:, :, None].unbind(1)  # each [N, 1]
    columns = first_x + step * torch.where(flipped > 0, size - 1 - indices, indices)  # [N, S]
    rows = first_y + step * indices
    extent = canvases.shape[1] - 1
    x = (columns * (2 / extent) - 1)[:, None, :].expand(-1, size, -1)
    y = (rows * (2 / extent) - 1)[:, :, None].expand(-1, -1, size)
    sampled = F.grid_sample(pixels, torch.stack([x, y], -1), "bilinear", "zeros", align_corners=True)
    return sampled.clamp_(0, 1)  # weights that round up


def _recolour(images: Tensor, colours: Tensor) -> Tensor:
    """Brightness, then contrast about the mean, then saturation about the grey picture; clipped to 0..1."""
    brightness, contrast, saturation = (factor[:, None, None, None] for factor in colours.unbind(1))
    weights = torch.tensor(GREY, device=images.device)[:, None, None]
    changed = images * brightness
    mean = (changed * weights).sum(1, keepdim=True).mean((2, 3), keepdim=True)
    changed = (changed - mean) * contrast + mean
    grey = (changed * weights).sum(1, keepdim=True)
    return ((changed - grey) * saturation + grey).clamp(0, 1)
