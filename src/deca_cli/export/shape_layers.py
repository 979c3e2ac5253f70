"""The head as grey clay under five lights (specification, section 6.6), as layers that can be laid over a photo."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from deca_cli.export.clay import lifted
from deca_cli.export.view import Region, head_region, look, region_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import torch
    from torch import Tensor

    from deca_cli.export.capture import Capture
    from deca_cli.export.view import View

# Pixels of the doubled region up to which edges are smoothed by drawing at twice the size.
SMOOTH_BELOW = 4_000_000
SIDE_STEP = 256  # heads that are drawn together get squares whose side is a multiple of this
SHADED = 0.97  # normals shorter than this belong to what is behind lips and lids
MOST_PIXELS = 2**23  # of these squares at a time; each pixel takes about 150 bytes on the way


@dataclass(frozen=True, eq=False)
class Layers:
    """What is laid over a region of a picture; grey values are weighted with the opacity already."""

    region: Region
    opacity: np.ndarray  # uint8 [h, w]
    coarse: np.ndarray  # uint8 [h, w]
    detail: np.ndarray | None  # uint8 [h, w]; None without detail networks
    sheet: object | None = None  # the memory that they are views of is not used anew while somebody has this


@dataclass(frozen=True, eq=False)
class Fetched:
    """A batch of pictures that has come from the device that drew them."""

    content: np.ndarray  # uint8 [b, 2 or 3, h, w]
    sheet: object | None = None  # whoever keeps parts of the content keeps this; None: has to be copied


@dataclass(frozen=True, eq=False)
class Heads:
    """Heads to be drawn together, on one device."""

    vertices_px: Tensor  # float64 [B, V, 3], as in `Capture`
    normals: Tensor  # float32 [B, V, 3], head frame
    detail_normals: Tensor | None  # float32 [B, 3, U, U]
    faces: Tensor  # int64 [F, 3]
    uv_corners: Tensor  # float32 [T, 2], texture vertices in the frame of pictures
    uv_faces: Tensor  # int64 [F, 3]
    pixel_offset: float
    clay_light: Tensor | None = None  # float32 [V], see `Topology`


def fetched_one_by_one(pictures: Sequence[Tensor]) -> list[Fetched]:
    """To the memory of this process."""
    return [Fetched(picture.cpu().numpy()) for picture in pictures]


def draw_layers(capture: Capture, size: tuple[int, int]) -> Layers:
    """Draw the layers of one head for a picture of the whole photo.

    Args:
        capture: the face.
        size: width and height of the picture.
    """
    once = head_region(capture, size)
    factor = _factor(once)
    if once.width == 0 or once.height == 0:
        return _nothing(once, detail=capture.detail is not None)
    view = look(capture, (factor * size[0], factor * size[1]), once.scaled(factor))
    light = capture.topology.clay_light
    shaded = capture.normals if light is None else capture.normals * light[:, None]
    normals = view.spread(shaded, capture.topology.faces)  # [1, 3, h, w]
    seen = _seen(normals, view.fragments.covered[:, None].to(normals.device), open_head=light is not None)
    fine = None if capture.detail is None else _fine_normals(capture, view)
    [packed] = _pack(normals, fine, seen, factor, open_head=light is not None).cpu().numpy()
    return _layers(once, packed)


def draw_layers_together(
    heads: Heads,
    ends: tuple[np.ndarray, np.ndarray],
    photos: Sequence[tuple[int, int]],
    sizes: Sequence[tuple[int, int]],
    fetch: Callable[[Sequence[Tensor]], list[Fetched]] = fetched_one_by_one,
) -> list[Layers]:
    """As `draw_layers`, for many heads in few operations on their device.

    How a head is drawn does not depend on the others.

    Args:
        heads: the heads.
        ends: least and greatest x and y of the vertices of each head, float64 [B, 2] in pixels.
        photos: width and height of the photo of each.
        sizes: width and height of the picture of each.
        fetch: brings all that is drawn from the device.
    """
    scale = np.array(sizes) / np.array(photos)
    lows, highs = ((end - heads.pixel_offset) * scale for end in ends)
    regions = [region_of(low, high, size) for low, high, size in zip(lows, highs, sizes, strict=True)]
    places = (heads.vertices_px[..., :2] - heads.pixel_offset) * _there(scale, heads.vertices_px)[:, None]
    drawn = [
        (chosen, _draw_squares(heads, places, [regions[index] for index in chosen], chosen, side, factor))
        for side, factor, chosen in _bunches(regions)
    ]
    layers: dict[int, Layers] = {}
    for (chosen, _), picture in zip(drawn, fetch([packed for _, packed in drawn]), strict=True):
        for square, index in zip(picture.content, chosen, strict=True):
            region = regions[index]
            own = square[:, : region.height, : region.width]
            layers[index] = _layers(region, own.copy() if picture.sheet is None else own, picture.sheet)
    detail = heads.detail_normals is not None
    return [layers.get(index) or _nothing(region, detail=detail) for index, region in enumerate(regions)]


def _there(numbers: np.ndarray, like: Tensor) -> Tensor:
    """Numbers on a tensor's device, without waiting for that."""
    import torch

    return torch.from_numpy(numbers).to(like.device, non_blocking=True)


