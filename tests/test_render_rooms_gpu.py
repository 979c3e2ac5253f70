"""Memory for keys that is kept between calls, on a GPU: the pictures stay right, whoever draws before, beside or between."""

import contextlib
import threading
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from deca_cli.render import cuda_draw, cuda_plan, ops
from deca_cli.render import rasterize as public
from deca_cli.render.cuda_plan import plan_of
from deca_cli.render.rasterize import rasterize, rasterize_and_interpolate
from render_scenarios import SCENARIOS, Scenario, ball, needs_gpu, soup


def right(scenario: Scenario) -> Tensor:
    return rasterize(
        scenario.vertices, scenario.faces, scenario.height, scenario.width, backend="cpu"
    ).triangle.cuda()


def found(scenario: Scenario) -> Tensor:
    vertices, faces = scenario.vertices.cuda(), scenario.faces.cuda()
    return rasterize(vertices, faces, scenario.height, scenario.width).triangle


def large(seed: int) -> Scenario:
    """Triangles that are listed, more than fit on the list."""
    return soup(seed, 2000, 1.5, 150, 160, batch=2)


@contextlib.contextmanager
def small_room(bytes_: int) -> Iterator[None]:
    before = cuda_plan.ROOM
    cuda_plan.ROOM = bytes_
    for cached in (plan_of, cuda_draw.drawing_of):
        cached.cache_clear()
    public._drawing.cache_clear()
    try:
        yield
    finally:
        cuda_plan.ROOM = before
        for cached in (plan_of, cuda_draw.drawing_of, public._drawing):
            cached.cache_clear()


@needs_gpu
@pytest.mark.cuda
def test_changing_scenarios_in_the_same_rooms_are_right():
    scenarios = [large(1), ball(2), large(2), SCENARIOS["no faces"](), large(3), ball(1), ball(2), large(1)]
    expected = [right(scenario) for scenario in scenarios]
    for _round in range(3):
        for scenario, triangle in zip(scenarios, expected, strict=True):
            assert torch.equal(found(scenario), triangle)


@needs_gpu
@pytest.mark.cuda
@pytest.mark.parametrize("room", [1, 8 * 150 * 160, 1 << 25])
def test_rooms_of_any_size_give_the_same_pictures(room: int):
    scenarios = [large(4), ball(7)]
    with small_room(room):
        for scenario in scenarios * 2:
            assert torch.equal(found(scenario), right(scenario))


@needs_gpu
@pytest.mark.cuda
def test_streams_and_threads_do_not_disturb_each_other():
    scenarios = [large(5), large(6)]
    expected = [right(scenario) for scenario in scenarios]
    inputs = [(scenario.vertices.cuda(), scenario.faces.cuda()) for scenario in scenarios]
    torch.cuda.synchronize()
    wrong: list[object] = []

    def work(number: int, stream: torch.cuda.Stream) -> None:
        try:
            with torch.cuda.stream(stream):
                for turn in range(20):
                    which = (number + turn) % 2
                    triangle = rasterize(*inputs[which], 150, 160).triangle
                    if not torch.equal(triangle, expected[which]):
                        wrong.append((number, turn))
        except Exception as error:  # noqa: BLE001 - told by the test
            wrong.append(error)

    own, shared = torch.cuda.Stream(), torch.cuda.Stream()
    threads = [threading.Thread(target=work, args=job) for job in enumerate((own, shared, shared, shared))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@needs_gpu
@pytest.mark.cuda
def test_an_interruption_between_the_passes_leaves_no_trace(monkeypatch: pytest.MonkeyPatch):
    scenario, attributes = large(7), torch.rand(6000, 4).cuda()
    vertices, faces = scenario.vertices.cuda(), scenario.faces.cuda()
    expected = right(scenario)
    assert torch.equal(found(scenario), expected)

    def interrupted(*_: object) -> Tensor:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(cuda_draw, "empty", interrupted)
        with pytest.raises(KeyboardInterrupt):
            rasterize_and_interpolate(vertices, faces, attributes, 150, 160)
    assert torch.equal(found(scenario), expected)
    assert torch.equal(found(scenario), expected)


@needs_gpu
@pytest.mark.cuda
def test_graphs_and_calls_in_turns_do_not_disturb_each_other():
    first, second = large(8), large(9)
    expected = [right(scenario) for scenario in (first, second)]
    moving, faces = first.vertices.cuda(), first.faces.cuda()
    for room in (1 << 25, 8 * 150 * 160):
        with small_room(room):
            assert torch.equal(found(second), expected[1])
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                captured = rasterize(moving, faces, 150, 160).triangle
            for scenario, triangle in ((first, expected[0]), (second, expected[1])) * 2:
                moving.copy_(scenario.vertices)
                graph.replay()
                assert torch.equal(found(second), expected[1])
                assert torch.equal(captured, triangle)


@needs_gpu
@pytest.mark.cuda
def test_operators_and_gradients_keep_no_room():
    """Compiled programs with CUDA graphs refuse memory that outlives a call."""
    vertices, faces = ball(1).vertices.cuda(), ball(1).faces.cuda()
    place = (torch.cuda.current_stream().cuda_stream, 1, 37 * 53)
    ops.rasterize_op(vertices, faces, 37, 53, "cuda", "standard", 10.0)
    rasterize(vertices.clone().requires_grad_(), faces, 37, 53)
    assert cuda_draw._rooms(0).take(place) is None
    rasterize(vertices, faces, 37, 53)
    assert cuda_draw._rooms(0).take(place) is not None
