"""The steps of rendering as torch operators, each known to autograd and, with its shapes, to `torch.compile`.

Every step exists twice: as an operator of the library ``deca``, for whatever traces a program, and as an
`autograd.Function` for ordinary calls, because the dispatcher costs several times what the kernels cost to start.
Both share what they save and how they go backward. Inputs are as `render.rasterize` and `render.interpolate` check and
convert them; those are the functions to call.
"""

# ruff: noqa: ANN401, ARG001 - torch's context objects have no public type; shape functions take what operators take

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.library import custom_op

from deca_cli.render import dispatch
from deca_cli.render.dispatch import Arrays, Gradients
from deca_cli.render.tracing import is_traced, is_tracked

# ---- Rasterising: (vertices, faces, height, width, backend, rule, z_offset) -> triangle, barycentrics, depth ----


@custom_op("deca::rasterize", mutates_args=())
def rasterize_op(
    vertices: Tensor, faces: Tensor, height: int, width: int, backend: str, rule: str, z_offset: float
) -> tuple[Tensor, Tensor, Tensor]:
    """`dispatch.rasterize`."""
    return dispatch.rasterize(vertices, faces, height, width, backend, rule, z_offset)


@rasterize_op.register_fake
def _(
    vertices: Tensor, faces: Tensor, height: int, width: int, backend: str, rule: str, z_offset: float
) -> Arrays:
    return _empty_surface(vertices, height, width)


def _empty_surface(vertices: Tensor, height: int, width: int) -> Arrays:
    shape = (vertices.shape[0], height, width)
    triangle = vertices.new_empty(shape, dtype=torch.int32)
    return triangle, vertices.new_empty((*shape, 3)), vertices.new_empty(shape)


@custom_op("deca::rasterize_backward", mutates_args=())
def rasterize_backward_op(
    vertices: Tensor, faces: Tensor, triangle: Tensor, to_barycentrics: Tensor | None, to_depth: Tensor | None,
    backend: str, rule: str, z_offset: float,
) -> Tensor:  # fmt: skip
    """`dispatch.rasterize_backward`."""
    return dispatch.rasterize_backward(
        vertices, faces, triangle, to_barycentrics, to_depth, backend, rule, z_offset
    )


@rasterize_backward_op.register_fake
def _(
    vertices: Tensor, faces: Tensor, triangle: Tensor, to_barycentrics: Tensor | None, to_depth: Tensor | None,
    backend: str, rule: str, z_offset: float,
) -> Tensor:  # fmt: skip
    return vertices.new_empty(vertices.shape)


class Rasterize(Function):
    """For ordinary calls; arguments and results of `dispatch.rasterize`."""

    forward = staticmethod(dispatch.rasterize)
    step_back: Callable[..., Tensor] = staticmethod(dispatch.rasterize_backward)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Arrays) -> None:
        """Keep what the gradient needs."""
        vertices, faces, _, _, *ctx.settings = inputs
        ctx.save_for_backward(vertices, faces, output[0])
        ctx.set_materialize_grads(False)

    @classmethod
    @once_differentiable
    def backward(
        cls, ctx: Any, _: Tensor | None, to_barycentrics: Tensor | None, to_depth: Tensor | None
    ) -> tuple[Tensor | None, ...]:
        """To the vertices."""
        gradient = None
        if to_barycentrics is not None or to_depth is not None:
            gradient = cls.step_back(*ctx.saved_tensors, to_barycentrics, to_depth, *ctx.settings)
        return gradient, *([None] * 6)


class TracedRasterize(Rasterize):
    """The same with operators."""

    step_back = staticmethod(rasterize_backward_op)


rasterize_op.register_autograd(TracedRasterize.backward, setup_context=Rasterize.setup_context)


def rasterize(vertices: Tensor, *others: Any) -> Arrays:
    """`dispatch.rasterize`, for autograd and for compilers."""
    if is_traced(vertices):
        return rasterize_op(vertices, *others)
    return (
        Rasterize.apply(vertices, *others) if is_tracked(vertices) else dispatch.rasterize(vertices, *others)
    )


# ---- Interpolating: (triangle, barycentrics, faces, attributes, fused) -> picture ----


@custom_op("deca::interpolate", mutates_args=())
def interpolate_op(
    triangle: Tensor, barycentrics: Tensor, faces: Tensor, attributes: Tensor, fused: bool
) -> Tensor:
    """`dispatch.interpolate`."""
    return dispatch.interpolate(triangle, barycentrics, faces, attributes, fused)


@interpolate_op.register_fake
def _(triangle: Tensor, barycentrics: Tensor, faces: Tensor, attributes: Tensor, fused: bool) -> Tensor:
    return _empty_picture(triangle, attributes, fused=fused)


def _empty_picture(triangle: Tensor, attributes: Tensor, *, fused: bool) -> Tensor:
    batch, height, width = triangle.shape
    channels = attributes.shape[-1]
    if fused:
        return attributes.new_empty((batch, channels, height, width))
    return attributes.new_empty((batch, height, width, channels)).permute(0, 3, 1, 2)


@custom_op("deca::interpolate_backward", mutates_args=())
def interpolate_backward_op(
    gradient: Tensor, triangle: Tensor, barycentrics: Tensor, faces: Tensor, attributes: Tensor, fused: bool
) -> tuple[Tensor, Tensor]:
    """`dispatch.interpolate_backward`, always both."""
    found = dispatch.interpolate_backward(gradient, triangle, barycentrics, faces, attributes, fused)
    return cast("tuple[Tensor, Tensor]", found)


