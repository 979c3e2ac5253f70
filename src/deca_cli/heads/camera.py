"""The weak-perspective camera and the image coordinates behind it. The axis flip of the program is here, once.

Normalised image coordinates (NDC): x right, y down, -1..1 over the whole image from edge to edge; smaller z is
nearer. Pixel coordinates are indices: the centre of the top left pixel is (0, 0). ``offset`` joins the two,
``pixel = (ndc + 1) / 2 * size + offset``: -0.5 is exact, 0 repeats the half-pixel shift of the official release
(spec K10); it belongs to the model pack.
"""

from __future__ import annotations

import torch
from torch import Tensor


def project(points: Tensor, camera: Tensor) -> Tensor:
    """[B, N, 3] head frame, metres -> [B, N, 3] NDC (spec section 5).

    Args:
        points: Points in the head frame.
        camera: [B, 3] = (s, tx, ty): x' = s (x + tx), y' = s (y + ty), z' = s z; then y and z change sign.
    """
    scale = camera[:, None, :1]  # [B, 1, 1]
    shift = torch.nn.functional.pad(camera[:, None, 1:], (0, 1))  # [B, 1, 3], nothing added to z
    x, y, z = (scale * (points + shift)).unbind(-1)
    return torch.stack([x, -y, -z], dim=-1)  # a tensor made of numbers here would stop the GPU


def ndc_to_pixels(ndc: Tensor, size: int | tuple[int, int], offset: float) -> Tensor:
    """[..., 2 or more] NDC -> [..., 2] pixel indices (x, y) of an image.

    Args:
        ndc: Points; only x and y are used.
        size: Side of a square image, or (height, width).
        offset: -0.5 (exact) or 0 (official), see the module text.
    """
    return (ndc[..., :2] + 1) / 2 * _width_height(ndc, size) + offset


def pixels_to_ndc(pixels: Tensor, size: int | tuple[int, int], offset: float) -> Tensor:
    """[..., 2] pixel indices (x, y) -> [..., 2] NDC; the inverse of `ndc_to_pixels`."""
    return (pixels - offset) * 2 / _width_height(pixels, size) - 1


def ndc_to_photo_pixels(ndc: Tensor, to_photo: Tensor, crop_size: int, offset: float) -> Tensor:
    """[B, N, 2 or 3] NDC of the crop -> [B, N, 2] pixel indices of the original photo.

    Args:
        ndc: Points in the crop; only x and y are used.
        to_photo: [B, 3, 3], crop pixel indices (column vectors) -> photo pixel indices.
        crop_size: Side of the crop in pixels.
        offset: See the module text.
    """
    pixels = ndc_to_pixels(ndc, crop_size, offset)
    homogeneous = torch.nn.functional.pad(pixels, (0, 1), value=1.0)  # [B, N, 3]
    return (homogeneous @ to_photo.to(ndc).transpose(1, 2))[..., :2]


def ndc_to_photo(
    ndc: Tensor, to_photo: Tensor, crop_size: int, offset: float, photo_size: tuple[int, int]
) -> Tensor:
    """[B, N, 2 or 3] NDC of the crop -> the same in NDC of the original photo; z, if there, stays as it is.

    Args:
        ndc: Points in the crop.
        to_photo: [B, 3, 3], crop pixel indices (column vectors) -> photo pixel indices.
        crop_size: Side of the crop in pixels.
        offset: See the module text; used on both sides.
        photo_size: (height, width) of the photo.
    """
    pixels = ndc_to_photo_pixels(ndc, to_photo, crop_size, offset)
    return torch.cat([pixels_to_ndc(pixels, photo_size, offset), ndc[..., 2:]], dim=-1)


def _width_height(like: Tensor, size: int | tuple[int, int]) -> Tensor | float:
    if isinstance(size, int):
        return float(size)  # a tensor made of numbers would stop the GPU
    height, width = size
    return like.new_tensor([float(width), float(height)])
