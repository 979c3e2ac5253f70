"""Spread values given at corners over the pixels that a rasteriser found."""

from collections.abc import Sequence

import torch
from torch import Tensor

from deca_cli.render import ops
from deca_cli.render.fragments import Fragments


def interpolate(fragments: Fragments, faces: Tensor, attributes: Tensor) -> Tensor:
    """Mix the values at the corners of the triangle seen at every pixel, sum_k b_k value_k.

    The weights are screen-space, not perspective-corrected: exact for the weak perspective camera used here.
    On a GPU this is one CUDA kernel, and another for its gradients, if the CUDA rasteriser drew the fragments; else
    plain torch.

    Args:
        fragments: of B meshes of F triangles, H x W pixels.
        faces: int ``[F, 3]``, for every triangle the rows of ``attributes`` at its corners. The mesh's own
            faces for values per vertex; the texture faces for values per texture vertex, such as UV
            coordinates.
        attributes: ``[N, D]``, shared by the batch, or ``[B, N, D]``, floating point, on the device of the
            fragments; D may be 0. Every row that ``faces`` name must be there: plain torch looks before it reads; the
            CUDA kernel cannot without a pause and leaves triangles with a wrong row 0.

    Returns:
        ``[B, D, H, W]``, 0 where nothing is seen; channels-last in memory if plain torch made it. Differentiable to
        the attributes and, through the barycentrics, to the vertices.

    Raises:
        ValueError: shapes, types or devices that do not fit; in plain torch, a face that refers to a row that does not exist.
    """
    triangle = fragments.triangle
    check_attributes(attributes.shape, attributes.dtype, triangle.shape[0], faces.shape, faces.dtype)
    check_place(attributes.device, triangle.device, "fragments")
    fused = triangle.is_cuda and fragments.backend in ("auto", "cuda")
    # Shorter types are computed in float32, as the kernels know no other.
    known = attributes.dtype in (torch.float32, torch.float64)
    values = attributes if known else attributes.float()
    weights = fragments.barycentrics
    weights = weights if weights.dtype == values.dtype else weights.to(values.dtype)
    picture = ops.interpolate(triangle, weights, faces, values, fused=fused)
    return picture if known else picture.to(attributes.dtype)


def check_attributes(
    shape: Sequence[int], dtype: torch.dtype, batch: int, faces_shape: Sequence[int], faces_dtype: torch.dtype
) -> None:
    """Refuse attributes and faces that `interpolate` does not cover, by their shapes and types.

    Raises:
        ValueError: says what was expected and what came.
    """
    if len(shape) not in (2, 3) or (len(shape) == 3 and shape[0] != batch):
        raise ValueError(f"attributes must be [N, D] or [{batch}, N, D], got {list(shape)}")
    if not dtype.is_floating_point:
        raise ValueError(f"attributes must be floating point, got {dtype}")
    check_faces(faces_shape, faces_dtype)


def check_place(device: torch.device, place: torch.device, beside: str) -> None:
    """Refuse attributes on another device than what they are spread over: a kernel would read a foreign address.

    Raises:
        ValueError: names both devices.
    """
    if device != place:
        raise ValueError(f"attributes must be on the device of the {beside}, {place}, got them on {device}")


def check_faces(shape: Sequence[int], dtype: torch.dtype) -> None:
    """Refuse faces that are no triangles.

    Raises:
        ValueError: says what was expected and what came.
    """
    if len(shape) != 2 or shape[1] != 3 or dtype.is_floating_point:
        raise ValueError(f"faces must be integers [F, 3], got {dtype} {list(shape)}")
