"""What `rasterize.py` draws on a GPU, and how."""

from typing import NamedTuple

import torch
from torch import Tensor

from deca_cli.render.interpolate import interpolate
from deca_cli.render.rasterize import rasterize, rasterize_and_interpolate
from rasterize_timing import Call

CHANNELS = 9
# Triangle, barycentrics and depth; the copy speed measured on an H200.
BYTES_PER_PIXEL = 20
BYTES_PER_SECOND = 4.2e12


class Case(NamedTuple):
    """One problem on the GPU."""

    vertices: Tensor  # [B, V, 3]
    faces: Tensor  # int32 [F, 3]
    attributes: Tensor  # [B, V, CHANNELS]
    size: int


def make_case(vertices: Tensor, faces: Tensor, batch: int, size: int) -> Case:
    """Heads that differ in how they are turned."""
    turn = torch.linspace(-0.1, 0.1, batch)[:, None, None] * vertices[..., [2, 1, 0]]
    points = (vertices + turn * torch.tensor([1.0, 0.0, -1.0])).cuda()
    attributes = torch.randn(batch, points.shape[1], CHANNELS, device="cuda")
    return Case(points, faces.cuda().int(), attributes, size)


def alone(case: Case) -> Call:
    return lambda: rasterize(case.vertices, case.faces, case.size, case.size)


def with_channels(case: Case) -> Call:
    return lambda: rasterize_and_interpolate(case.vertices, case.faces, case.attributes, case.size, case.size)


def one_after_the_other(case: Case) -> Call:
    return lambda: interpolate(alone(case)(), case.faces, case.attributes)


def forward_and_backward(case: Case) -> Call:
    vertices, attributes = case.vertices.clone().requires_grad_(), case.attributes.clone().requires_grad_()
    given = torch.randn(len(vertices), CHANNELS, case.size, case.size, device="cuda")

    def run() -> tuple[Tensor, ...]:
        _, picture = rasterize_and_interpolate(vertices, case.faces, attributes, case.size, case.size)
        return torch.autograd.grad(picture, (vertices, attributes), given)

    return run


def floor_ms(case: Case, *, channels: bool) -> float:
    """Every byte of the inputs and results once."""
    inputs = [case.vertices, case.faces] + ([case.attributes] if channels else [])
    pixels = len(case.vertices) * case.size**2
    size = sum(tensor.nbytes for tensor in inputs) + pixels * (BYTES_PER_PIXEL + 4 * CHANNELS * channels)
    return 1e3 * size / BYTES_PER_SECOND


def check_ids(case: Case) -> str:
    """Compare the first and last item with the CPU kernel."""
    ends = case.vertices[[0, -1]].cpu()
    right = rasterize(ends, case.faces.cpu(), case.size, case.size, backend="cpu").triangle
    different = int((alone(case)().triangle[[0, -1]].cpu() != right).sum())
    return "equal" if different == 0 else f"{different} DIFFER"
