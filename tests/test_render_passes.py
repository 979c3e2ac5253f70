"""Normals, light, UV maps and passes on shapes whose results can be worked out by hand."""

import math

import pytest
import torch
from torch import Tensor

from deca_cli.render import lighting, normals, passes, uv
from deca_cli.render.rasterize import rasterize

CORNERS = torch.tensor([[-1.0, 1.0], [1.0, 1.0], [-1.0, -1.0], [1.0, -1.0]])  # x, y up: TL, TR, BL, BR
QUAD = torch.tensor([[0, 2, 1], [1, 2, 3]])  # counter-clockwise seen from +z
QUAD_UV = torch.tensor([[0.0, 1.0], [1.0, 1.0], [0.0, 0.0], [1.0, 0.0]])


def quad(depth: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)) -> Tensor:
    """A square facing the viewer, [1, 4, 3] in the head frame."""
    return torch.cat([CORNERS, torch.tensor(depth)[:, None]], 1)[None]


def to_ndc(vertices: Tensor) -> Tensor:
    return vertices * torch.tensor([1.0, -1.0, -1.0])


def look_at(vertices: Tensor, size: int = 8) -> passes.Surface:
    points = to_ndc(vertices)
    return passes.read_surface(
        rasterize(points, QUAD, size, size),
        QUAD,
        QUAD_UV,
        QUAD,
        vertices,
        normals.vertex_normals(vertices, QUAD),
        points,
    )


def test_normals_are_weighted_by_area():
    """A corner of a box: three right triangles of areas 1, 2 and 3 (halves) at the origin."""
    vertices = torch.tensor([[[0.0, 0, 0], [1, 0, 0], [0, 2, 0], [0, 0, 3]]])
    faces = torch.tensor([[0, 1, 2], [0, 2, 3], [0, 3, 1]])  # cross products (0,0,2), (6,0,0), (0,3,0)
    expected = torch.tensor([6.0, 3.0, 2.0]) / 7
    torch.testing.assert_close(normals.vertex_normals(vertices, faces)[0, 0], expected)
    torch.testing.assert_close(
        normals.vertex_normals(vertices, faces.int())[0, 1], torch.tensor([0, 3.0, 2.0]) / math.sqrt(13)
    )


def test_tiny_triangles_keep_short_normals():
    vertices = torch.tensor([[[0.0, 0, 0], [1e-4, 0, 0], [0, 1e-4, 0]]])
    found = normals.vertex_normals(vertices, torch.tensor([[0, 1, 2]]))
    torch.testing.assert_close(found[0, :, 2], torch.full((3,), 0.01))  # 1e-8 / 1e-6
    assert (normals.vertex_normals(torch.ones(1, 2, 3), torch.zeros((0, 3), dtype=torch.int64)) == 0).all()


@pytest.mark.parametrize(
    ("height", "width", "margins"), [(7, 9, (0, 0)), (16, 12, (2, 5)), (256, 256, (2, 5))]
)
def test_grid_normals_equal_vertex_normals_of_the_grid_faces(
    height: int, width: int, margins: tuple[int, int]
):
    points = torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(3))
    faces = normals.dense_grid_faces(height, width, *margins)
    assert len(faces) == 2 * (width - 1 - 2 * margins[0]) * (height - 1 - 2 * margins[1])
    slow = normals.vertex_normals(points.flatten(2).transpose(1, 2), faces)
    found = normals.grid_normals(points, *margins)
    torch.testing.assert_close(found, slow.transpose(1, 2).view_as(points), atol=1e-5, rtol=0)


def test_grid_faces_follow_the_official_order():
    faces = normals.dense_grid_faces(256, 256, 2, 5)
    assert len(faces) == 122_990
    first = 256 * 5 + 2
    assert faces[:2].tolist() == [[first, first + 256, first + 1], [first + 1, first + 256, first + 257]]
    assert faces[2, 0] == first + 256  # rows run fastest
    assert faces[-1].tolist() == [256 * 249 + 253, 256 * 250 + 252, 256 * 250 + 253]


def test_spherical_harmonics_have_the_official_factors():
    expected = [0.28209479, *[1.02332671] * 3, *[0.85808553] * 3, 0.42904277, 0.24770796]
    torch.testing.assert_close(torch.tensor(lighting.SH_FACTORS), torch.tensor(expected), atol=1e-7, rtol=0)
    light = torch.zeros(1, 9, 3)
    light[:, 0] = torch.tensor([1.0, 2.0, 0.0])
    shading = lighting.sh_shading(torch.randn(1, 3, 2, 2), light)
    torch.testing.assert_close(shading[0, :, 1, 1], torch.tensor([0.28209479, 0.56418958, 0.0]))
    normal = torch.tensor([0.6, -0.64, 0.48]).view(1, 3, 1, 1)
    x, y, z = 0.6, -0.64, 0.48
    values = torch.tensor([1, x, y, z, x * y, x * z, y * z, x * x - y * y, 3 * z * z - 1]) * torch.tensor(
        expected
    )
    torch.testing.assert_close(lighting.sh_basis(normal).flatten(), values)


