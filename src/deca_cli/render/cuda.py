"""Rasterisation, interpolation and their gradients on an NVIDIA GPU: buffers and launches around `rasterize.cu`.

Nothing here waits for the GPU or looks at what lies on it, so all of it may be captured in a CUDA graph.
"""

import functools
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from deca_cli.render.barycentrics import area_epsilon
from deca_cli.render.fragments import Rule
from deca_cli.render.kernels import BLOCK, launcher

# Of rasterize.cu: pixels of a block, triangles of a warp at most, numbers in the list of large triangles.
TILE_WIDTH, TILE_HEIGHT, WARP, LIST = 32, 4, 32, 1024
# Warps that keep a large GPU busy; with fewer triangles than this times 32, a warp takes fewer of them.
BUSY_WARPS = 4096
# Blocks that share the pixels of the large triangles.
LARGE_BLOCKS = 1056

Arrays = tuple[Tensor, Tensor, Tensor]  # triangle, barycentrics, depth


class _Plan(NamedTuple):
    """What the launches of one problem size need; made once and kept."""

    sizes: tuple[Any, ...]  # wide, batch, vertices, faces, height, width, standard, epsilon, z offset
    share: np.int32
    draw_blocks: int
    parts: np.int32
    large_blocks: int
    pixel_blocks: int
    key_count: int