@interpolate_backward_op.register_fake
def _(
    gradient: Tensor, triangle: Tensor, barycentrics: Tensor, faces: Tensor, attributes: Tensor, fused: bool
) -> tuple[Tensor, Tensor]:
    return attributes.new_empty(attributes.shape), barycentrics.new_empty(barycentrics.shape)


def _traced_interpolate_backward(*inputs: Any) -> Gradients:
    """The operator for `dispatch.interpolate_backward`; its schema knows no gradient that is left out."""
    *arguments, _wanted = inputs
    return interpolate_backward_op(*arguments)


class Interpolate(Function):
    """For ordinary calls; arguments and results of `dispatch.interpolate`."""

    forward = staticmethod(dispatch.interpolate)
    step_back: Callable[..., Gradients] = staticmethod(dispatch.interpolate_backward)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:  # noqa: ARG004
        """Keep what the gradient needs."""
        *tensors, ctx.fused = inputs
        ctx.save_for_backward(*tensors)

    @classmethod
    @once_differentiable
    def backward(cls, ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """To attributes and barycentrics."""
        wanted = (ctx.needs_input_grad[3], ctx.needs_input_grad[1])
        to_attributes, to_barycentrics = cls.step_back(gradient, *ctx.saved_tensors, ctx.fused, wanted)
        return None, to_barycentrics, None, to_attributes, None


class TracedInterpolate(Interpolate):
    """The same with operators."""

    step_back = staticmethod(_traced_interpolate_backward)


interpolate_op.register_autograd(TracedInterpolate.backward, setup_context=Interpolate.setup_context)


def interpolate(
    triangle: Tensor, barycentrics: Tensor, faces: Tensor, attributes: Tensor, *, fused: bool
) -> Tensor:
    """`dispatch.interpolate`, for autograd and for compilers."""
    arguments = (triangle, barycentrics, faces, attributes, fused)
    if is_traced(triangle, barycentrics, attributes):
        return interpolate_op(*arguments)
    return (
        Interpolate.apply(*arguments)
        if is_tracked(barycentrics, attributes)
        else dispatch.interpolate(*arguments)
    )


# ---- Both: (vertices, faces, attribute faces, attributes, height, width, backend, rule, z_offset) ----


@custom_op("deca::rasterize_and_interpolate", mutates_args=())
def both_op(
    vertices: Tensor, faces: Tensor, attribute_faces: Tensor, attributes: Tensor,
    height: int, width: int, backend: str, rule: str, z_offset: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """`dispatch.rasterize_and_interpolate`."""
    return dispatch.rasterize_and_interpolate(
        vertices, faces, attribute_faces, attributes, height, width, backend, rule, z_offset
    )


@both_op.register_fake
def _(
    vertices: Tensor, faces: Tensor, attribute_faces: Tensor, attributes: Tensor,
    height: int, width: int, backend: str, rule: str, z_offset: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    surface = _empty_surface(vertices, height, width)
    return *surface, _empty_picture(surface[0], attributes, fused=backend == "cuda")


class Both(Function):
    """For ordinary calls; arguments and results of `dispatch.rasterize_and_interpolate`."""

    forward = staticmethod(dispatch.rasterize_and_interpolate)
    rasterize_back = staticmethod(dispatch.rasterize_backward)
    interpolate_back: Callable[..., Gradients] = staticmethod(dispatch.interpolate_backward)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        """Keep what the gradient needs."""
        vertices, faces, attribute_faces, attributes, _, _, *ctx.settings = inputs
        ctx.save_for_backward(vertices, faces, output[0], output[1], attribute_faces, attributes)
        ctx.set_materialize_grads(False)

    @classmethod
    @once_differentiable
    def backward(
        cls, ctx: Any, _: Tensor | None, to_barycentrics: Tensor | None, to_depth: Tensor | None,
        to_picture: Tensor | None,
    ) -> tuple[Tensor | None, ...]:  # fmt: skip
        """To vertices and attributes."""
        vertices, faces, triangle, barycentrics, attribute_faces, attributes = ctx.saved_tensors
        to_attributes = to_vertices = None
        if to_picture is not None:
            known = (triangle, barycentrics, attribute_faces, attributes)
            wanted = (ctx.needs_input_grad[3], ctx.needs_input_grad[0])
            to_attributes, through = cls.interpolate_back(
                to_picture, *known, ctx.settings[0] == "cuda", wanted
            )
            if to_barycentrics is None:
                to_barycentrics = through
            elif through is not None:
                to_barycentrics = to_barycentrics + through
        if ctx.needs_input_grad[0] and (to_barycentrics is not None or to_depth is not None):
            to_vertices = cls.rasterize_back(
                vertices, faces, triangle, to_barycentrics, to_depth, *ctx.settings
            )
        return to_vertices, None, None, to_attributes, *([None] * 5)


class TracedBoth(Both):
    """The same with operators."""

    rasterize_back = staticmethod(rasterize_backward_op)
    interpolate_back = staticmethod(_traced_interpolate_backward)


both_op.register_autograd(TracedBoth.backward, setup_context=Both.setup_context)


def rasterize_and_interpolate(
    vertices: Tensor, faces: Tensor, attribute_faces: Tensor, attributes: Tensor, *others: Any
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """`dispatch.rasterize_and_interpolate`, for autograd and for compilers."""
    arguments = (vertices, faces, attribute_faces, attributes, *others)
    if is_traced(vertices, attributes):
        return both_op(*arguments)
    if is_tracked(vertices, attributes):
        return Both.apply(*arguments)
    return dispatch.rasterize_and_interpolate(*arguments)
