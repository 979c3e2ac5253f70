"""Rasterisation, interpolation and their gradients on an NVIDIA GPU: buffers and launches around `rasterize.cu`.

Nothing here waits for the GPU or looks at what lies on it, so all of it may be captured in a CUDA graph. At small sizes
the time is that of Python and the driver: hence the plan that is kept, and plain ints for arguments.
"""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor

from deca_cli.render.cuda_plan import NO_MIXING, Mixing, Plan, blocks_of_pixels, plan_of
from deca_cli.render.fragments import Rule
from deca_cli.render.kernels import Launcher, launcher

_INDEX_TYPES = (torch.int32, torch.int64)
_NOTHING = nullcontext()

Arrays = tuple[Tensor, Tensor, Tensor]  # triangle, barycentrics, depth


def rasterize(
    vertices: Tensor,
    faces: Tensor,
    height: int,
    width: int,
    rule: Rule,
    z_offset: float,
    *,
    apart: bool = False,
) -> Arrays:
    """Triangle, barycentrics and depth of the visible surface; the contract is that of `render.rasterize`.

    Args:
        vertices, faces, height, width, rule, z_offset: as for `render.rasterize`.
        apart: give every result memory of its own, also where one allocation for all is quicker.

    Raises:
        DeviceError: cuda-core is missing, or the kernels do not compile or load on this device.
    """
    with _current(vertices.device):
        return _draw(vertices, faces, height, width, rule, z_offset, apart)[:3]


def rasterize_and_interpolate(
    vertices: Tensor, faces: Tensor, attribute_faces: Tensor, attributes: Tensor,
    height: int, width: int, rule: Rule, z_offset: float, *, apart: bool = False,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """`rasterize` and `interpolate` in one pass over the pixels: triangle, barycentrics, depth and picture."""
    with _current(vertices.device):
        return _draw(vertices, faces, height, width, rule, z_offset, apart, attribute_faces, attributes)


def _draw(
    vertices: Tensor, faces: Tensor, height: int, width: int, rule: Rule, z_offset: float, apart: bool,
    attribute_faces: Tensor | None = None, attributes: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """Triangle, barycentrics, depth and picture (of no channels without attributes)."""
    vertices, faces = vertices.contiguous(), _indices(faces, vertices)
    kernels = _launcher(vertices)
    mixing, mixed = NO_MIXING, (0, 0)
    if attribute_faces is not None and attributes is not None:
        attributes, rows = attributes.contiguous(), _indices(attribute_faces, vertices)
        count, channels = attributes.shape[-2:]
        mixing = Mixing(rows.dtype == torch.int64, count, channels, _stride(attributes))
        mixed = (rows.data_ptr(), attributes.data_ptr())
    batch, vertex_count, _ = vertices.shape
    plan = plan_of(
        kernels.clusters, vertices.dtype == torch.float64, faces.dtype == torch.int64, batch, vertex_count,
        faces.shape[0], height, width, rule, z_offset, mixing,
    )  # fmt: skip
    inputs = (vertices.data_ptr(), faces.data_ptr())
    if plan.results is None or apart:
        results = _apart(vertices, height, width, mixing.channels)
        triangle, barycentrics, depth, picture = results
        pointers = (triangle.data_ptr(), barycentrics.data_ptr(), depth.data_ptr(), picture.data_ptr())
        _launch(kernels, plan, vertices, inputs, mixed, pointers)
        return results
    shared = vertices.new_empty(plan.results.length)
    base, (to_barycentrics, to_depth, to_picture, to_triangle) = shared.data_ptr(), plan.results.offsets
    pointers = (base + to_triangle, base + to_barycentrics, base + to_depth, base + to_picture)
    _launch(kernels, plan, vertices, inputs, mixed, pointers)
    # Only now, while the GPU draws. `data` frees the parts of being views of each other: what changes one in place
    # must not make autograd think that the others changed.
    first, second, third, fourth = plan.results.parts
    return (
        shared.view(torch.int32).as_strided(*fourth).data,
        shared.as_strided(*first).data,
        shared.as_strided(*second).data,
        shared.as_strided(*third).data,
    )


def _apart(vertices: Tensor, height: int, width: int, channels: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Memory for triangle, barycentrics, depth and picture."""
    shape = (vertices.shape[0], height, width)
    return (
        vertices.new_empty(shape, dtype=torch.int32),
        vertices.new_empty((*shape, 3)),
        vertices.new_empty(shape),
        vertices.new_empty((shape[0], channels, height, width)),
    )


def _launch(
    kernels: Launcher, plan: Plan, vertices: Tensor, inputs: tuple[int, int], mixed: tuple[int, int],
    results: tuple[int, int, int, int],
) -> None:  # fmt: skip
    """Start drawing: everything in one launch, or keys, triangles and pixels one after the other.

    Args:
        kernels: of the GPU.
        plan: of the problem.
        vertices: of the problem, for their GPU.
        inputs: addresses of vertices and faces.
        mixed: addresses of attribute faces and attributes.
        results: addresses of triangle, barycentrics, depth and picture.
    """
    stream = kernels.stream()
    *surface, picture = results
    if plan.tile_blocks:
        kernels.start(
            stream, "draw_tiles", plan.tile_blocks, *inputs, *surface, *plan.tile_sizes, *mixed, picture,
            *plan.tile_mixing,
        )  # fmt: skip
        return
    keys = vertices.new_empty(2 * plan.key_pairs, dtype=torch.int64)
    address = keys.data_ptr()
    kernels.start(stream, "clear_keys", plan.clear_blocks, address, plan.key_pairs)
    kernels.start(stream, "draw_triangles", plan.draw_blocks, *inputs, address, *plan.sizes, *plan.drawing)
    kernels.start(
        stream, "resolve", plan.pixel_blocks, *inputs, address, *surface, *plan.sizes, *mixed, picture,
        *plan.mixing,
    )  # fmt: skip


def interpolate(triangle: Tensor, barycentrics: Tensor, faces: Tensor, attributes: Tensor) -> Tensor:
    """The picture ``[B, D, H, W]`` of attributes over known triangles; see `render.interpolate`."""
    triangle, barycentrics = triangle.contiguous(), barycentrics.contiguous()
    attributes, faces = attributes.contiguous(), _indices(faces, attributes)
    batch, height, width = triangle.shape
    with _current(attributes.device):
        picture = attributes.new_empty((batch, attributes.shape[-1], height, width))
        kernels = _launcher(attributes)
        kernels.start(
            kernels.stream(), "interpolate", blocks_of_pixels(batch, height, width), triangle.data_ptr(),
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
            kernels.stream(), "interpolate_backward", blocks_of_pixels(*triangle.shape), gradient.data_ptr(),
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
    with _current(vertices.device):
        kernels = _launcher(vertices)
        plan = plan_of(
            kernels.clusters, vertices.dtype == torch.float64, wide, batch, vertices.shape[1], faces.shape[0],
            height, width, rule, z_offset, NO_MIXING,
        )  # fmt: skip
        to_vertices = torch.zeros_like(vertices)
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


def _launcher(beside: Tensor) -> Launcher:
    """The kernels for a tensor's GPU and number type."""
    return launcher(beside.device.index, beside.dtype == torch.float64)


def _current(device: torch.device) -> AbstractContextManager[Any]:
    """Make the device torch's current one, if it is not."""
    return _NOTHING if torch.cuda.current_device() == device.index else torch.cuda.device(device)
