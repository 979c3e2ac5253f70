"""The steps of rendering, each with the back end that does it; the modules behind are imported when first used."""

import functools
import importlib
from types import ModuleType
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor

from deca_cli.render import plain

if TYPE_CHECKING:
    from deca_cli.render.fragments import Rule

Arrays = tuple[Tensor, Tensor, Tensor]  # triangle, barycentrics, depth
All = tuple[Tensor, Tensor, Tensor, Tensor]  # and picture
Gradients = tuple[Tensor | None, Tensor | None]  # to attributes and barycentrics


def rasterize(
    vertices: Tensor, faces: Tensor, height: int, width: int, backend: str, rule: str, z_offset: float
) -> Arrays:
    """Triangle, barycentrics and depth."""
    arguments = (vertices, faces, height, width, cast("Rule", rule), z_offset)
    if backend == "cuda":
        return cast("Arrays", cuda_kernels().rasterize(*arguments))
    if backend == "cpu":
        from deca_cli.render import cpu

        return cpu.rasterize(*arguments)
    from deca_cli.render import reference

    return reference.rasterize(*arguments)


def rasterize_backward(
    vertices: Tensor, faces: Tensor, triangle: Tensor, to_barycentrics: Tensor | None, to_depth: Tensor | None,
    backend: str, rule: str, z_offset: float,
) -> Tensor:  # fmt: skip
    """The gradient to the vertices from those of barycentrics and depth (None: zero)."""
    arguments = (vertices, faces, triangle, to_barycentrics, to_depth, cast("Rule", rule), z_offset)
    # The CUDA kernel adds in any order; plain torch has a fixed one where it is told to keep to it.
    if backend == "cuda" and not torch.are_deterministic_algorithms_enabled():
        return cast("Tensor", cuda_kernels().rasterize_backward(*arguments))
    if backend == "cpu":
        from deca_cli.render import cpu_gradients

        return cpu_gradients.rasterize_backward(*arguments)
    return plain.rasterize_backward(*arguments)


def interpolate(
    triangle: Tensor, barycentrics: Tensor, faces: Tensor, attributes: Tensor, fused: bool
) -> Tensor:
    """The picture of attributes: by the CUDA kernel if ``fused``, else in plain torch."""
    if fused:
        return cast("Tensor", cuda_kernels().interpolate(triangle, barycentrics, faces, attributes))
    return plain.interpolate(triangle, barycentrics, faces, attributes)


def interpolate_backward(
    gradient: Tensor, triangle: Tensor, barycentrics: Tensor, faces: Tensor, attributes: Tensor, fused: bool,
    wanted: tuple[bool, bool] = (True, True),
) -> Gradients:  # fmt: skip
    """Gradients to the attributes and to the barycentrics, None for what is not ``wanted``."""
    arguments = (gradient, triangle, barycentrics, faces, attributes, wanted)
    if fused and not torch.are_deterministic_algorithms_enabled():
        return cast("Gradients", cuda_kernels().interpolate_backward(*arguments))
    return plain.interpolate_backward(*arguments)


def rasterize_and_interpolate(
    vertices: Tensor, faces: Tensor, attribute_faces: Tensor, attributes: Tensor,
    height: int, width: int, backend: str, rule: str, z_offset: float,
) -> All:  # fmt: skip
    """Triangle, barycentrics, depth and picture; the CUDA kernel needs one pass over the pixels for all of them."""
    if backend == "cuda":
        found = cuda_kernels().rasterize_and_interpolate(
            vertices, faces, attribute_faces, attributes, height, width, rule, z_offset
        )
        return cast("All", found)
    surface = rasterize(vertices, faces, height, width, backend, rule, z_offset)
    return *surface, plain.interpolate(surface[0], surface[1], attribute_faces, attributes)


@functools.cache
def cuda_kernels() -> ModuleType:
    """`cuda.py`; an import statement takes a good part of the time of a small picture."""
    return importlib.import_module("deca_cli.render.cuda")
