"""Rasterisation, interpolation and their gradients on an NVIDIA GPU: buffers and launches around `rasterize.cu`.

Nothing here waits for the GPU or looks at what lies on it, so all of it may be captured in a CUDA graph. At small sizes
the time is that of Python and the driver: hence the plan that is kept, and plain ints for arguments.
"""

import functools
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import torch
from torch import Tensor

from deca_cli.render.barycentrics import area_epsilon
from deca_cli.render.fragments import Rule
from deca_cli.render.kernels import BLOCK, Launcher, launcher

# Of rasterize.cu: pixels of a block, triangles of a warp at most, numbers in the list of large triangles.
TILE_WIDTH, TILE_HEIGHT, WARP, LIST = 32, 4, 32, 1024
# Warps that keep a large GPU busy; with fewer triangles than this times 32, a warp takes fewer of them.
BUSY_WARPS = 4096
# A triangle is large if its bounding box has more pixels than a 64th of the picture, within these limits.
LARGE_SHARE, LEAST_LARGE, MOST_LARGE = 64, 4096, 65536

_INDEX_TYPES = (torch.int32, torch.int64)
_NOTHING = nullcontext()

Arrays = tuple[Tensor, Tensor, Tensor]  # triangle, barycentrics, depth


class _Plan(NamedTuple):
    """What the launches of one problem size need; made once and kept."""

    sizes: tuple[float, ...]  # wide, batch, vertices, faces, height, width, standard, epsilon, z offset
    drawing: tuple[int, int]  # triangles of a warp, pixels of a large one
    key_pairs: int
    clear_blocks: int
    draw_blocks: int
    pixel_blocks: int


