"""A CUDA graph of the renderer, replayed with other numbers, has the results of ordinary calls."""

import pytest
import torch
from torch import Tensor

from deca_cli.render.interpolate import interpolate
from deca_cli.render.rasterize import rasterize, rasterize_and_interpolate
from render_scenarios import Scenario, ball, needs_gpu


def shaded(scenario: Scenario, channels: int) -> tuple[Tensor, Tensor, Tensor]:
    """Vertices, faces and attributes on the GPU."""
    vertices = scenario.vertices.cuda()
    values = torch.rand(vertices.shape[1], channels, generator=torch.Generator().manual_seed(5))
    return vertices, scenario.faces.cuda(), values.cuda()


@needs_gpu
@pytest.mark.cuda
def test_a_replayed_graph_interpolates_as_ordinary_calls_do():
    vertices, faces, values = shaded(ball(2), 5)

    def pictures() -> tuple[Tensor, ...]:
        found, together = rasterize_and_interpolate(vertices, faces, values, 96, 80)
        return together, interpolate(found, faces, values), found.triangle, found.barycentrics, found.depth

    pictures()  # compiles the kernels
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = pictures()
    for _round in range(2):
        vertices.copy_(vertices.flip(0) * 0.95)
        values.copy_(1 - values.flip(0) / 2)
        graph.replay()
        for ours, expected in zip(captured, pictures(), strict=True):
            assert torch.equal(ours, expected)


@needs_gpu
@pytest.mark.cuda
@pytest.mark.parametrize("together", [True, False])
def test_a_replayed_graph_has_the_gradients_of_ordinary_calls(together: bool):
    vertices, faces, values = shaded(ball(2), 5)
    vertices.requires_grad_()
    values.requires_grad_()

    def gradients() -> tuple[Tensor, ...]:
        if together:
            found, picture = rasterize_and_interpolate(vertices, faces, values, 96, 80)
        else:
            found = rasterize(vertices, faces, 96, 80)
            picture = interpolate(found, faces, values)
        # Not by indexing with the mask: that waits for the GPU, which a capture refuses.
        depth = found.depth.masked_fill(~found.covered, 0.0)
        return torch.autograd.grad(picture.square().sum() + depth.square().sum(), (vertices, values))

    # As torch asks for it: a first backward pass on another stream than the default one.
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        gradients()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = gradients()
    for _round in range(2):
        with torch.no_grad():
            vertices.copy_(vertices.flip(0) * 0.95)
            values.copy_(1 - values.flip(0) / 2)
        graph.replay()
        for ours, expected in zip(captured, gradients(), strict=True):
            assert expected.abs().max() > 0.1
            # Sums are in any order.
            torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))
