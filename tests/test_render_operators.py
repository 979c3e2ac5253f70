"""The renderer's operators under torch's own checks and under `torch.compile`."""

import os
import shutil
import sysconfig
from pathlib import Path

import pytest
import torch
from torch import Tensor

from deca_cli.render import ops
from deca_cli.render.interpolate import interpolate
from deca_cli.render.rasterize import rasterize, rasterize_and_interpolate
from render_scenarios import BACKENDS, TRIANGLE, faces

FACES = faces((0, 1, 2))
SETTINGS = ("standard", 10.0)
# torch's check of compiled gradients adds up all outputs in place, which fails if the first is of integers; the tests
# of compiled programs below compare those gradients.
BUT_COMPILED = ("test_schema", "test_autograd_registration", "test_faketensor")


HAS_COMPILER = bool(shutil.which(os.environ.get("CXX", "g++")) or shutil.which("clang++"))
HAS_HEADERS = (Path(sysconfig.get_path("include")) / "Python.h").exists()


def inputs(backend: str, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor, Tensor]:
    device = "cuda" if backend == "cuda" else "cpu"
    attributes = torch.tensor([[1.0, 2.0], [3.0, -1.0], [0.5, 4.0]], dtype=dtype, device=device)
    return TRIANGLE.to(device, dtype).clone().requires_grad_(), FACES.to(device), attributes.requires_grad_()


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_rasteriser_passes_torchs_checks_of_an_operator(backend: str):
    vertices, corners, _ = inputs(backend)
    torch.library.opcheck(
        ops.rasterize_op, (vertices, corners, 5, 6, backend, *SETTINGS), test_utils=BUT_COMPILED
    )
    triangle, weights, depth = (
        tensor.detach() for tensor in ops.rasterize_op(vertices, corners, 5, 6, backend, *SETTINGS)
    )
    for given in ((weights, depth), (weights, None), (None, depth)):
        torch.library.opcheck(
            ops.rasterize_backward_op, (vertices.detach(), corners, triangle, *given, backend, *SETTINGS)
        )


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_interpolation_passes_torchs_checks_of_an_operator(backend: str, dtype: torch.dtype):
    vertices, corners, attributes = inputs(backend, dtype)
    fused = backend == "cuda"
    found = rasterize(vertices.detach(), corners, 5, 6, backend=backend)
    weights = found.barycentrics.requires_grad_()
    torch.library.opcheck(ops.interpolate_op, (found.triangle, weights, corners, attributes, fused))
    picture = torch.randn(1, 2, 5, 6, dtype=dtype, device=vertices.device)
    arguments = (picture, found.triangle, weights.detach(), corners, attributes.detach(), fused)
    torch.library.opcheck(ops.interpolate_backward_op, arguments)
    both = (vertices, corners, corners, attributes, 5, 6, backend, *SETTINGS)
    torch.library.opcheck(ops.both_op, both, test_utils=BUT_COMPILED)


def turned(tensor: Tensor) -> Tensor:
    """The same numbers with the last axis outermost in memory."""
    axes = list(range(tensor.ndim))
    return tensor.permute(axes[-1], *axes[:-1]).contiguous().permute(*axes[1:], 0)


@pytest.mark.parametrize("backend", BACKENDS)
def test_operators_pass_torchs_checks_whatever_the_order_of_inputs_in_memory(backend: str):
    vertices, corners, attributes = (tensor.detach() for tensor in inputs(backend))
    fused = backend == "cuda"
    found = rasterize(vertices, corners, 5, 6, backend=backend)
    surface = [turned(tensor) for tensor in (found.triangle, found.barycentrics, found.depth)]
    vertices, attributes = turned(vertices), turned(attributes)
    assert not attributes.is_contiguous()
    picture = turned(torch.randn(1, 2, 5, 6, device=vertices.device))
    settings = (5, 6, backend, *SETTINGS)
    known = (*surface[:2], corners, attributes, fused)
    for operator, arguments in (
        (ops.rasterize_op, (vertices, corners, *settings)),
        (ops.rasterize_backward_op, (vertices, corners, *surface, backend, *SETTINGS)),
        (ops.interpolate_op, known),
        (ops.interpolate_backward_op, (picture, *known)),
        (ops.both_op, (vertices, corners, corners, attributes, *settings)),
    ):
        torch.library.opcheck(operator, arguments, test_utils=BUT_COMPILED)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_compiled_program_has_no_break_and_the_same_values_and_gradients(backend: str):
    vertices, corners, attributes = inputs(backend)

    def program(vertices: Tensor, attributes: Tensor) -> Tensor:
        found = rasterize(vertices * 0.9, corners, 12, 10, backend=backend)
        picture = interpolate(found, corners, attributes)
        _, other = rasterize_and_interpolate(vertices, corners, attributes, 12, 10, backend=backend)
        return (picture.square() + other).sum() + torch.where(found.covered, found.depth, 0.0).sum()

    plain = program(vertices, attributes)
    right = torch.autograd.grad(plain, (vertices, attributes))
    compiled = torch.compile(program, fullgraph=True, backend="aot_eager")(vertices, attributes)
    torch.testing.assert_close(compiled, plain)
    for ours, expected in zip(torch.autograd.grad(compiled, (vertices, attributes)), right, strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.skipif(not HAS_COMPILER or not HAS_HEADERS, reason="inductor needs a C++ compiler and Python.h")
def test_inductors_program_has_the_same_values_and_gradients():
    vertices, corners, attributes = inputs("cpu")
    across = attributes.detach().T.contiguous()[None].requires_grad_()

    def program(vertices: Tensor, across: Tensor) -> Tensor:
        found, picture = rasterize_and_interpolate(vertices, corners, across.transpose(1, 2) * 2, 12, 10)
        return picture.square().sum() + torch.where(found.covered, found.depth, 0.0).sum()

    plain = program(vertices, across)
    compiled = torch.compile(program, fullgraph=True, backend="inductor")(vertices, across)
    torch.testing.assert_close(compiled, plain)
    right = torch.autograd.grad(plain, (vertices, across))
    for ours, expected in zip(torch.autograd.grad(compiled, (vertices, across)), right, strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-5, atol=1e-5)


def test_wrong_indices_are_refused_by_compiled_programs_too():
    vertices, _, _ = inputs("cpu")
    draw = torch.compile(
        lambda points, rows: rasterize(points, rows, 4, 4).triangle, fullgraph=True, backend="eager"
    )
    with pytest.raises(ValueError, match="refer to vertices"):
        draw(vertices.detach(), torch.tensor([[0, 1, 3]]))


@pytest.mark.parametrize("backend", BACKENDS)
def test_other_number_types_are_computed_in_float32(backend: str):
    vertices, corners, attributes = (tensor.detach() for tensor in inputs(backend))
    found, picture = rasterize_and_interpolate(
        vertices.half(), corners, attributes.bfloat16(), 8, 8, backend=backend
    )
    assert found.barycentrics.dtype == torch.float32
    right = rasterize(vertices.half().float(), corners, 8, 8, backend=backend)
    assert torch.equal(found.triangle, right.triangle)
    assert picture.dtype == torch.bfloat16
    torch.testing.assert_close(picture.float(), interpolate(right, corners, attributes), rtol=1e-2, atol=1e-2)
    assert torch.equal(interpolate(right, corners, attributes.bfloat16()), picture)