@functools.lru_cache(maxsize=1024)
def _plan(
    wide: bool, batch: int, vertices: int, faces: int, height: int, width: int, rule: Rule, z_offset: float
) -> _Plan:
    share = WARP
    while share > 1 and batch * faces < share * BUSY_WARPS:
        share //= 2
    tiles = _blocks_of_pixels(1, height, width)
    parts = max(1, min(tiles, LARGE_BLOCKS // max(batch, 1)))
    integers = (np.int32(size) for size in (wide, batch, vertices, faces, height, width, rule == "standard"))
    return _Plan(
        sizes=(*integers, np.float64(area_epsilon(rule, height, width)), np.float64(z_offset)),
        share=np.int32(share),
        draw_blocks=batch * -(-faces // (share * (BLOCK // WARP))),
        parts=np.int32(parts),
        large_blocks=batch * parts,
        pixel_blocks=batch * tiles,
        key_count=batch * (height * width + LIST // 2),
    )


def rasterize(
    vertices: Tensor, faces: Tensor, height: int, width: int, rule: Rule, z_offset: float
) -> Arrays:
    """Triangle, barycentrics and depth of the visible surface; the contract is that of `render.rasterize`.

    Raises:
        DeviceError: cuda-core is missing, or the kernels do not compile or load on this device.
    """
    *arrays, _ = _draw(vertices, faces, height, width, rule, z_offset, None, None)
    return tuple(arrays)


def rasterize_and_interpolate(
    vertices: Tensor, faces: Tensor, attribute_faces: Tensor, attributes: Tensor,
    height: int, width: int, rule: Rule, z_offset: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """`rasterize` and `interpolate` in one pass over the pixels: triangle, barycentrics, depth and picture."""
    attribute_faces, attributes = _indices(attribute_faces, vertices), attributes.contiguous()
    return _draw(vertices, faces, height, width, rule, z_offset, attribute_faces, attributes)


def _draw(
    vertices: Tensor, faces: Tensor, height: int, width: int, rule: Rule, z_offset: float,
    attribute_faces: Tensor | None, attributes: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """Keys, triangles small and large, then one pass over the pixels that writes everything."""
    vertices, faces = vertices.contiguous(), _indices(faces, vertices)
    batch, vertex_count, _ = vertices.shape
    plan = _plan(
        faces.dtype == torch.int64, batch, vertex_count, len(faces), height, width, rule, z_offset
    )
    device, dtype = vertices.device, vertices.dtype
    with _current(device):
        start = launcher(device.index, dtype == torch.float64).start
        keys = torch.full((plan.key_count,), -1, dtype=torch.int64, device=device)
        triangle = torch.empty((batch, height, width), dtype=torch.int32, device=device)
        barycentrics = torch.empty((batch, height, width, 3), dtype=dtype, device=device)
        depth = torch.empty((batch, height, width), dtype=dtype, device=device)
        mixing, picture = _mixing(attribute_faces, attributes, vertices, height, width)
        inputs = (vertices.data_ptr(), faces.data_ptr(), keys.data_ptr())
        if plan.draw_blocks:
            start("draw_triangles", plan.draw_blocks, *inputs, *plan.sizes, plan.share)
            start("draw_large", plan.large_blocks, *inputs, *plan.sizes, plan.parts)
        outputs = (triangle.data_ptr(), barycentrics.data_ptr(), depth.data_ptr())
        if plan.pixel_blocks:
            start("resolve", plan.pixel_blocks, *inputs, *outputs, *plan.sizes, *mixing)
    return triangle, barycentrics, depth, picture


_NO_MIXING = (0, 0, 0, np.int32(0), np.int32(0), np.int64(0), np.int32(0))


def _mixing(
    faces: Tensor | None, attributes: Tensor | None, vertices: Tensor, height: int, width: int
) -> tuple[tuple[Any, ...], Tensor]:
    """The resolve pass's arguments for attributes and the picture that they fill; without them, any tensor."""
    if faces is None or attributes is None:
        return _NO_MIXING, vertices
    rows, channels = attributes.shape[-2:]
    picture = attributes.new_empty((len(vertices), channels, height, width))
    stride = rows * channels if attributes.ndim == 3 else 0
    return (
        faces.data_ptr(), attributes.data_ptr(), picture.data_ptr(), np.int32(faces.dtype == torch.int64),
        np.int32(rows), np.int64(stride), np.int32(channels),
    ), picture  # fmt: skip


def interpolate(triangle: Tensor, barycentrics: Tensor, faces: Tensor, attributes: Tensor) -> Tensor:
    """The picture ``[B, D, H, W]`` of attributes over known triangles; see `render.interpolate`."""
    triangle, barycentrics = triangle.contiguous(), barycentrics.contiguous()
    batch, height, width = triangle.shape
    attributes, faces = attributes.contiguous(), _indices(faces, attributes)
    picture = attributes.new_empty((batch, attributes.shape[-1], height, width))
    blocks = _blocks_of_pixels(batch, height, width)
    if blocks and attributes.shape[-1]:
        with _current(attributes.device):
            launcher(attributes.device.index, attributes.dtype == torch.float64).start(
                "interpolate", blocks, triangle.data_ptr(), barycentrics.data_ptr(), faces.data_ptr(),
                attributes.data_ptr(), picture.data_ptr(), *_attribute_sizes(triangle, faces, attributes),
            )  # fmt: skip
    return picture


def interpolate_backward(
    gradient: Tensor, triangle: Tensor, barycentrics: Tensor, faces: Tensor, attributes: Tensor
) -> tuple[Tensor, Tensor]:
    """Gradients of `interpolate` to the attributes and to the barycentrics, from that of its picture.

    Sums into the attributes are atomic: their last digits change from run to run.
    """
    gradient, triangle = gradient.contiguous(), triangle.contiguous()
    barycentrics, attributes = barycentrics.contiguous(), attributes.contiguous()
    faces = _indices(faces, attributes)
    to_attributes, to_barycentrics = torch.zeros_like(attributes), torch.empty_like(barycentrics)
    blocks = _blocks_of_pixels(*triangle.shape)
    if blocks:
        with _current(attributes.device):
            launcher(attributes.device.index, attributes.dtype == torch.float64).start(
                "interpolate_backward", blocks, gradient.data_ptr(), triangle.data_ptr(),
                barycentrics.data_ptr(), faces.data_ptr(), attributes.data_ptr(), to_attributes.data_ptr(),
                to_barycentrics.data_ptr(), *_attribute_sizes(triangle, faces, attributes),
            )  # fmt: skip
    return to_attributes, to_barycentrics


def rasterize_backward(
    vertices: Tensor, faces: Tensor, triangle: Tensor, to_barycentrics: Tensor | None, to_depth: Tensor | None,
    rule: Rule, z_offset: float,
) -> Tensor:  # fmt: skip
    """The gradient to the vertices from those of barycentrics and depth. Sums are atomic, as above."""
    vertices, faces, triangle = vertices.contiguous(), _indices(faces, vertices), triangle.contiguous()
    to_barycentrics = None if to_barycentrics is None else to_barycentrics.contiguous()
    to_depth = None if to_depth is None else to_depth.contiguous()
    batch, height, width = triangle.shape
    to_vertices = torch.zeros_like(vertices)
    wide = faces.dtype == torch.int64
    plan = _plan(wide, batch, vertices.shape[1], len(faces), height, width, rule, z_offset)
    if plan.pixel_blocks:
        with _current(vertices.device):
            launcher(vertices.device.index, vertices.dtype == torch.float64).start(
                "rasterize_backward", plan.pixel_blocks, vertices.data_ptr(), faces.data_ptr(), triangle.data_ptr(),
                0 if to_barycentrics is None else to_barycentrics.data_ptr(),
                0 if to_depth is None else to_depth.data_ptr(), to_vertices.data_ptr(), *plan.sizes,
            )  # fmt: skip
    return to_vertices


def _attribute_sizes(triangle: Tensor, faces: Tensor, attributes: Tensor) -> tuple[Any, ...]:
    """The trailing arguments of both interpolation kernels."""
    batch, height, width = triangle.shape
    rows, channels = attributes.shape[-2:]
    stride = rows * channels if attributes.ndim == 3 else 0
    first = (np.int32(size) for size in (faces.dtype == torch.int64, batch, len(faces), rows))
    return (*first, np.int64(stride), *(np.int32(size) for size in (channels, height, width)))


def _indices(faces: Tensor, beside: Tensor) -> Tensor:
    """Faces as the kernels read them: int32 or int64, contiguous, on the GPU of the other tensor."""
    if faces.dtype not in (torch.int32, torch.int64):
        faces = faces.int()
    return (faces if faces.device == beside.device else faces.to(beside.device)).contiguous()


def _blocks_of_pixels(batch: int, height: int, width: int) -> int:
    """Blocks of a kernel that runs over pixels."""
    return batch * -(-width // TILE_WIDTH) * -(-height // TILE_HEIGHT)


def _current(device: torch.device) -> AbstractContextManager[Any]:
    """Make the device torch's current one, if it is not."""
    return nullcontext() if torch.cuda.current_device() == device.index else torch.cuda.device(device)
