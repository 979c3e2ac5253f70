"""The renderer as torch operators: `torch.compile` sees each of them as one step, and autograd knows their gradients.

Every operator has a shape function ("fake") and, where it is differentiable, a second operator for its gradient.
Tensors are as `render.rasterize` and `render.interpolate` check and convert them; those functions are the ones to call.
"""

# ruff: noqa: ANN401 - torch's context objects have no public type

from typing import Any, cast

import torch
from torch import Tensor
from torch.library import custom_op

from deca_cli.render import plain
from deca_cli.render.fragments import Rule

Arrays = tuple[Tensor, Tensor, Tensor]


def draw(
    vertices: Tensor, faces: Tensor, height: int, width: int, backend: str, rule: str, z_offset: float
) -> Arrays:
    """Triangle, barycentrics and depth by the named back end; each lives in a module with an import of its own weight."""
    arguments = (vertices, faces, height, width, cast("Rule", rule), z_offset)
    if backend == "reference":
        from deca_cli.render import reference

        return reference.rasterize(*arguments)
    if backend == "cpu":
        from deca_cli.render import cpu

        return cpu.rasterize(*arguments)
    from deca_cli.render import cuda

    return cuda.rasterize(*arguments)


def mix(triangle: Tensor, barycentrics: Tensor, faces: Tensor, attributes: Tensor, *, fused: bool) -> Tensor:
    """The picture of attributes: by the CUDA kernel if ``fused``, else in plain torch."""
    if fused:
        from deca_cli.render import cuda

        return cuda.interpolate(triangle, barycentrics, faces, attributes)
    return plain.interpolate(triangle, barycentrics, faces, attributes)


