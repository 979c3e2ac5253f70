"""Gradients through barycentrics and depth, and the mixing of corner values."""

import pytest
import torch
from torch import Tensor

from deca_cli.render import dispatch, plain
from deca_cli.render.barycentrics import surface_at_pixels
from deca_cli.render.interpolate import interpolate
from deca_cli.render.rasterize import rasterize, rasterize_and_interpolate
from render_scenarios import BACKENDS as ALL_BACKENDS
from render_scenarios import RULES, SCENARIOS, needs_gpu

BACKENDS = ALL_BACKENDS[1:]  # the others are compared with the reference
FACES = torch.tensor([[0, 1, 2], [2, 1, 3], [4, 5, 6]])


def mesh(dtype: torch.dtype = torch.float64) -> Tensor:
    """Two triangles that share an edge, and one in front of them; no vertex near a pixel centre."""
    corners = [[-0.91, -0.83, 0.2], [0.87, -0.71, 0.3], [-0.77, 0.89, 0.1], [0.93, 0.79, -0.2],
               [-0.31, -0.27, -0.5], [0.43, -0.11, -0.6], [0.07, 0.57, -0.4]]  # fmt: skip
    first = torch.tensor([corners], dtype=dtype)
    return torch.cat([first, first * torch.tensor([-0.9, 0.8, 1.1], dtype=dtype)])


@pytest.mark.parametrize("rule", ["standard", "pytorch3d"])
def test_gradcheck_of_the_reference(rule: str):
    def surface(vertices: Tensor) -> tuple[Tensor, Tensor]:
        found = rasterize(vertices, FACES, 5, 6, backend="reference", rule=rule)
        return found.barycentrics, found.depth[found.covered]

    assert torch.autograd.gradcheck(surface, mesh().requires_grad_(), eps=1e-7, atol=1e-6)


def test_gradcheck_of_interpolation():
    attributes = torch.rand(2, 7, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))

    def picture(vertices: Tensor, values: Tensor) -> Tensor:
        return interpolate(rasterize(vertices, FACES, 5, 6, backend="reference"), FACES, values)

    inputs = (mesh().requires_grad_(), attributes.requires_grad_())
    assert torch.autograd.gradcheck(picture, inputs, eps=1e-7, atol=1e-6)