def _bunches(regions: Sequence[Region]) -> Iterator[tuple[int, int, list[int]]]:
    """Side of the squares, factor, and which heads are drawn together."""
    alike: dict[tuple[int, int], list[int]] = {}
    for index, region in enumerate(regions):
        if region.width and region.height:
            factor = _factor(region)
            longer = factor * max(region.width, region.height)
            alike.setdefault((-(-longer // SIDE_STEP) * SIDE_STEP, factor), []).append(index)
    for (side, factor), members in alike.items():
        most = max(1, MOST_PIXELS // side**2)
        for start in range(0, len(members), most):
            yield side, factor, members[start : start + most]


def _draw_squares(
    heads: Heads, places: Tensor, regions: Sequence[Region], chosen: list[int], side: int, factor: int
) -> Tensor:
    """uint8 [b, 2 or 3, side / factor, side / factor] as of `_pack`, of the chosen heads."""
    import torch

    from deca_cli.render.interpolate import interpolate
    from deca_cli.render.rasterize import rasterize

    index = _there(np.array(chosen), places)
    corner = _there(np.array([[region.left, region.top] for region in regions]), places)[:, None]
    flat = (places[index] - corner) * (2 * factor / side) - 1
    z = heads.vertices_px[index][..., 2:]
    z = z - z.amin(1, keepdim=True)
    ndc = torch.cat([flat, z / z.amax(1, keepdim=True).clamp(min=1e-9)], dim=2).float()
    fragments = rasterize(ndc, heads.faces, side, side)
    shaded = heads.normals[index]
    if heads.clay_light is not None:
        shaded = shaded * heads.clay_light[:, None]
    normals = interpolate(fragments, heads.faces, shaded)
    fine = None
    if heads.detail_normals is not None:
        grid = interpolate(fragments, heads.uv_faces, heads.uv_corners).permute(0, 2, 3, 1)
        fine = _looked_up(heads.detail_normals[index], grid)
    open_head = heads.clay_light is not None
    seen = _seen(normals, fragments.covered[:, None], open_head=open_head)
    return _pack(normals, fine, seen, factor, open_head=open_head)


def _pack(normals: Tensor, fine: Tensor | None, seen: Tensor, factor: int, *, open_head: bool) -> Tensor:
    """Opacity, coarse and perhaps detailed grey, uint8 [b, 2 or 3, h, w], averaged down if they were drawn larger.

    Normals of the open head are as long as much light they get.
    """
    import torch
    from torch.nn import functional as F

    from deca_cli.render.normals import length

    if open_head and fine is not None:
        fine = fine * length(normals, dim=1, eps=1e-6)
    greys = [clay(one) for one in (normals, fine) if one is not None]
    greys = [(lifted(grey) if open_head else grey) * seen for grey in greys]
    layers = torch.cat([seen, *greys], dim=1)
    layers = F.avg_pool2d(layers, factor) if factor > 1 else layers
    return (255 * layers + 0.5).clamp_(0, 255).to(torch.uint8)


def clay(normals: Tensor) -> Tensor:
    """Normals [b, 3, h, w] in the head frame -> grey [b, 1, h, w] in 0..1 under the five lights."""
    from deca_cli.render.lighting import directional_shading
    from deca_cli.render.passes import SHAPE_GREY, SHAPE_LIGHTS

    lights = _there(np.array([SHAPE_LIGHTS], np.float32), normals).expand(len(normals), -1, -1)
    return SHAPE_GREY * directional_shading(normals, lights)[:, :1]


def _fine_normals(capture: Capture, view: View) -> Tensor:
    """The normals of the detail map at every pixel, [1, 3, h, w]."""
    import torch

    from deca_cli.render.uv import uv_to_ndc

    assert capture.detail is not None  # noqa: S101 - the caller has looked
    uv = view.spread(capture.topology.uv_coordinates, capture.topology.uv_faces)
    return _looked_up(torch.from_numpy(capture.detail.normals).to(uv.device)[None], uv_to_ndc(uv))


def _looked_up(stored: Tensor, grid: Tensor) -> Tensor:
    """Normals [b, 3, U, U] of the chart at a grid [b, h, w, 2], of unit length."""
    from torch.nn import functional as F

    from deca_cli.render.normals import unit

    sampled = F.grid_sample(stored, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    return unit(sampled, dim=1)  # at the chart's borders texels without a normal have been mixed in


def _seen(normals: Tensor, covered: torch.Tensor, *, open_head: bool) -> Tensor:
    """Float [b, 1, h, w]: 1 where there is a head that does not face away; the projected normal's z is minus the head's.

    Behind the lips and lids of the open head, where normals are short, the photo does not shine through either.
    """
    from deca_cli.render.normals import length
    from deca_cli.render.passes import SHAPE_FACING

    facing = -normals[:, 2:] < SHAPE_FACING
    if open_head:
        facing = facing | (length(normals, dim=1, eps=1e-6) < SHADED)
    return (covered & facing).to(normals.dtype)


def _factor(region: Region) -> int:
    """A head is drawn at twice the picture's resolution where that is cheap."""
    return 2 if 4 * region.width * region.height <= SMOOTH_BELOW else 1


def _layers(region: Region, packed: np.ndarray, sheet: object | None = None) -> Layers:
    return Layers(region, packed[0], packed[1], packed[2] if len(packed) > 2 else None, sheet)


def _nothing(region: Region, *, detail: bool) -> Layers:
    return _layers(region, np.zeros((3 if detail else 2, region.height, region.width), np.uint8))
