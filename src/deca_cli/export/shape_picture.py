"""The head as grey clay under five lights, laid over the photo (specification, section 6.6)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

from deca_cli.export.view import Region, head_region, look

if TYPE_CHECKING:
    from deca_cli.export.capture import Capture
    from deca_cli.export.view import View

SMOOTH_BELOW = (
    4_000_000  # pixels of the doubled region up to which edges are smoothed by drawing at twice the size
)


def draw_coarse(capture: Capture, picture: np.ndarray) -> np.ndarray:
    """A copy of a picture of the whole photo (uint8 [H, W, 3], any size) with the coarse shape over it."""
    view, factor = _view_for(capture, picture)
    normals = view.interpolate(capture.normals, capture.topology.faces)
    return _lay_over(picture, view.region, factor, clay(normals), _seen(normals, view))


def draw_detail(capture: Capture, picture: np.ndarray) -> np.ndarray | None:
    """As `draw_coarse` with the normals of the detail map; None if the pack has no detail networks."""
    if capture.detail is None:
        return None
    view, factor = _view_for(capture, picture)
    coarse = view.interpolate(capture.normals, capture.topology.faces)
    uv = view.interpolate(capture.topology.uv_coordinates, capture.topology.uv_faces)
    size = capture.detail.normals.shape[-1]
    columns = uv[..., 0] * size - 0.5
    rows = (1 - uv[..., 1]) * size - 0.5
    stored = np.ascontiguousarray(capture.detail.normals.transpose(1, 2, 0))
    fine = cv2.remap(stored, columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
    return _lay_over(picture, view.region, factor, clay(fine), _seen(coarse, view))


def clay(normals: np.ndarray) -> np.ndarray:
    """Normals [h, w, 3] in the head frame -> grey [h, w] in 0..1 under the five lights."""
    import torch

    from deca_cli.render.lighting import directional_shading
    from deca_cli.render.passes import SHAPE_GREY, SHAPE_LIGHTS

    pixels = torch.from_numpy(normals.reshape(1, -1, 1, 3)).permute(0, 3, 1, 2)  # [1, 3, h w, 1]
    shading = directional_shading(pixels, torch.tensor([SHAPE_LIGHTS]))
    grey: np.ndarray = (SHAPE_GREY * shading[0, 0]).reshape(normals.shape[:2]).numpy()
    return grey


def _seen(coarse: np.ndarray, view: View) -> np.ndarray:
    """Bool [h, w]: there is a head and it does not face away; the projected normal's z is minus the head frame's."""
    from deca_cli.render.passes import SHAPE_FACING

    return view.covered & (-coarse[..., 2] < SHAPE_FACING)


def _view_for(capture: Capture, picture: np.ndarray) -> tuple[View, int]:
    """The head on the picture's grid, at twice its resolution where that is cheap; and the factor."""
    size = (picture.shape[1], picture.shape[0])
    once = head_region(capture, size)
    factor = 2 if 4 * once.width * once.height <= SMOOTH_BELOW else 1
    grown = Region(*(factor * edge for edge in (once.left, once.top, once.right, once.bottom)))
    return look(capture, (factor * size[0], factor * size[1]), grown), factor


def _lay_over(
    picture: np.ndarray, region: Region, factor: int, grey: np.ndarray, seen: np.ndarray
) -> np.ndarray:
    """Composite the grey surface over a copy of the picture, averaging down if it was drawn larger."""
    out = picture.copy()
    once = Region(*(edge // factor for edge in (region.left, region.top, region.right, region.bottom)))
    if once.width == 0 or once.height == 0:
        return out
    size = (once.width, once.height)
    opacity = cv2.resize(seen.astype(np.float32), size, interpolation=cv2.INTER_AREA)[..., None]
    colour = cv2.resize(np.where(seen, grey, 0).astype(np.float32), size, interpolation=cv2.INTER_AREA)[
        ..., None
    ]
    mixed = 255 * colour + (1 - opacity) * out[once.slices]
    out[once.slices] = np.clip(mixed + 0.5, 0, 255).astype(np.uint8)
    return out