def test_directional_light_is_a_clamped_cosine_averaged_over_lights():
    normal = torch.tensor([0.0, 0.0, 1.0]).view(1, 3, 1, 1)
    lights = torch.tensor([[[0.0, 0, 5, 1, 2, 3], [0, 3, 4, 1, 1, 1], [0, 0, -1, 9, 9, 9]]])
    shading = lighting.directional_shading(normal, lights).flatten()
    torch.testing.assert_close(shading, torch.tensor([1 + 0.8, 2 + 0.8, 3 + 0.8]) / 3)
    assert lighting.directional_shading(3 * normal, lights[:, :1])[0, 0] == 1  # long normals are clamped


def test_point_light_is_a_cosine_towards_the_light_without_a_clamp():
    positions = torch.tensor([1.0, 1.0, 1.0]).view(1, 3, 1, 1)
    normal = torch.tensor([0.0, 0.0, 1.0]).view(1, 3, 1, 1)
    lights = torch.tensor(
        [[[1.0, 4, 5, 1, 2, 3], [1, 1, 0, 1, 1, 1]]]
    )  # directions (0, .6, .8) and (0, 0, -1)
    shading = lighting.point_shading(positions, normal, lights).flatten()
    torch.testing.assert_close(shading, torch.tensor([0.8 - 1, 1.6 - 1, 2.4 - 1]) / 2)


def test_a_texture_is_seen_upright_and_pixel_by_pixel():
    """A square with one texel under every pixel shows its texture unchanged: row 0 of the map is v = 1."""
    texture = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(4))
    surface = look_at(quad())
    torch.testing.assert_close(passes.texture_pass(surface, texture, None), texture, atol=1e-6, rtol=0)
    light = torch.zeros(1, 9, 3)
    light[:, 3] = 1.0  # the z function: the normals are (0, 0, 1)
    lit = passes.texture_pass(surface, texture, light)
    torch.testing.assert_close(lit, 1.02332671 * texture, atol=1e-6, rtol=0)


def test_the_shape_pass_has_the_grey_of_its_five_lights():
    """Facing the viewer: four oblique lights at cosine 1/sqrt(3), one straight."""
    expected = 180 / 255 * 1.7 * (4 / math.sqrt(3) + 1) / 5
    picture = passes.shape_pass(look_at(quad()))
    torch.testing.assert_close(picture, torch.full_like(picture, expected))


def test_backs_show_the_background():
    away = quad().flip(1)  # TL <-> BR, TR <-> BL: clockwise from the viewer
    away = away[:, [1, 0, 3, 2]]
    surface = look_at(away)
    background = torch.full((1, 3, 8, 8), 0.3)
    assert (surface.alpha == 1).all()
    assert (surface.facing > 0.99).all()
    assert (passes.shape_pass(surface, None, background) == background).all()
    assert (passes.detail_normal_pass(surface, torch.ones(1, 3, 8, 8)) == 0).all()


def test_compositing_keeps_the_background_where_nothing_is_drawn():
    image, background = torch.full((1, 3, 1, 2), 0.25), torch.full((1, 3, 1, 2), 0.75)
    alpha = torch.tensor([[[[1.0, 0.0]]]])
    assert passes.over(image, alpha, background)[0, 0, 0].tolist() == [0.25, 0.75]
    assert passes.over(image, alpha, None)[0, 0, 0].tolist() == [0.25, 0.0]


def test_the_depth_picture_runs_from_far_zero_to_near_one():
    slope = to_ndc(quad((0.5, 0.5, -0.5, -0.5)))  # the upper edge is nearer
    found = rasterize(slope, QUAD, 4, 4)
    rows = passes.depth_pass(found, QUAD, slope)[0, 0, :, 0]
    torch.testing.assert_close(rows, torch.tensor([7.0, 5, 3, 1]) / 8)
    flat = rasterize(to_ndc(quad()), QUAD, 4, 4)
    assert passes.depth_pass(flat, QUAD, to_ndc(quad())).isfinite().all()


def test_the_uv_chart_of_a_square_is_a_regular_grid():
    chart = uv.make_chart(QUAD_UV, QUAD, QUAD, 5)
    assert chart.texels.tolist() == list(range(25))
    assert len(chart.faces) == 2 * 16
    assert chart.faces[:2].tolist() == [[0, 5, 1], [1, 5, 6]]
    positions = uv.world2uv(chart, quad())
    centres = (2 * torch.arange(5) + 1) / 5 - 1
    torch.testing.assert_close(positions[0, 0], centres.expand(5, 5), atol=1e-6, rtol=0)
    torch.testing.assert_close(positions[0, 1], -centres[:, None].expand(5, 5), atol=1e-6, rtol=0)


