"""The rasteriser's contract and the choice of its back end."""

import functools
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from deca_cli.errors import DeviceError
from deca_cli.render import dispatch, ops
from deca_cli.render.fragments import BACKENDS, DEFAULT_Z_OFFSET, RULES, Backend, Fragments, Rule
from deca_cli.render.interpolate import check_attributes, check_faces, check_place, interpolate
from deca_cli.render.tracing import is_ordinary, is_traced

# Number types that the back ends know; shorter ones fit into float32.
_REAL = (torch.float32, torch.float64)
# Of indices, those that the CUDA kernels read as they are.
_INDICES = {torch.int32, torch.int64}


def rasterize(
    vertices: Tensor,  # [B, V, 3]
    faces: Tensor,  # [F, 3]
    height: int,
    width: int,
    *,
    backend: Backend = "auto",
    rule: Rule = "standard",
    z_offset: float = DEFAULT_Z_OFFSET,
) -> Fragments:
    """Find the triangle seen at every pixel of ``height`` x ``width`` pictures.

    Pixel (row j, column i) is sampled at its centre, x = (2i + 1) / width - 1, y = (2j + 1) / height - 1. Both
    sides of a triangle are drawn. The smallest depth wins; depths that are equal after rounding to float32 go
    to the lower face id. Triangles with a NaN or an infinity, and triangles without area, are skipped. All
    back ends return the same triangles bit for bit.

    Args:
        vertices: NDC ``[B, V, 3]``, float32 or float64: x right, y down, [-1, 1] over the picture's edges, z
            away from the viewer. Not changed.
        faces: int32 or int64 ``[F, 3]``, shared by the batch, every index in 0 ... V-1; F may be 0. ``cpu`` and
            ``cuda`` copy those of another device at every call.
        height: rows of the pictures, H.
        width: columns of the pictures, W.
        backend: ``reference`` (plain torch, any device), ``cpu`` (numba; copies from and to other devices),
            ``cuda`` (needs the extra ``cuda``), or ``auto``: ``cuda`` for CUDA tensors, else ``cpu``.
        rule: what counts as inside and what depth means (specification 6.2):
            ``standard``: b0 > 0, b1 >= 0, b2 >= 0; depth 1 / sum(b / z).
            ``pytorch3d``: b0 > 0, b1 > 0, b2 > 0; depth sum(b z); 1e-8 is added to the doubled NDC area, which
            the barycentrics therefore miss to sum to 1; triangles with less area than that are skipped.
        z_offset: added to a copy of z before drawing and taken off the returned depth. Points whose z plus
            offset is not positive are behind the viewer and not drawn.

    Returns:
        `Fragments`, differentiable to the vertices through barycentrics and depth; which triangle is seen is
        piecewise constant and carries no gradient.

    Raises:
        ValueError: shapes, sizes, names or (except for ``cuda``) indices outside what is described here. The
            CUDA kernel cannot look at indices without a pause; it skips triangles with a wrong one.
        DeviceError: ``cuda`` without an NVIDIA device or without the extra.
    """
    if vertices.is_cuda and is_ordinary(vertices):
        at = (vertices.shape, vertices.dtype, vertices.device, faces.shape, faces.dtype, faces.device)
        draw = _drawing(*at, height, width, backend, rule, z_offset)
        if draw is not None:
            triangle, barycentrics, depth = draw(vertices, faces)
            return Fragments(triangle, barycentrics, depth, "cuda")
    mesh = (vertices.shape, vertices.dtype, vertices.device, faces.shape, faces.dtype)
    check = _check if is_traced(vertices) else _check_once
    chosen = check(*mesh, height, width, backend, rule)
    points = vertices if vertices.dtype in _REAL else vertices.float()
    arguments = (points, faces, height, width, chosen, rule, z_offset)
    # The reference is differentiable as it is; it defines the gradients, too.
    itself = chosen == "reference" and not torch.compiler.is_compiling()
    triangle, barycentrics, depth = (dispatch if itself else ops).rasterize(*arguments)
    return Fragments(triangle, barycentrics, depth, chosen)


