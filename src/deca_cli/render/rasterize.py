"""The rasteriser's contract and the choice of its back end."""

from collections.abc import Callable
from typing import Literal, get_args

from torch import Tensor, is_grad_enabled

from deca_cli.errors import DeviceError
from deca_cli.render.barycentrics import surface_at_pixels
from deca_cli.render.fragments import DEFAULT_Z_OFFSET, RULES, Fragments, Rule

Backend = Literal["auto", "reference", "cpu", "cuda"]


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
        faces: int32 or int64 ``[F, 3]``, shared by the batch, every index in 0 ... V-1; F may be 0.
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
    _check(vertices, faces, height, width, backend, rule)
    fragments = _back_end(backend, vertices)(vertices, faces, height, width, rule, z_offset)
    tracked = vertices.requires_grad and is_grad_enabled()
    if not tracked or fragments.barycentrics.requires_grad:
        return fragments
    surface = surface_at_pixels(vertices, faces, fragments.triangle, rule, z_offset)
    return Fragments(fragments.triangle, *surface)


def _back_end(
    backend: Backend, vertices: Tensor
) -> Callable[[Tensor, Tensor, int, int, Rule, float], Fragments]:
    """The function that draws; each lives in a module with an import of its own weight."""
    if backend == "reference":
        from deca_cli.render import reference

        return reference.rasterize
    if backend == "cpu" or (backend == "auto" and not vertices.is_cuda):
        from deca_cli.render import cpu

        return cpu.rasterize
    if not vertices.is_cuda:
        raise DeviceError(
            "The CUDA rasteriser was asked to draw vertices that are not on a CUDA device. Move them there "
            "(vertices.cuda()) or choose the rasteriser `cpu`."
        )
    from deca_cli.render import cuda

    return cuda.rasterize


def _check(vertices: Tensor, faces: Tensor, height: int, width: int, backend: str, rule: str) -> None:
    """Refuse what the contract does not cover."""
    if vertices.ndim != 3 or vertices.shape[2] != 3 or not vertices.is_floating_point():
        raise ValueError(
            f"vertices must be floating point [B, V, 3], got {vertices.dtype} {list(vertices.shape)}"
        )
    if faces.ndim != 2 or faces.shape[1] != 3 or faces.is_floating_point():
        raise ValueError(f"faces must be integers [F, 3], got {faces.dtype} {list(faces.shape)}")
    if height < 1 or width < 1:
        raise ValueError(f"height and width must be at least 1, got {height} x {width}")
    if backend not in get_args(Backend):
        raise ValueError(f"backend must be one of {get_args(Backend)}, got {backend!r}")
    if rule not in RULES:
        raise ValueError(f"rule must be one of {RULES}, got {rule!r}")
    if len(faces) and not faces.is_cuda:
        low, high = int(faces.min()), int(faces.max())
        if low < 0 or high >= vertices.shape[1]:
            raise ValueError(f"faces refer to vertices {low} ... {high}, but there are {vertices.shape[1]}")
