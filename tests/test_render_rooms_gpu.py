"""Memory for keys that is kept between calls, on a GPU: the pictures stay right, whoever draws before, beside or between."""

import threading

import pytest
import torch
from torch import Tensor

from deca_cli.render import cuda_draw, ops
from deca_cli.render.cuda_draw import rooms_of
from deca_cli.render.rasterize import rasterize, rasterize_and_interpolate
from render_scenarios import SCENARIOS, Scenario, ball, needs_gpu, soup

HEIGHT, WIDTH = 72, 80


def right(scenario: Scenario) -> Tensor:
    return rasterize(
        scenario.vertices, scenario.faces, scenario.height, scenario.width, backend="cpu"
    ).triangle.cuda()


def found(scenario: Scenario) -> Tensor:
    vertices, faces = scenario.vertices.cuda(), scenario.faces.cuda()
    return rasterize(vertices, faces, scenario.height, scenario.width).triangle


def large(seed: int) -> Scenario:
    """Triangles that are listed, more than fit on the list."""
    return soup(seed, 2400, 6, HEIGHT, WIDTH, batch=2)


@needs_gpu
@pytest.mark.cuda
def test_changing_scenarios_in_the_same_rooms_are_right():
    scenarios = [large(1), ball(2), large(2), SCENARIOS["no faces"](), large(3), ball(1), ball(2), large(1)]
    expected = [right(scenario) for scenario in scenarios]
    for _round in range(2):
        for scenario, triangle in zip(scenarios, expected, strict=True):
            assert torch.equal(found(scenario), triangle)


@needs_gpu
@pytest.mark.cuda
@pytest.mark.parametrize("limit", [0, 300_000, 1 << 30])
def test_none_one_or_all_rooms_kept_give_the_same_pictures(monkeypatch: pytest.MonkeyPatch, limit: int):
    scenarios = [large(4), ball(4)]
    expected = [right(scenario) for scenario in scenarios]
    rooms_of(0).drop()
    monkeypatch.setattr(rooms_of(0), "limit", limit)
    for _round in range(2):
        for scenario, triangle in zip(scenarios, expected, strict=True):
            assert torch.equal(found(scenario), triangle)
    assert len(rooms_of(0)) == {0: 0, 300_000: 1}.get(limit, 2)


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
                for turn in range(8):
                    which = (number + turn) % 2
                    triangle = rasterize(*inputs[which], HEIGHT, WIDTH).triangle
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
    scenario, attributes = large(7), torch.rand(7200, 4).cuda()
    vertices, faces = scenario.vertices.cuda(), scenario.faces.cuda()
    expected = right(scenario)
    assert torch.equal(found(scenario), expected)

    def interrupted(*_: object) -> Tensor:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(cuda_draw, "empty", interrupted)
        with pytest.raises(KeyboardInterrupt):
            rasterize_and_interpolate(vertices, faces, attributes, HEIGHT, WIDTH)
    assert torch.equal(found(scenario), expected)
    assert torch.equal(found(scenario), expected)


@needs_gpu
@pytest.mark.cuda
def test_graphs_and_calls_in_turns_do_not_disturb_each_other():
    first, second = large(8), large(9)
    expected = [right(scenario) for scenario in (first, second)]
    moving, faces = first.vertices.cuda(), first.faces.cuda()
    assert torch.equal(found(second), expected[1])
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = rasterize(moving, faces, HEIGHT, WIDTH).triangle
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
    assert rooms_of(0).take(place) is None
    rasterize(vertices, faces, 37, 53)
    assert rooms_of(0).take(place) is not None


@needs_gpu
@pytest.mark.cuda
def test_a_room_that_waits_makes_way_for_a_call_that_finds_no_memory():
    many, few = (ball(batch)._replace(height=1024, width=1024) for batch in (4, 3))
    expected = right(few)
    rooms_of(0).drop()
    found(many)  # leaves a room of 34 MiB
    assert len(rooms_of(0)) == 1
    torch.cuda.empty_cache()
    # The next call needs 26 MiB for keys and 60 for its results; there are 60, and 34 more in the room that waits.
    allowed = torch.cuda.memory_reserved() + (60 << 20)
    torch.cuda.set_per_process_memory_fraction(allowed / torch.cuda.get_device_properties(0).total_memory)
    try:
        triangle = found(few)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert torch.equal(triangle, expected)
    assert len(rooms_of(0)) == 1