def rasterize_and_interpolate(
    vertices: Tensor,  # [B, V, 3]
    faces: Tensor,  # [F, 3]
    attributes: Tensor,  # [N, D] or [B, N, D]
    height: int,
    width: int,
    *,
    attribute_faces: Tensor | None = None,
    backend: Backend = "auto",
    rule: Rule = "standard",
    z_offset: float = DEFAULT_Z_OFFSET,
) -> tuple[Fragments, Tensor]:
    """`rasterize`, then `interpolate`; on a GPU both in one pass over the pixels, which saves reading them again.

    Args:
        vertices: as for `rasterize`.
        faces: as for `rasterize`.
        attributes: as for `interpolate`, on the device of the vertices.
        height: rows of the pictures, H.
        width: columns of the pictures, W.
        attribute_faces: int ``[F, 3]``, the rows of ``attributes`` at the corners of every triangle, in the order
            of ``faces``; None: those of ``faces``.
        backend: as for `rasterize`.
        rule: as for `rasterize`.
        z_offset: as for `rasterize`.

    Returns:
        `Fragments`, and the attributes as ``[B, D, H, W]``, 0 where nothing is seen; differentiable to vertices
        and attributes.

    Raises:
        ValueError: as `rasterize` and `interpolate`, or face arrays of different length.
        DeviceError: as `rasterize`.
    """
    rows = faces if attribute_faces is None else attribute_faces
    if vertices.is_cuda and is_ordinary(vertices, attributes):
        at = (vertices.shape, vertices.dtype, vertices.device, faces.shape, faces.dtype, faces.device)
        beside = (rows.shape, rows.dtype, rows.device, attributes.shape, attributes.dtype, attributes.device)
        draw = _drawing(*at, height, width, backend, rule, z_offset, beside)
        if draw is not None:
            triangle, barycentrics, depth, picture = draw(vertices, faces, rows, attributes)
            return Fragments(triangle, barycentrics, depth, "cuda"), picture
    mesh = (vertices.shape, vertices.dtype, vertices.device, faces.shape, faces.dtype)
    mixed = (rows.shape, rows.dtype, attributes.shape, attributes.dtype, attributes.device)
    check = _check if is_traced(vertices, attributes) else _check_once
    chosen = check(*mesh, height, width, backend, rule, mixed)
    if chosen == "reference" and not torch.compiler.is_compiling():
        fragments = rasterize(vertices, faces, height, width, backend=chosen, rule=rule, z_offset=z_offset)
        return fragments, interpolate(fragments, rows, attributes)
    points = vertices if vertices.dtype in _REAL else vertices.float()
    values = attributes if attributes.dtype == points.dtype else attributes.to(points.dtype)
    triangle, barycentrics, depth, picture = ops.rasterize_and_interpolate(
        points, faces, rows, values, height, width, chosen, rule, z_offset
    )
    picture = picture if values is attributes else picture.to(attributes.dtype)
    return Fragments(triangle, barycentrics, depth, chosen), picture


def _check(
    shape: Sequence[int], dtype: torch.dtype, device: torch.device, faces_shape: Sequence[int], faces_dtype: torch.dtype,
    height: int, width: int, backend: Backend, rule: Rule,
    mixed: tuple[Sequence[int], torch.dtype, Sequence[int], torch.dtype, torch.device] | None = None,
) -> Backend:  # fmt: skip
    """Refuse what the contract does not cover; the back end that ``backend`` means for such vertices.

    Args:
        shape, dtype, device: of the vertices.
        faces_shape, faces_dtype: of the faces.
        height, width, backend, rule: as for `rasterize`.
        mixed: shape and type of the attributes' faces; shape, type and device of the attributes.
    """
    if len(shape) != 3 or shape[2] != 3 or not dtype.is_floating_point:
        raise ValueError(f"vertices must be floating point [B, V, 3], got {dtype} {list(shape)}")
    check_faces(faces_shape, faces_dtype)
    if height < 1 or width < 1:
        raise ValueError(f"height and width must be at least 1, got {height} x {width}")
    if backend not in BACKENDS:
        raise ValueError(f"backend must be one of {BACKENDS}, got {backend!r}")
    if rule not in RULES:
        raise ValueError(f"rule must be one of {RULES}, got {rule!r}")
    if mixed is not None:
        rows_shape, rows_dtype, attributes_shape, attributes_dtype, attributes_device = mixed
        check_attributes(attributes_shape, attributes_dtype, shape[0], rows_shape, rows_dtype)
        check_place(attributes_device, device, "vertices")
        if rows_shape[0] != faces_shape[0]:
            raise ValueError(
                f"attribute_faces must be as many as faces, {faces_shape[0]}, got {rows_shape[0]}"
            )
    if backend == "auto":
        return "cuda" if device.type == "cuda" else "cpu"
    if backend == "cuda" and device.type != "cuda":
        raise DeviceError(
            "The CUDA rasteriser was asked to draw vertices that are not on a CUDA device. Move them there "
            '(vertices.cuda()) or draw them with backend="cpu".'
        )
    return backend


# Sizes that change while a program is traced cannot be kept.
_check_once = functools.lru_cache(maxsize=1024)(_check)


@functools.lru_cache(maxsize=1024)
def _drawing(
    shape: Sequence[int], dtype: torch.dtype, device: torch.device,
    faces_shape: Sequence[int], faces_dtype: torch.dtype, faces_device: torch.device,
    height: int, width: int, backend: Backend, rule: Rule, z_offset: float,
    beside: tuple[Sequence[int], torch.dtype, torch.device, Sequence[int], torch.dtype, torch.device] | None = None,
) -> Callable[..., tuple[Tensor, ...]] | None:  # fmt: skip
    """Check a call once for every combination of shapes and types; `cuda_draw.Drawing` if nothing has to be converted.

    At small sizes the way through checks, operators and choice of the back end takes longer than the GPU.
    """
    mixed = None if beside is None else (*beside[:2], *beside[3:])
    chosen = _check(shape, dtype, device, faces_shape, faces_dtype, height, width, backend, rule, mixed)
    number_types, index_types, places = {dtype}, {faces_dtype}, {device, faces_device}
    if beside is not None:
        rows_type, rows_device, attributes_shape, attributes_type, _ = beside[1:]
        number_types.add(attributes_type)
        index_types.add(rows_type)
        places.add(rows_device)
    ready = len(places) == len(number_types) == 1 and dtype in _REAL and index_types <= _INDICES
    if chosen != "cuda" or not ready:
        return None
    drawing: Callable[..., tuple[Tensor, ...]] = dispatch.cuda_kernels().drawing_of(
        device.index, dtype, shape, faces_shape, faces_dtype == torch.int64, height, width, rule, z_offset,
        None if beside is None else attributes_shape,
    )  # fmt: skip
    return drawing