def gradients(backend: str, rule: str, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    device = "cuda" if backend == "cuda" else "cpu"
    generator = torch.Generator().manual_seed(2)
    attributes = torch.rand(2, 7, 4, generator=generator, dtype=dtype)
    cotangent = torch.randn(2, 4, 24, 30, generator=generator, dtype=dtype).to(device)
    vertices = mesh(dtype).to(device).requires_grad_()
    attributes = attributes.to(device).requires_grad_()
    faces = FACES.to(device)
    found = rasterize(vertices, faces, 24, 30, backend=backend, rule=rule)
    picture = interpolate(found, faces, attributes)
    total = (picture * cotangent).sum() + (found.depth[found.covered] ** 2).sum()
    to_vertices, to_attributes = torch.autograd.grad(total, (vertices, attributes))
    return to_vertices.cpu(), to_attributes.cpu()


@pytest.mark.parametrize("rule", ["standard", "pytorch3d"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("backend", BACKENDS)
def test_gradients_of_every_backend_equal_the_reference(backend: str, dtype: torch.dtype, rule: str):
    for ours, right in zip(gradients(backend, rule, dtype), gradients("reference", rule, dtype), strict=True):
        assert right.abs().max() > 0.1
        torch.testing.assert_close(ours, right, rtol=1e-5, atol=1e-5 * float(right.abs().max()))


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("name", SCENARIOS)
@pytest.mark.parametrize("backend", BACKENDS)
def test_gradients_equal_the_reference_in_every_scenario(backend: str, name: str, rule: str):
    scenario = SCENARIOS[name]()
    generator = torch.Generator().manual_seed(3)
    given = torch.randn(len(scenario.vertices), 2, scenario.height, scenario.width, generator=generator)
    attributes = torch.rand(scenario.vertices.shape[1], 2, generator=generator)

    def to_both(drawn_by: str) -> tuple[Tensor, ...]:
        device = "cuda" if drawn_by == "cuda" else "cpu"
        vertices = scenario.vertices.to(device).clone().requires_grad_()
        values = attributes.to(device).requires_grad_()
        found, picture = rasterize_and_interpolate(
            vertices,
            scenario.faces.to(device),
            values,
            scenario.height,
            scenario.width,
            backend=drawn_by,
            rule=rule,
        )
        total = (picture * given.to(device)).sum() + found.depth[found.covered].square().sum()
        return tuple(
            grad.cpu() for grad in torch.autograd.grad(total, (vertices, values), materialize_grads=True)
        )

    for ours, right in zip(to_both(backend), to_both("reference"), strict=True):
        # Slivers and enormous triangles have gradients beyond float32's range on both sides.
        limit = float(right[right.isfinite()].abs().max())
        torch.testing.assert_close(ours, right, rtol=1e-4, atol=1e-4 * limit, equal_nan=True)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize(("weights", "depths"), [(True, True), (True, False), (False, True)])
def test_the_gradient_in_plain_torch_is_that_of_autograd(weights: bool, depths: bool, rule: str):
    vertices = mesh().requires_grad_()
    found = rasterize(vertices, FACES, 20, 30, backend="reference", rule=rule)
    surface = surface_at_pixels(vertices, FACES, found.triangle, rule, 10.0)
    given = [
        torch.randn_like(tensor) if used else None
        for tensor, used in zip(surface, (weights, depths), strict=True)
    ]
    chosen = [(tensor[found.covered], cotangent[found.covered])
              for tensor, cotangent in zip(surface, given, strict=True) if cotangent is not None]  # fmt: skip
    outputs, cotangents = zip(*chosen, strict=True)
    (right,) = torch.autograd.grad(outputs, vertices, cotangents)
    ours = plain.rasterize_backward(vertices, FACES, found.triangle, *given, rule, 10.0)
    torch.testing.assert_close(ours, right)


def test_second_derivatives_are_refused_rather_than_wrong():
    vertices = mesh().requires_grad_()
    found = rasterize(vertices, FACES, 8, 8, backend="cpu")
    (first,) = torch.autograd.grad(found.depth[found.covered].square().sum(), vertices, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        first.sum().backward()


@pytest.mark.parametrize("backend", ALL_BACKENDS)
def test_both_at_once_equal_one_after_the_other(backend: str):
    device = "cuda" if backend == "cuda" else "cpu"
    vertices, faces = mesh(torch.float32).to(device), FACES.to(device)
    values, corners = torch.randn(9, 5, device=device), torch.arange(9, device=device).view(3, 3)
    first = rasterize(vertices, faces, 33, 41, backend=backend)
    both, picture = rasterize_and_interpolate(
        vertices, faces, values, 33, 41, attribute_faces=corners, backend=backend
    )
    for one, other in (
        (first.triangle, both.triangle),
        (first.barycentrics, both.barycentrics),
        (first.depth, both.depth),
    ):
        assert torch.equal(one, other)
    assert torch.equal(picture, interpolate(first, corners, values))
    with pytest.raises(ValueError, match="as many as faces"):
        rasterize_and_interpolate(vertices, faces, values, 4, 4, attribute_faces=corners[:2], backend=backend)


@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize("backend", ALL_BACKENDS)
def test_gradients_that_nobody_wants_are_left_out_and_the_others_are_the_same(
    backend: str, together: bool, monkeypatch: pytest.MonkeyPatch
):
    device = "cuda" if backend == "cuda" else "cpu"
    module = dispatch.cuda_kernels() if backend == "cuda" else plain
    whole, computed = module.interpolate_backward, []

    def watched(*arguments: object) -> tuple[Tensor | None, Tensor | None]:
        found = whole(*arguments)
        computed.append(tuple(gradient is not None for gradient in found))
        return found

    monkeypatch.setattr(module, "interpolate_backward", watched)
    vertices, faces = mesh(torch.float32).to(device), FACES.to(device)
    values = torch.rand(2, 7, 3, generator=torch.Generator().manual_seed(4)).to(device)

    def gradients_of(*chosen: str) -> list[Tensor]:
        points = vertices.clone().requires_grad_("vertices" in chosen)
        colours = values.clone().requires_grad_("values" in chosen)
        if together:
            _, picture = rasterize_and_interpolate(points, faces, colours, 40, 30, backend=backend)
        else:
            picture = interpolate(rasterize(points, faces, 40, 30, backend=backend), faces, colours)
        picture.square().sum().backward()
        return [leaf.grad for leaf in (points, colours) if leaf.grad is not None]

    both = gradients_of("vertices", "values")
    alone = gradients_of("vertices") + gradients_of("values")
    assert computed == [(True, True), (False, True), (True, False)]
    for ours, right in zip(alone, both, strict=True):
        assert right.abs().max() > 0.1
        close = 1e-5 * float(right.abs().max()) if backend == "cuda" else 0.0  # its sums are in any order
        torch.testing.assert_close(ours, right, rtol=0, atol=close)


@pytest.mark.cuda
@needs_gpu
def test_gradients_repeat_where_torch_is_told_to_be_deterministic():
    vertices = mesh(torch.float32).cuda().requires_grad_()
    values = torch.randn(7, 3, device="cuda", requires_grad=True)

    def once() -> tuple[Tensor, ...]:
        found, picture = rasterize_and_interpolate(vertices, FACES.cuda(), values, 300, 200)
        return torch.autograd.grad(
            picture.square().sum() + found.depth[found.covered].sum(), (vertices, values)
        )

    right = once()
    torch.use_deterministic_algorithms(True)
    try:
        first, second = once(), once()
    finally:
        torch.use_deterministic_algorithms(False)
    for a, b, c in zip(first, second, right, strict=True):
        assert torch.equal(a, b)
        torch.testing.assert_close(a, c, rtol=1e-4, atol=1e-4 * float(c.abs().max()))


@pytest.mark.parametrize("backend", BACKENDS)
def test_values_are_the_same_with_and_without_gradients(backend: str):
    device = "cuda" if backend == "cuda" else "cpu"
    vertices, faces = mesh(torch.float32).to(device), FACES.to(device)
    plain = rasterize(vertices, faces, 40, 50, backend=backend)
    tracked = rasterize(vertices.clone().requires_grad_(), faces, 40, 50, backend=backend)
    assert not plain.barycentrics.requires_grad
    assert tracked.barycentrics.requires_grad
    assert torch.equal(plain.triangle, tracked.triangle)
    torch.testing.assert_close(tracked.barycentrics.detach(), plain.barycentrics, rtol=0, atol=0)
    torch.testing.assert_close(tracked.depth.detach(), plain.depth, rtol=0, atol=0)


def test_broken_and_unseen_vertices_get_no_gradient_and_spoil_none():
    broken = torch.tensor([[float("nan")] * 3, [5.0, 5.0, 5.0]], dtype=torch.float64)
    vertices = torch.cat([broken.expand(2, 2, 3), mesh()], 1).requires_grad_()
    faces = torch.cat([torch.tensor([[0, 2, 3], [1, 1, 1]]), FACES + 2])
    found = rasterize(vertices, faces, 12, 12, backend="cpu")
    found.barycentrics.square().sum().backward()
    assert vertices.grad is not None
    assert vertices.grad.isfinite().all()
    assert (vertices.grad[:, :2] == 0).all()
    assert (vertices.grad[:, 2:] != 0).any()


def test_corner_values_come_from_the_given_faces():
    """Texture faces name other rows than mesh faces; shared and per-item attributes may be mixed."""
    found = rasterize(mesh(torch.float32), FACES, 32, 32)
    per_corner = torch.eye(9)
    picture = interpolate(found, torch.arange(9).view(3, 3), per_corner)
    rows = (3 * found.triangle[:, None].clamp(min=0) + torch.arange(3)[:, None, None]).long()
    assert torch.equal(picture.gather(1, rows).movedim(1, -1), found.barycentrics)
    assert torch.equal((picture != 0).sum(1), (found.barycentrics != 0).sum(-1))
    two = torch.stack([per_corner, 2 * per_corner])
    both = interpolate(found, torch.arange(9).view(3, 3), two)
    assert torch.equal(both, picture * torch.tensor([1.0, 2.0]).view(2, 1, 1, 1))


def test_a_linear_function_is_reproduced_and_the_background_is_zero():
    vertices = mesh(torch.float32)
    found = rasterize(vertices, FACES, 60, 45)
    picture = interpolate(found, FACES, vertices)
    x = (2 * torch.arange(45) + 1) / 45 - 1
    y = (2 * torch.arange(60) + 1) / 60 - 1
    seen = found.covered
    assert (picture[:, 0] - x)[seen].abs().max() < 1e-6
    assert (picture[:, 1] - y[:, None])[seen].abs().max() < 1e-6
    assert (picture.movedim(1, -1)[~seen] == 0).all()
    spoiled = torch.where(torch.arange(7)[:, None] < 3, torch.inf, vertices[0])  # all of triangle 0
    assert (interpolate(found, FACES, spoiled).movedim(1, -1)[~seen] == 0).all()


@pytest.mark.parametrize("shape", [(7, 0), (2, 7, 0)])
@pytest.mark.parametrize("backend", ALL_BACKENDS)
def test_attributes_without_channels_give_a_picture_without_channels(backend: str, shape: tuple[int, ...]):
    device = "cuda" if backend == "cuda" else "cpu"
    vertices, faces = mesh(torch.float32).to(device).requires_grad_(), FACES.to(device)
    values = torch.zeros(shape, device=device, requires_grad=True)
    found, picture = rasterize_and_interpolate(vertices, faces, values, 6, 5, backend=backend)
    assert picture.shape == interpolate(found, faces, values).shape == (2, 0, 6, 5)
    to_vertices, _ = torch.autograd.grad(picture.sum(), (vertices, values))
    assert torch.equal(to_vertices, torch.zeros_like(vertices))


@pytest.mark.parametrize("backend", ALL_BACKENDS)
def test_too_few_rows_of_attributes_are_refused_or_on_a_gpu_left_out(backend: str):
    device = "cuda" if backend == "cuda" else "cpu"
    vertices, faces = mesh(torch.float32).to(device), FACES.to(device)
    values = torch.rand(2, 7, 3, device=device) + 1
    found, right = rasterize_and_interpolate(vertices, faces, values, 20, 20, backend=backend)
    assert set(found.triangle.unique().tolist()) == {-1, 0, 1, 2}
    short = values[:, :6]  # the last triangle has no third corner

    def both() -> tuple[Tensor, Tensor]:
        _, picture = rasterize_and_interpolate(vertices, faces, short, 20, 20, backend=backend)
        return picture, interpolate(found, faces, short)

    if backend == "cuda":
        expected = torch.where((found.triangle == 2)[:, None], 0.0, right)
        assert all(torch.equal(picture, expected) for picture in both())
        return
    with pytest.raises(ValueError, match=r"refer to rows of the attributes 0 ... 6, but there are 6"):
        both()
    with pytest.raises(ValueError, match="rows of the attributes"):
        interpolate(found, faces, short)


def test_interpolation_without_faces_or_with_wrong_shapes():
    found = rasterize(mesh(torch.float32), FACES[:0], 4, 4)
    assert torch.equal(interpolate(found, FACES[:0], torch.ones(7, 2)), torch.zeros(2, 2, 4, 4))
    with pytest.raises(ValueError, match="attributes must be"):
        interpolate(found, FACES, torch.ones(3, 7, 2))
