"""One list of scenarios over the reference, the numba kernel and the CUDA kernel."""

import functools

import pytest
import torch

from deca_cli.errors import DeviceError
from deca_cli.render import dispatch
from deca_cli.render.interpolate import interpolate
from deca_cli.render.rasterize import rasterize, rasterize_and_interpolate
from render_scenarios import (
    BACKENDS,
    INF,
    RULES,
    SCENARIOS,
    TRIANGLE,
    Scenario,
    ball,
    faces,
    grid,
    needs_gpu,
    points,
)


def draw(backend: str, scenario: Scenario, rule: str = "standard", **options: float):
    device = "cuda" if backend == "cuda" else "cpu"
    fragments = rasterize(
        scenario.vertices.to(device), scenario.faces.to(device), scenario.height, scenario.width,
        backend=backend, rule=rule, **options,
    )  # fmt: skip
    return fragments.triangle.cpu(), fragments.barycentrics.cpu(), fragments.depth.cpu()


@functools.cache
def by_the_reference(name: str, rule: str):
    return draw("reference", SCENARIOS[name](), rule)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("name", SCENARIOS)
@pytest.mark.parametrize("backend", BACKENDS[1:])
def test_every_backend_equals_the_reference_bit_for_bit(backend: str, name: str, rule: str):
    scenario = SCENARIOS[name]()
    expected, found = by_the_reference(name, rule), draw(backend, scenario, rule)
    for right, ours in zip(expected, found, strict=True):
        assert right.dtype == ours.dtype
        assert torch.equal(right, ours)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_pixel_is_sampled_at_its_centre(backend: str):
    """The legs cross the centres of row and column 1: 4 pixels wide, centres at -3/4, -1/4, 1/4, 3/4."""
    corner = Scenario(points((-0.25, -0.25, 0), (-0.25, 0.75, 0), (0.75, -0.25, 0)), faces((0, 1, 2)), 4, 4)
    triangle, barycentrics, _ = draw(backend, corner)
    inside = torch.tensor([[-1, -1, -1, -1], [-1, 0, 0, -1], [-1, 0, -1, -1], [-1, -1, -1, -1]])
    assert torch.equal(triangle[0], inside.int())  # the long side is b0 = 0, outside; the legs are inside
    assert torch.equal(barycentrics[0, 1, 1], torch.tensor([1.0, 0.0, 0.0]))
    assert torch.equal(barycentrics[0, 1, 2], torch.tensor([0.5, 0.0, 0.5]))
    assert torch.equal(draw(backend, corner, "pytorch3d")[0], torch.full((1, 4, 4), -1).int())


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", ["exact ties", "duplicates"])
def test_equal_depths_go_to_the_lower_face(backend: str, name: str):
    scenario = SCENARIOS[name]()
    triangle, _, _ = draw(backend, scenario)
    alone = [draw(backend, scenario._replace(faces=face[None]))[0] >= 0 for face in scenario.faces]
    first = torch.stack(alone).int().argmax(0)
    assert torch.equal(triangle, torch.where(torch.stack(alone).any(0), first, -1).int())


@pytest.mark.parametrize("backend", BACKENDS)
def test_nearer_wins_whatever_the_order(backend: str):
    near, far = TRIANGLE - torch.tensor([0, 0, 0.2]), TRIANGLE
    both = Scenario(torch.cat([far, near], 1), faces((0, 1, 2), (3, 4, 5)))
    assert draw(backend, both)[0].unique().tolist() == [-1, 1]
    assert draw(backend, both._replace(faces=both.faces.flip(0)))[0].unique().tolist() == [-1, 0]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("name", "seen"), [("degenerate", 3), ("NaN", 5)])
def test_broken_triangles_are_skipped_and_the_sound_one_stays(backend: str, name: str, seen: int):
    triangle, _, _ = draw(backend, SCENARIOS[name]())
    alone, _, _ = draw(backend, SCENARIOS["single triangle"]())
    assert torch.equal(triangle >= 0, alone >= 0)
    assert triangle.unique().tolist() == [-1, seen]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", ["off screen", "behind", "no faces"])