def draw_and_mix(
    vertices: Tensor, faces: Tensor, attribute_faces: Tensor, attributes: Tensor,
    height: int, width: int, backend: str, rule: str, z_offset: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """`draw` and `mix`; one pass over the pixels by the CUDA kernel."""
    if backend == "cuda":
        from deca_cli.render import cuda

        return cuda.rasterize_and_interpolate(
            vertices, faces, attribute_faces, attributes, height, width, cast("Rule", rule), z_offset
        )
    found = draw(vertices, faces, height, width, backend, rule, z_offset)
    weights = found[1].to(attributes.dtype)
    return *found, plain.interpolate(found[0], weights, attribute_faces, attributes)


# ---- Rasterising ----


@custom_op("deca::rasterize", mutates_args=())
def rasterize(
    vertices: Tensor, faces: Tensor, height: int, width: int, backend: str, rule: str, z_offset: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Triangle, barycentrics and depth."""
    return draw(vertices, faces, height, width, backend, rule, z_offset)


@rasterize.register_fake
def _(
    vertices: Tensor, faces: Tensor, height: int, width: int, backend: str, rule: str, z_offset: float
) -> Arrays:
    return _empty_surface(vertices, height, width)


def _empty_surface(vertices: Tensor, height: int, width: int) -> Arrays:
    shape = (len(vertices), height, width)
    triangle = vertices.new_empty(shape, dtype=torch.int32)
    return triangle, vertices.new_empty((*shape, 3)), vertices.new_empty(shape)


@custom_op("deca::rasterize_backward", mutates_args=())
def rasterize_backward(
    vertices: Tensor, faces: Tensor, triangle: Tensor, to_barycentrics: Tensor | None, to_depth: Tensor | None,
    backend: str, rule: str, z_offset: float,
) -> Tensor:  # fmt: skip
    """The gradient to the vertices."""
    arguments = (vertices, faces, triangle, to_barycentrics, to_depth, cast("Rule", rule), z_offset)
    # The CUDA kernel adds in any order; autograd's own way has a fixed one where torch is told to keep to it.
    if backend == "reference" or (backend == "cuda" and torch.are_deterministic_algorithms_enabled()):
        return plain.rasterize_backward(*arguments)
    if backend == "cpu":
        from deca_cli.render import cpu_gradients

        return cpu_gradients.rasterize_backward(*arguments)
    from deca_cli.render import cuda

    return cuda.rasterize_backward(*arguments)


@rasterize_backward.register_fake
def _(
    vertices: Tensor, faces: Tensor, triangle: Tensor, to_barycentrics: Tensor | None, to_depth: Tensor | None,
    backend: str, rule: str, z_offset: float,
) -> Tensor:  # fmt: skip
    return vertices.new_empty(vertices.shape)


def _save_rasterize(ctx: Any, inputs: tuple[Any, ...], output: Arrays) -> None:
    vertices, faces, _, _, *settings = inputs
    ctx.save_for_backward(vertices, faces, output[0])
    ctx.settings = settings
    ctx.set_materialize_grads(False)


def _rasterize_backward(
    ctx: Any, _: Tensor | None, to_barycentrics: Tensor | None, to_depth: Tensor | None
) -> tuple[Tensor | None, ...]:
    gradient = None
    if to_barycentrics is not None or to_depth is not None:
        gradient = rasterize_backward(*ctx.saved_tensors, to_barycentrics, to_depth, *ctx.settings)
    return gradient, *([None] * 6)


rasterize.register_autograd(_rasterize_backward, setup_context=_save_rasterize)


# ---- Interpolating ----


@custom_op("deca::interpolate", mutates_args=())
def interpolate(
    triangle: Tensor, barycentrics: Tensor, faces: Tensor, attributes: Tensor, fused: bool
) -> Tensor:
    """The picture of attributes over known triangles."""
    return mix(triangle, barycentrics, faces, attributes, fused=fused)


@interpolate.register_fake
def _(triangle: Tensor, barycentrics: Tensor, faces: Tensor, attributes: Tensor, fused: bool) -> Tensor:
    return _empty_picture(triangle, attributes, fused=fused)


def _empty_picture(triangle: Tensor, attributes: Tensor, *, fused: bool) -> Tensor:
    batch, height, width = triangle.shape
    channels = attributes.shape[-1]
    if fused:
        return attributes.new_empty((batch, channels, height, width))
    return attributes.new_empty((batch, height, width, channels)).permute(0, 3, 1, 2)


@custom_op("deca::interpolate_backward", mutates_args=())
def interpolate_backward(
    gradient: Tensor, triangle: Tensor, barycentrics: Tensor, faces: Tensor, attributes: Tensor, fused: bool
) -> tuple[Tensor, Tensor]:
    """Gradients to the attributes and to the barycentrics."""
    if fused and not torch.are_deterministic_algorithms_enabled():
        from deca_cli.render import cuda

        return cuda.interpolate_backward(gradient, triangle, barycentrics, faces, attributes)
    return plain.interpolate_backward(gradient, triangle, barycentrics, faces, attributes)


@interpolate_backward.register_fake
def _(
    gradient: Tensor, triangle: Tensor, barycentrics: Tensor, faces: Tensor, attributes: Tensor, fused: bool
) -> tuple[Tensor, Tensor]:
    return attributes.new_empty(attributes.shape), barycentrics.new_empty(barycentrics.shape)


def _save_interpolate(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:  # noqa: ARG001
    *tensors, ctx.fused = inputs
    ctx.save_for_backward(*tensors)


def _interpolate_backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
    to_attributes, to_barycentrics = interpolate_backward(gradient, *ctx.saved_tensors, ctx.fused)
    return None, to_barycentrics, None, to_attributes, None


interpolate.register_autograd(_interpolate_backward, setup_context=_save_interpolate)


# ---- Both at once ----


@custom_op("deca::rasterize_and_interpolate", mutates_args=())
def rasterize_and_interpolate(
    vertices: Tensor, faces: Tensor, attribute_faces: Tensor, attributes: Tensor,
    height: int, width: int, backend: str, rule: str, z_offset: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """Triangle, barycentrics, depth and picture."""
    return draw_and_mix(vertices, faces, attribute_faces, attributes, height, width, backend, rule, z_offset)


@rasterize_and_interpolate.register_fake
def _(
    vertices: Tensor, faces: Tensor, attribute_faces: Tensor, attributes: Tensor,
    height: int, width: int, backend: str, rule: str, z_offset: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    surface = _empty_surface(vertices, height, width)
    return *surface, _empty_picture(surface[0], attributes, fused=backend == "cuda")


def _save_both(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    vertices, faces, attribute_faces, attributes, _, _, *settings = inputs
    ctx.save_for_backward(vertices, faces, output[0], output[1], attribute_faces, attributes)
    ctx.settings = settings
    ctx.set_materialize_grads(False)


def _backward_of_both(
    ctx: Any, _: Tensor | None, to_barycentrics: Tensor | None, to_depth: Tensor | None, gradient: Tensor | None
) -> tuple[Tensor | None, ...]:
    vertices, faces, triangle, barycentrics, attribute_faces, attributes = ctx.saved_tensors
    to_attributes = to_vertices = None
    if gradient is not None:
        to_attributes, through = interpolate_backward(
            gradient, triangle, barycentrics, attribute_faces, attributes, ctx.settings[0] == "cuda"
        )
        to_barycentrics = through if to_barycentrics is None else to_barycentrics + through
    if ctx.needs_input_grad[0] and (to_barycentrics is not None or to_depth is not None):
        to_vertices = rasterize_backward(vertices, faces, triangle, to_barycentrics, to_depth, *ctx.settings)
    return to_vertices, None, None, to_attributes, *([None] * 5)


rasterize_and_interpolate.register_autograd(_backward_of_both, setup_context=_save_both)