def test_uv_maps_of_a_batch_keep_their_items_apart_and_carry_gradients():
    chart = uv.make_chart(QUAD_UV / 2, QUAD, QUAD, 6)  # the lower left quarter of the map
    assert chart.texels.tolist() == [18, 19, 20, 24, 25, 26, 30, 31, 32]
    values = torch.rand(
        3, 4, 2, generator=torch.Generator().manual_seed(5), dtype=torch.float64
    ).requires_grad_()
    maps = uv.world2uv(chart, values)
    assert maps.shape == (3, 2, 6, 6)
    assert (maps[..., :3, :] == 0).all()
    assert (maps[..., 3:] == 0).all()
    for item in range(3):
        alone = uv.world2uv(chart, values[item : item + 1])
        torch.testing.assert_close(maps[item], alone[0], rtol=0, atol=1e-12)
    assert torch.autograd.gradcheck(lambda v: uv.world2uv(chart, v), values)


def test_displacement_moves_detail_vertices_along_unit_normals_and_tilts_the_normals():
    chart = uv.make_chart(QUAD_UV, QUAD, QUAD, 16)
    vertices = quad()
    coarse = normals.vertex_normals(vertices, QUAD)
    ramp = torch.linspace(0, 0.15, 16).expand(1, 1, 16, 16)  # metres, rises to the right
    moved = uv.detail_vertices(chart, vertices, 0.5 * coarse, ramp)  # short normals count as directions
    torch.testing.assert_close(moved[0, :, 2], uv.at_texels(chart, ramp)[0, :, 0])
    positions, around = uv.world2uv(chart, vertices), uv.world2uv(chart, coarse)
    mask = torch.ones(16, 16)
    mask[:, 12:] = 0
    found = uv.displaced_normals(positions, around, ramp, torch.zeros(16, 16), mask)
    slope = 0.01 / (2 / 16)
    expected = torch.tensor([-slope, 0.0, 1.0]) / math.sqrt(1 + slope**2)
    torch.testing.assert_close(found[0, :, 8, 8], expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(found[0, :, 8, 13], torch.tensor([0.0, 0.0, 1.0]))  # outside the mask: coarse


def test_the_photo_is_pulled_into_the_uv_map():
    chart = uv.make_chart(QUAD_UV, QUAD, QUAD, 8)
    photo = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(6))
    torch.testing.assert_close(uv.photo_to_uv(chart, photo, to_ndc(quad())), photo, atol=1e-6, rtol=0)


def test_normals_bent_by_nothing_stay_smooth_where_the_texel_grid_has_an_edge():
    size = 64
    rows, columns = torch.meshgrid(torch.arange(size) / size, torch.arange(size) / size, indexing="ij")
    folded = torch.where(columns < 0.5, 0.0, 0.5 * (columns - 0.5))  # two flat triangles of a coarse mesh
    positions = 0.1 * torch.stack([columns, -rows, -folded])[None]
    smooth = torch.nn.functional.normalize(torch.stack([0.4 * columns, 0 * rows, 1 + 0 * rows])[None], dim=1)
    nothing, whole = torch.zeros(1, 1, size, size), torch.ones(size, size)
    bent = uv.bent_normals(positions, smooth, nothing, nothing[0, 0], whole)
    torch.testing.assert_close(bent, smooth, atol=1e-6, rtol=0)
    faceted = uv.displaced_normals(positions, smooth, nothing, nothing[0, 0], whole)
    assert (faceted - smooth).norm(dim=1)[:, 8:56, 8:56].max() > 0.05


def test_on_a_flat_surface_bent_and_displaced_normals_are_the_same():
    size = 64
    rows, columns = torch.meshgrid(torch.arange(size) / size, torch.arange(size) / size, indexing="ij")
    positions = 0.1 * torch.stack([columns, -rows, 0 * rows])[None]
    upwards = torch.tensor([0.0, 0.0, 1.0])[:, None, None].expand(1, 3, size, size)
    bump = 0.004 * torch.exp(-((rows - 0.5) ** 2 + (columns - 0.5) ** 2) / 0.01)[None, None]
    given = (positions, upwards, bump, torch.zeros(size, size), torch.ones(size, size))
    bent, exact = uv.bent_normals(*given), uv.displaced_normals(*given)
    inside = (slice(None), slice(None), slice(8, 56), slice(8, 56))
    torch.testing.assert_close(bent[inside], exact[inside], atol=1e-5, rtol=0)
    assert (exact[inside] - upwards[inside]).norm(dim=1).max() > 0.3


def test_bent_normals_reach_a_little_beyond_the_chart():
    size = 32
    rows, columns = torch.meshgrid(torch.arange(size) / size, torch.arange(size) / size, indexing="ij")
    inside = columns < 0.5
    positions = 0.1 * torch.stack([columns, -rows, 0 * rows])[None] * inside
    upwards = torch.tensor([0.0, 0.0, 1.0])[:, None, None] * inside
    nothing = torch.zeros(1, 1, size, size)
    bent = uv.bent_normals(positions, upwards[None], nothing, nothing[0, 0], torch.zeros(size, size))
    assert bent[0, 2, :, : size // 2 + uv.BORDER].min() > 0.999
    assert bent[0, :, :, size // 2 + uv.BORDER :].abs().max() == 0