def test_nothing_to_see_gives_the_background(backend: str, name: str):
    triangle, barycentrics, depth = draw(backend, SCENARIOS[name]())
    assert (triangle == -1).all()
    assert (barycentrics == 0).all()
    assert (depth == INF).all()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", ["shared edge", "fine grid"])
def test_no_pixel_is_lost_between_neighbours(backend: str, name: str):
    assert (draw(backend, SCENARIOS[name](), z_offset=5.0)[0] >= 0).float().mean() > 0.99
    whole = SCENARIOS["fine grid"]()
    assert (draw(backend, whole)[0] >= 0).all()


@pytest.mark.parametrize("backend", BACKENDS)
def test_depth_follows_the_rule(backend: str):
    scenario = SCENARIOS["single triangle"]()
    triangle, b, linear = draw(backend, scenario, "pytorch3d")
    z = scenario.vertices[0, :, 2]
    mask = triangle >= 0
    assert torch.allclose(linear[mask], (b * z)[mask].sum(-1), atol=1e-5)  # sum b misses 1 by 1e-8: times 10
    triangle, b, harmonic = draw(backend, scenario)
    assert torch.allclose(harmonic[mask], 1 / (b / (z + 10))[mask].sum(-1) - 10, atol=5e-6)
    assert (b[mask].sum(-1) - 1).abs().max() < 1e-6


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_pytorch3d_rule_drops_triangles_below_its_area(backend: str):
    tiny = Scenario(5e-5 * TRIANGLE, faces((0, 1, 2)), 1, 1)  # one pixel, centre at the origin, inside
    assert draw(backend, tiny)[0].item() == 0
    assert draw(backend, tiny, "pytorch3d")[0].item() == -1


@pytest.mark.parametrize("backend", BACKENDS)
def test_arguments_are_left_alone_and_repeats_are_equal(backend: str):
    scenario = SCENARIOS["batch of soups"]()
    vertices, triangles = scenario.vertices.clone(), scenario.faces.clone()
    first, second = draw(backend, scenario), draw(backend, scenario)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert torch.equal(scenario.vertices, vertices)
    assert torch.equal(scenario.faces, triangles)


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_item_of_a_batch_equals_the_item_alone(backend: str):
    scenario = SCENARIOS["batch of soups"]()
    together = draw(backend, scenario)
    for item in range(len(scenario.vertices)):
        alone = draw(backend, scenario._replace(vertices=scenario.vertices[item : item + 1]))
        assert all(torch.equal(a[item], b[0]) for a, b in zip(together, alone, strict=True))


def test_the_number_of_threads_does_not_change_the_result():
    scenario = ball(3)._replace(height=300, width=200)
    before = torch.get_num_threads()
    try:
        results = []
        for threads in (1, 2, 7):
            torch.set_num_threads(threads)
            results.append(draw("cpu", scenario))
    finally:
        torch.set_num_threads(before)
    for result in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], result, strict=True))


@pytest.mark.parametrize("change", [
    {"vertices": torch.zeros(3, 3)}, {"vertices": torch.zeros(1, 3, 3, dtype=torch.int32)},
    {"faces": torch.tensor([[0, 1, 3]])}, {"faces": torch.tensor([[0, 1, -1]])}, {"faces": torch.zeros(1, 3)},
    {"height": 0}, {"width": -1}, {"backend": "gpu"}, {"rule": "opengl"},
])  # fmt: skip
def test_what_the_contract_does_not_cover_is_refused(change: dict):
    arguments = {"vertices": TRIANGLE, "faces": faces((0, 1, 2)), "height": 4, "width": 4} | change
    with pytest.raises(ValueError, match=r"must be|refer to"):
        rasterize(**arguments)


