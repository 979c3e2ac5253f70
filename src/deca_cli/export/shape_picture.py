"""The head as grey clay under five lights, laid over the photo (specification, section 6.6)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from deca_cli.export.view import Region, head_region, look

if TYPE_CHECKING:
    from torch import Tensor

    from deca_cli.export.capture import Capture
    from deca_cli.export.view import View

SMOOTH_BELOW = (
    4_000_000  # pixels of the doubled region up to which edges are smoothed by drawing at twice the size
)


def draw_shapes(capture: Capture, picture: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """Copies of a picture of the whole photo (uint8 [H, W, 3], any size) with the coarse and the detailed shape over it.

    The head is rasterised once for both, on the capture's device, and composited there. The second is None if the pack
    has no detail networks.
    """
    view, factor = _view_for(capture, picture)
    once = Region(*(edge // factor for edge in _edges(view.region)))
    if once.width == 0 or once.height == 0:
        return picture.copy(), None if capture.detail is None else picture.copy()
    normals = view.spread(capture.normals, capture.topology.faces)  # [1, 3, h, w]
    seen = _seen(normals, view)
    coarse = _lay_over(picture, once, factor, clay(normals), seen)
    if capture.detail is None:
        return coarse, None
    fine = _fine_normals(capture, view)
    return coarse, _lay_over(picture, once, factor, clay(fine), seen)


def clay(normals: Tensor) -> Tensor:
    """Normals [1, 3, h, w] in the head frame -> grey [1, 1, h, w] in 0..1 under the five lights."""
    import torch

    from deca_cli.render.lighting import directional_shading
    from deca_cli.render.passes import SHAPE_GREY, SHAPE_LIGHTS

    lights = torch.tensor([SHAPE_LIGHTS], device=normals.device)
    return SHAPE_GREY * directional_shading(normals, lights)[:, :1]


def _fine_normals(capture: Capture, view: View) -> Tensor:
    """The normals of the detail map at every pixel, [1, 3, h, w]."""
    import torch
    from torch.nn import functional as F

    assert capture.detail is not None  # noqa: S101 - the caller has looked
    uv = view.spread(capture.topology.uv_coordinates, capture.topology.uv_faces)
    grid = torch.stack([2 * uv[:, 0] - 1, 1 - 2 * uv[:, 1]], dim=-1)
    stored = torch.from_numpy(capture.detail.normals).to(uv.device)[None]
    sampled = F.grid_sample(stored, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    return F.normalize(sampled, dim=1)  # at the chart's borders texels without a normal have been mixed in


def _seen(normals: Tensor, view: View) -> Tensor:
    """Float [1, 1, h, w]: 1 where there is a head that does not face away; the projected normal's z is minus the head's."""
    from deca_cli.render.passes import SHAPE_FACING

    covered = view.fragments.covered[:, None].to(normals.device)
    return (covered & (-normals[:, 2:] < SHAPE_FACING)).to(normals.dtype)


def _edges(region: Region) -> tuple[int, int, int, int]:
    return region.left, region.top, region.right, region.bottom


def _view_for(capture: Capture, picture: np.ndarray) -> tuple[View, int]:
    """The head on the picture's grid, at twice its resolution where that is cheap; and the factor."""
    size = (picture.shape[1], picture.shape[0])
    once = head_region(capture, size)
    factor = 2 if 4 * once.width * once.height <= SMOOTH_BELOW else 1
    grown = Region(*(factor * edge for edge in _edges(once)))
    return look(capture, (factor * size[0], factor * size[1]), grown), factor


def _lay_over(picture: np.ndarray, region: Region, factor: int, grey: Tensor, seen: Tensor) -> np.ndarray:
    """Composite the grey surface over a copy of the picture, averaging down if it was drawn larger."""
    import torch
    from torch.nn import functional as F

    layers = torch.cat([grey * seen, seen], dim=1)  # [1, 2, h, w]
    colour, opacity = (F.avg_pool2d(layers, factor) if factor > 1 else layers)[0, :, :, :, None]
    below = torch.from_numpy(np.ascontiguousarray(picture[region.slices])).to(grey.device)
    mixed = 255 * colour + (1 - opacity) * below + 0.5
    out = picture.copy()
    out[region.slices] = mixed.clamp(0, 255).to(torch.uint8).cpu().numpy()
    return out