@functools.lru_cache(maxsize=1024)
def _plan(
    wide: bool, batch: int, vertices: int, faces: int, height: int, width: int, rule: Rule, z_offset: float
) -> _Plan:
    share = WARP
    while share > 1 and batch * faces < share * BUSY_WARPS:
        share //= 2
    large = min(max(height * width // LARGE_SHARE, LEAST_LARGE), MOST_LARGE)
    key_pairs = -(-batch * (height * width + LIST // 2) // 2)
    integers = (int(wide), batch, vertices, faces, height, width, int(rule == "standard"))
    return _Plan(
        sizes=(*integers, area_epsilon(rule, height, width), float(z_offset)),
        drawing=(share, large),
        key_pairs=key_pairs,
        clear_blocks=-(-key_pairs // BLOCK),
        draw_blocks=batch * -(-faces // (share * (BLOCK // WARP))),
        pixel_blocks=_blocks_of_pixels(batch, height, width),
    )


def rasterize(
    vertices: Tensor, faces: Tensor, height: int, width: int, rule: Rule, z_offset: float
) -> Arrays:
    """Triangle, barycentrics and depth of the visible surface; the contract is that of `render.rasterize`.

    Raises:
        DeviceError: cuda-core is missing, or the kernels do not compile or load on this device.
    """
    with _current(vertices.device):
        return _draw(vertices, faces, height, width, rule, z_offset, _NO_MIXING)


def rasterize_and_interpolate(
    vertices: Tensor, faces: Tensor, attribute_faces: Tensor, attributes: Tensor,
    height: int, width: int, rule: Rule, z_offset: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """`rasterize` and `interpolate` in one pass over the pixels: triangle, barycentrics, depth and picture."""
    attributes, rows = attributes.contiguous(), _indices(attribute_faces, vertices)
    count, channels = attributes.shape[-2:]
    with _current(vertices.device):
        picture = attributes.new_empty((vertices.shape[0], channels, height, width))
        mixing = (
            rows.data_ptr(), attributes.data_ptr(), picture.data_ptr(), int(rows.dtype == torch.int64), count,
            _stride(attributes), channels,
        )  # fmt: skip
        return *_draw(vertices, faces, height, width, rule, z_offset, mixing), picture


# The last pass's arguments for attributes: faces, attributes, picture, wide, rows, stride, channels.
_NO_MIXING = (0, 0, 0, 0, 0, 0, 0)


def _draw(
    vertices: Tensor,
    faces: Tensor,
    height: int,
    width: int,
    rule: Rule,
    z_offset: float,
    mixing: tuple[int, ...],
) -> Arrays:
    """Clear the keys, draw the triangles, then one pass over the pixels that writes everything."""
    vertices, faces = vertices.contiguous(), _indices(faces, vertices)
    batch, vertex_count, _ = vertices.shape
    plan = _plan(
        faces.dtype == torch.int64, batch, vertex_count, faces.shape[0], height, width, rule, z_offset
    )
    kernels = _launcher(vertices)
    stream = kernels.stream()
    keys = vertices.new_empty(2 * plan.key_pairs, dtype=torch.int64)
    inputs = (vertices.data_ptr(), faces.data_ptr(), keys.data_ptr())
    kernels.start(stream, "clear_keys", plan.clear_blocks, keys.data_ptr(), plan.key_pairs)
    kernels.start(stream, "draw_triangles", plan.draw_blocks, *inputs, *plan.sizes, *plan.drawing)
    # Only now, while the GPU draws.
    triangle = vertices.new_empty((batch, height, width), dtype=torch.int32)
    barycentrics = vertices.new_empty((batch, height, width, 3))
    depth = vertices.new_empty((batch, height, width))
    outputs = (triangle.data_ptr(), barycentrics.data_ptr(), depth.data_ptr())
    kernels.start(stream, "resolve", plan.pixel_blocks, *inputs, *outputs, *plan.sizes, *mixing)
    return triangle, barycentrics, depth


def interpolate(triangle: Tensor, barycentrics: Tensor, faces: Tensor, attributes: Tensor) -> Tensor:
    """The picture ``[B, D, H, W]`` of attributes over known triangles; see `render.interpolate`."""
    triangle, barycentrics = triangle.contiguous(), barycentrics.contiguous()
    attributes, faces = attributes.contiguous(), _indices(faces, attributes)
    batch, height, width = triangle.shape
    with _current(attributes.device):
        picture = attributes.new_empty((batch, attributes.shape[-1], height, width))
        kernels = _launcher(attributes)
        kernels.start(
            kernels.stream(), "interpolate", _blocks_of_pixels(batch, height, width), triangle.data_ptr(),
            barycentrics.data_ptr(), faces.data_ptr(), attributes.data_ptr(), picture.data_ptr(),
            *_attribute_sizes(triangle, faces, attributes),
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
    with _current(attributes.device):
        to_attributes, to_barycentrics = torch.zeros_like(attributes), torch.empty_like(barycentrics)
        kernels = _launcher(attributes)
        kernels.start(
            kernels.stream(), "interpolate_backward", _blocks_of_pixels(*triangle.shape), gradient.data_ptr(),
            triangle.data_ptr(), barycentrics.data_ptr(), faces.data_ptr(), attributes.data_ptr(),
            to_attributes.data_ptr(), to_barycentrics.data_ptr(), *_attribute_sizes(triangle, faces, attributes),
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
    wide = faces.dtype == torch.int64
    plan = _plan(wide, batch, vertices.shape[1], faces.shape[0], height, width, rule, z_offset)
    with _current(vertices.device):
        to_vertices = torch.zeros_like(vertices)
        kernels = _launcher(vertices)
        kernels.start(
            kernels.stream(), "rasterize_backward", plan.pixel_blocks, vertices.data_ptr(), faces.data_ptr(),
            triangle.data_ptr(), 0 if to_barycentrics is None else to_barycentrics.data_ptr(),
            0 if to_depth is None else to_depth.data_ptr(), to_vertices.data_ptr(), *plan.sizes,
        )  # fmt: skip
    return to_vertices


def _attribute_sizes(triangle: Tensor, faces: Tensor, attributes: Tensor) -> tuple[int, ...]:
    """The trailing arguments of both interpolation kernels."""
    batch, height, width = triangle.shape
    count, channels = attributes.shape[-2:]
    wide = int(faces.dtype == torch.int64)
    return wide, batch, faces.shape[0], count, _stride(attributes), channels, height, width


def _stride(attributes: Tensor) -> int:
    """Numbers from one item of the batch to the next; none where all items share them."""
    return attributes.shape[-2] * attributes.shape[-1] if attributes.ndim == 3 else 0


def _indices(faces: Tensor, beside: Tensor) -> Tensor:
    """Faces as the kernels read them: int32 or int64, contiguous, on the GPU of the other tensor."""
    if faces.dtype not in _INDEX_TYPES:
        faces = faces.int()
    return (faces if faces.device == beside.device else faces.to(beside.device)).contiguous()


def _blocks_of_pixels(batch: int, height: int, width: int) -> int:
    """Blocks of a kernel that runs over pixels."""
    return batch * -(-width // TILE_WIDTH) * -(-height // TILE_HEIGHT)


def _launcher(beside: Tensor) -> Launcher:
    """The kernels for a tensor's GPU and number type."""
    return launcher(beside.device.index, beside.dtype == torch.float64)


def _current(device: torch.device) -> AbstractContextManager[Any]:
    """Make the device torch's current one, if it is not."""
    return _NOTHING if torch.cuda.current_device() == device.index else torch.cuda.device(device)