@pytest.mark.parametrize("index", [1 + 2**32, -(2**32)])
def test_an_index_beyond_32_bits_is_refused_and_not_cut(index: int):
    wide = torch.tensor([[0, index, 2]])
    for backend in ("reference", "cpu"):
        with pytest.raises(ValueError, match=f"refer to vertices .*{index}.*, but there are 3"):
            rasterize(TRIANGLE, wide, 4, 4, backend=backend)
    seen = rasterize(TRIANGLE, faces((0, 1, 2)), 4, 4, backend="cpu")
    given = (TRIANGLE, wide, seen.triangle, seen.barycentrics, None)
    with pytest.raises(ValueError, match="refer to vertices"):
        dispatch.rasterize_backward(*given, "cpu", "standard", 10.0)


def test_the_cuda_kernel_refuses_vertices_of_another_device():
    with pytest.raises(DeviceError, match="not on a CUDA device"):
        rasterize(TRIANGLE, faces((0, 1, 2)), 4, 4, backend="cuda")


@pytest.mark.parametrize("backend", BACKENDS)
def test_attributes_on_another_device_are_refused(backend: str):
    device = "cuda" if backend == "cuda" else "cpu"
    vertices, corners = TRIANGLE.to(device), faces((0, 1, 2)).to(device)
    found, _ = rasterize_and_interpolate(vertices, corners, vertices[0], 4, 4, backend=backend)
    for elsewhere in {"cpu", "meta"} - {device}:
        values = torch.zeros(3, 2, device=elsewhere)
        with pytest.raises(ValueError, match=f"device of the fragments, {device}.*, got them on {elsewhere}"):
            interpolate(found, corners, values)
        for tracked in (False, True):
            with pytest.raises(
                ValueError, match=f"device of the vertices, {device}.*, got them on {elsewhere}"
            ):
                rasterize_and_interpolate(
                    vertices.clone().requires_grad_(tracked), corners, values, 4, 4, backend=backend
                )


@needs_gpu
@pytest.mark.cuda
def test_faces_of_another_device_are_copied():
    vertices, corners = TRIANGLE.cuda(), faces((0, 1, 2))
    found, picture = rasterize_and_interpolate(vertices, corners, vertices[0], 8, 8)
    right, expected = rasterize_and_interpolate(vertices, corners.cuda(), vertices[0], 8, 8)
    assert torch.equal(found.triangle, right.triangle)
    assert torch.equal(picture, expected)
    assert torch.equal(interpolate(found, corners, vertices[0]), expected)


@needs_gpu
@pytest.mark.cuda
def test_many_faces_in_few_pixels():
    scenario = Scenario(*grid(150), 70, 90)  # 45,000 faces
    for right, ours in zip(draw("cpu", scenario), draw("cuda", scenario), strict=True):
        assert torch.equal(right, ours)


@needs_gpu
@pytest.mark.cuda
def test_the_cuda_kernel_skips_faces_with_wrong_indices():
    scenario = Scenario(TRIANGLE.cuda(), torch.tensor([[0, 1, 3], [-1, 1, 2], [0, 1, 2]]).cuda())
    assert draw("cuda", scenario)[0].unique().tolist() == [-1, 2]


@needs_gpu
@pytest.mark.cuda
def test_the_cuda_kernel_runs_on_the_current_stream_and_in_a_graph():
    scenario = ball(2)
    vertices, triangles = scenario.vertices.cuda(), scenario.faces.cuda().int()
    expected = rasterize(vertices, triangles, 96, 80)
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        found = rasterize(vertices, triangles, 96, 80)
    torch.cuda.current_stream().wait_stream(side)
    assert torch.equal(found.triangle, expected.triangle)
    graph = torch.cuda.CUDAGraph()
    moving = vertices.clone()
    with torch.cuda.graph(graph):
        captured = rasterize(moving, triangles, 96, 80)
    moving.copy_(vertices.flip(0))
    graph.replay()
    assert torch.equal(captured.triangle, expected.triangle.flip(0))
