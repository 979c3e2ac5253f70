"""Rasterisation, interpolation and their gradients on an NVIDIA GPU: buffers and launches around `rasterize.cu`.

Nothing here waits for the GPU or looks at what lies on it, so all of it may be captured in a CUDA graph.
"""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor

from deca_cli.render.cuda_draw import drawing_of
from deca_cli.render.cuda_plan import blocks_of_pixels, sizes_of
from deca_cli.render.fragments import Rule
from deca_cli.render.kernels import Launcher, launcher

_INDEX_TYPES = (torch.int32, torch.int64)
_NOTHING = nullcontext()

Arrays = tuple[Tensor, Tensor, Tensor]  # triangle, barycentrics, depth


def rasterize(
    vertices: Tensor, faces: Tensor, height: int, width: int, rule: Rule, z_offset: float
) -> Arrays:
    """Triangle, barycentrics and depth of the visible surface; the contract is that of `render.rasterize`.

    Raises:
        DeviceError: cuda-core is missing, or the kernels do not compile or load on this device.
    """
    faces = _indices(faces, vertices)
    draw = drawing_of(
        vertices.device.index, vertices.dtype, vertices.shape, faces.shape, faces.dtype == torch.int64,
        height, width, rule, z_offset, None,
    )  # fmt: skip
    triangle, barycentrics, depth = draw(vertices, faces, keep=False)
    return triangle, barycentrics, depth


def rasterize_and_interpolate(
    vertices: Tensor, faces: Tensor, attribute_faces: Tensor, attributes: Tensor,
    height: int, width: int, rule: Rule, z_offset: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """`rasterize` and `interpolate` in one pass over the pixels: triangle, barycentrics, depth and picture."""
    faces, attribute_faces = _indices(faces, vertices), _indices(attribute_faces, vertices)
    draw = drawing_of(
        vertices.device.index, vertices.dtype, vertices.shape, faces.shape, faces.dtype == torch.int64,
        height, width, rule, z_offset, attributes.shape,
    )  # fmt: skip
    triangle, barycentrics, depth, picture = draw(vertices, faces, attribute_faces, attributes, keep=False)
    return triangle, barycentrics, depth, picture


def interpolate(triangle: Tensor, barycentrics: Tensor, faces: Tensor, attributes: Tensor) -> Tensor:
    """The picture ``[B, D, H, W]`` of attributes over known triangles; see `render.interpolate`."""
    triangle, barycentrics = triangle.contiguous(), barycentrics.contiguous()
    attributes, faces = attributes.contiguous(), _indices(faces, attributes)
    batch, height, width = triangle.shape
    with _current(attributes.device):
        picture = attributes.new_empty((batch, attributes.shape[-1], height, width))
        _launcher(attributes).start(
            "interpolate", blocks_of_pixels(batch, height, width), triangle.data_ptr(),
            barycentrics.data_ptr(), faces.data_ptr(), attributes.data_ptr(), picture.data_ptr(),
            *_attribute_sizes(triangle, faces, attributes),
        )  # fmt: skip
    return picture


def interpolate_backward(
    gradient: Tensor, triangle: Tensor, barycentrics: Tensor, faces: Tensor, attributes: Tensor,
    wanted: tuple[bool, bool],
) -> tuple[Tensor | None, Tensor | None]:  # fmt: skip
    """Gradients of `interpolate` to the attributes and to the barycentrics, from that of its picture.

    What is not ``wanted`` is None; without the attributes the kernel has nothing to add up. Sums into the attributes are atomic: their last digits change from run to run.
    """
    gradient, triangle = gradient.contiguous(), triangle.contiguous()
    barycentrics, attributes = barycentrics.contiguous(), attributes.contiguous()
    faces = _indices(faces, attributes)
    with _current(attributes.device):
        to_attributes = attributes.new_zeros(attributes.shape) if wanted[0] else None
        to_barycentrics = barycentrics.new_empty(barycentrics.shape) if wanted[1] else None
        _launcher(attributes).start(
            "interpolate_backward", blocks_of_pixels(*triangle.shape), gradient.data_ptr(),
            triangle.data_ptr(), barycentrics.data_ptr(), faces.data_ptr(), attributes.data_ptr(),
            _address(to_attributes), _address(to_barycentrics), *_attribute_sizes(triangle, faces, attributes),
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
    sizes = sizes_of(
        batch, vertices.shape[1], faces.shape[0], faces.dtype == torch.int64, height, width, rule, z_offset
    )
    with _current(vertices.device):
        to_vertices = vertices.new_zeros(vertices.shape)
        _launcher(vertices).start(
            "rasterize_backward", blocks_of_pixels(batch, height, width), vertices.data_ptr(), faces.data_ptr(),
            triangle.data_ptr(), _address(to_barycentrics), _address(to_depth), to_vertices.data_ptr(), *sizes,
        )  # fmt: skip
    return to_vertices


def _attribute_sizes(triangle: Tensor, faces: Tensor, attributes: Tensor) -> tuple[int, ...]:
    """The trailing arguments of both interpolation kernels."""
    batch, height, width = triangle.shape
    count, channels = attributes.shape[-2:]
    wide = int(faces.dtype == torch.int64)
    return wide, batch, faces.shape[0], count, _stride(attributes), channels, height, width


def _address(tensor: Tensor | None) -> int:
    """Of its numbers; null for none."""
    return 0 if tensor is None else tensor.data_ptr()


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
