"""The renderer against the numbers of the official release (tolerances: the README beside them)."""

import hashlib
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from deca_cli.heads.camera import ndc_to_photo
from deca_cli.render import passes, uv
from deca_cli.render.fragments import Fragments
from deca_cli.render.interpolate import interpolate
from deca_cli.render.lighting import sh_shading
from deca_cli.render.normals import vertex_normals
from deca_cli.render.rasterize import rasterize

SOUPS = ("soup_square", "soup_wide", "soup_tall", "soup_big", "grid_ties")
OFFICIAL_SHIFT = 30.0  # the release adds 10 to z in place in each of its three passes


class Template(NamedTuple):
    faces: Tensor
    uv_faces: Tensor
    uv_coordinates: Tensor


@pytest.fixture(scope="module")
def template(parity_dir: Path) -> Template:
    faces, uv_faces, coordinates = [], [], []
    for line in (parity_dir / "release-data/head_template.obj").read_text().splitlines():
        if line.startswith("vt "):
            coordinates.append([float(word) for word in line.split()[1:3]])
        elif line.startswith("f "):
            corners = [word.split("/") for word in line.split()[1:]]
            faces.append([int(corner[0]) - 1 for corner in corners])
            uv_faces.append([int(corner[1]) - 1 for corner in corners])
    return Template(torch.tensor(faces), torch.tensor(uv_faces), torch.tensor(coordinates))


def load(folder: Path, name: str) -> dict[str, np.ndarray]:
    with np.load(folder / f"{name}.npz") as data:
        return {key: data[key] for key in data.files}


@pytest.fixture(scope="module")
def official(parity_dir: Path) -> dict[str, np.ndarray]:
    return load(parity_dir, "rasteriser")


@pytest.fixture(scope="module")
def decoded(parity_dir: Path) -> dict[str, Tensor]:
    data = load(parity_dir, "decode_tex_full")
    return {key: torch.tensor(value) for key, value in data.items()}


@pytest.fixture(scope="module")
def chart(template: Template) -> uv.UvChart:
    return uv.make_chart(template.uv_coordinates, template.uv_faces, template.faces, 256)


def projected(data: dict[str, Tensor]) -> Tensor:
    return data["op_trans_verts"] - torch.tensor([0.0, 0.0, OFFICIAL_SHIFT])


def surface_of(template: Template, found: Fragments, vertices: Tensor, points: Tensor) -> passes.Surface:
    normals = vertex_normals(vertices, template.faces)
    return passes.read_surface(
        found, template.faces, template.uv_coordinates, template.uv_faces, vertices, normals, points
    )


@pytest.fixture(scope="module")
def fragments(template: Template, decoded: dict[str, Tensor]) -> Fragments:
    return rasterize(projected(decoded), template.faces, 224, 224)


@pytest.fixture(scope="module")
def surface(template: Template, decoded: dict[str, Tensor], fragments: Fragments) -> passes.Surface:
    return surface_of(template, fragments, decoded["op_verts"], projected(decoded))


def assert_close(found: Tensor, expected: Tensor, where: Tensor, most: float = 1e-5, worst: float = 5e-4):
    """99.9 % of the values within ``most``, all within ``worst``; ``where`` is [B, H, W]."""
    assert found.shape == expected.shape
    errors = (found - expected).abs().movedim(1, -1)[where].flatten()
    assert errors.max() < worst
    assert errors.kthvalue(max(1, int(0.999 * len(errors)))).values < most


def official_soup(official: dict[str, np.ndarray], name: str) -> tuple[Tensor, Tensor, int, int]:
    height, width = official[f"{name}_hw"].tolist()
    faces = torch.tensor(official[f"{name}_faces"])
    return torch.tensor(official[f"{name}_vertices"])[None], faces, height, width


@pytest.mark.parametrize("backend", ["reference", "cpu"])
@pytest.mark.parametrize("name", SOUPS)
def test_soups_show_the_official_triangles(official: dict[str, np.ndarray], name: str, backend: str):
    """Their z is already the offset one. One pixel of soup_big decides otherwise in float64."""
    vertices, faces, height, width = official_soup(official, name)
    found = rasterize(vertices, faces, height, width, backend=backend, z_offset=0.0)
    clear = official[f"{name}_fragile"] == 0
    triangle = found.triangle[0].numpy()
    different = (triangle != official[f"{name}_tri"]) & clear
    assert different.sum() <= (1 if name == "soup_big" else 0)
    same = clear & (triangle >= 0) & ~different
    depth = found.depth[0].numpy()[same] * width / 2
    np.testing.assert_allclose(depth, official[f"{name}_depth"][same], rtol=1e-3)
    errors = np.abs(found.barycentrics[0].numpy() - official[f"{name}_bary"])[same]
    assert np.quantile(errors, 0.999) < 2e-4
    assert errors.max() < 5e-3  # the release solves in float32


@pytest.mark.parametrize("name", ["head224", "head512"])
def test_the_head_shows_the_official_triangles(
    official: dict[str, np.ndarray], template: Template, name: str
):
    size = int(official[f"{name}_hw"][0])
    depth_step, barycentric_step = official[f"{name}_strides"].tolist()
    vertices = torch.tensor(official["head_vertices"])[None]
    found = rasterize(vertices, template.faces, size, size, backend="cpu", z_offset=0.0)
    clear = official[f"{name}_fragile"] == 0
    triangle = found.triangle[0].numpy()
    assert np.array_equal(triangle[clear], official[f"{name}_tri"][clear])
    seen = clear & (triangle >= 0)
    depth = found.depth[0].numpy()[::depth_step, ::depth_step] * size / 2
    expected = official[f"{name}_depth"]
    np.testing.assert_allclose(*(a[seen[::depth_step, ::depth_step]] for a in (depth, expected)), rtol=1e-5)
    weights = found.barycentrics[0].numpy()[::barycentric_step, ::barycentric_step]
    errors = np.abs(weights - official[f"{name}_bary"])[seen[::barycentric_step, ::barycentric_step]]
    assert errors.max() < 5e-4


@pytest.mark.parametrize("backend", ["reference", "cpu"])
@pytest.mark.parametrize("name", ["soup_square", "soup_wide", "soup_tall"])
def test_the_pytorch3d_rule_equals_pytorch3d(
    parity_dir: Path, official: dict[str, np.ndarray], name: str, backend: str
):
    theirs = load(parity_dir, "decode_pytorch3d")
    vertices, faces, height, width = official_soup(official, name)
    found = rasterize(vertices, faces, height, width, backend=backend, rule="pytorch3d", z_offset=0.0)
    assert np.array_equal(found.triangle[0].numpy(), theirs[f"{name}_tri"])
    seen = theirs[f"{name}_tri"] >= 0
    np.testing.assert_allclose(found.barycentrics[0].numpy()[seen], theirs[f"{name}_bary"][seen], atol=5e-5)
    np.testing.assert_allclose(found.depth[0].numpy()[seen], theirs[f"{name}_zbuf"][seen], rtol=5e-5)


def test_corner_values_of_a_batch_are_mixed_as_official(official: dict[str, np.ndarray]):
    """The release gives every item the attributes of item 0, so they are passed as shared ones here."""
    vertices = torch.tensor(official["batch2_vertices"])
    attributes = torch.tensor(official["batch2_attributes"][0]).reshape(-1, 2)
    faces = torch.arange(len(attributes)).view(-1, 3)
    found = rasterize(vertices, faces, 96, 96, backend="cpu", z_offset=0.0)
    mixed = interpolate(found, faces, attributes)
    ours = torch.cat([mixed, found.covered[:, None].float()], 1)
    errors = (ours - torch.tensor(official["batch2_official_output"])).abs().amax(1).flatten()
    assert (errors < 1e-4).float().mean() > 0.99  # the rest lies on edges and ties (no map is given)
    assert torch.equal(ours[:, 2], torch.tensor(official["batch2_official_output"][:, 2]))


def test_the_uv_map_is_covered_as_official(official: dict[str, np.ndarray], template: Template):
    found = uv.rasterize_uv(template.uv_coordinates, template.uv_faces, 256)
    triangle = found.triangle[0].numpy()
    assert (triangle >= 0).sum() == 58_515
    assert np.flatnonzero((triangle >= 0).any(1))[[0, -1]].tolist() == [2, 252]
    assert np.flatnonzero((triangle >= 0).any(0))[[0, -1]].tolist() == [2, 253]
    clear = (official["uv_fragile"] == 0) & (triangle >= 0)
    assert np.array_equal(triangle[clear], official["uv_tri"][clear])
    errors = np.abs(found.barycentrics[0].numpy()[1::2, 1::2] - official["uv_bary_s2"])[clear[1::2, 1::2]]
    assert errors.max() < 1e-4


def test_the_texture_pass_and_its_inputs_equal_the_official_ones(
    decoded: dict[str, Tensor], surface: passes.Surface
):
    clear = decoded["fragile"] == 0
    assert torch.equal(surface.alpha.byte(), decoded["op_alpha_images"])
    assert_close(surface.grid.movedim(-1, 1), decoded["op_grid"].movedim(-1, 1), clear)
    assert_close(surface.normals, decoded["op_normal_images"], clear)
    unlit = passes.texture_pass(surface, decoded["op_albedo"], light=None)
    assert_close(unlit, decoded["op_rendered_images"], clear)


def test_the_shape_passes_equal_the_official_ones(decoded: dict[str, Tensor], surface: passes.Surface):
    clear = decoded["fragile"] == 0
    assert_close(passes.shape_pass(surface), decoded["vis_shape_images"], clear)
    detail = passes.detail_normal_pass(surface, decoded["op_uv_detail_normals"])
    assert_close(passes.shape_pass(surface, detail), decoded["vis_shape_detail_images"], clear, most=5e-5)


def test_the_depth_picture_equals_the_official_one(
    decoded: dict[str, Tensor], template: Template, fragments: Fragments
):
    depth = passes.depth_pass(fragments, template.faces, projected(decoded))
    assert_close(depth, decoded["depth_image"], decoded["fragile"] == 0)


def test_normals_equal_the_official_ones(decoded: dict[str, Tensor], template: Template):
    normals = vertex_normals(decoded["op_verts"], template.faces)
    torch.testing.assert_close(normals, decoded["op_normals"], atol=1e-6, rtol=1e-5)


def test_displaced_normals_and_their_shading_equal_the_official_ones(
    parity_dir: Path, decoded: dict[str, Tensor], template: Template, chart: uv.UvChart
):
    data = parity_dir / "release-data"
    fixed = torch.tensor(np.load(data / "fixed_displacement_256.npy")).float()
    mask = torch.tensor(cv2.imread(str(data / "uv_face_eye_mask.png"))[..., 0] / 255).float()
    positions = uv.world2uv(chart, decoded["op_verts"])
    normals = uv.world2uv(chart, vertex_normals(decoded["op_verts"], template.faces))
    decoder_output = decoded["op_displacement_map"] - fixed
    found = uv.displaced_normals(positions, normals, decoder_output, fixed, mask)
    everywhere = torch.ones(1, 256, 256, dtype=torch.bool)
    assert_close(found, decoded["op_uv_detail_normals"], everywhere, most=5e-5)
    codes = load(parity_dir, "codes")
    photo = decoded["photo_index"].numpy()
    light, image = torch.tensor(codes["light"][photo]), torch.tensor(codes["images_u8"][photo]) / 255
    assert_close(decoded["op_albedo"] * sh_shading(found, light), decoded["op_uv_texture"], everywhere)
    seen = uv.photo_to_uv(chart, image, projected(decoded))
    filled = seen * mask + decoded["op_uv_texture"] * (1 - mask)
    assert_close(filled, decoded["op_uv_texture_gt"], everywhere)


def test_world2uv_samples_the_mesh_as_official(
    official: dict[str, np.ndarray], decoded: dict[str, Tensor], chart: uv.UvChart
):
    """No stored map belongs to stored vertices, so the chart itself is compared: its points carry the map."""
    weights = torch.zeros(256 * 256, 3).index_copy(0, chart.texels, chart.weights).view(256, 256, 3)
    clear = torch.tensor((official["uv_fragile"] == 0) & (official["uv_tri"] >= 0))[1::2, 1::2]
    errors = (weights[1::2, 1::2] - torch.tensor(official["uv_bary_s2"])).abs()[clear]
    assert errors.max() < 1e-4
    whole = uv.world2uv(chart, decoded["op_verts"])[0].flatten(1)[:, chart.texels]
    by_hand = (decoded["op_verts"][0][chart.vertex_ids] * chart.weights[..., None]).sum(1)
    torch.testing.assert_close(whole.T, by_hand, atol=1e-6, rtol=0)


def test_the_detail_mesh_equals_the_exported_one(parity_dir: Path, template: Template, chart: uv.UvChart):
    exported = load(parity_dir, "mesh_export")
    faces = (chart.faces + 1).int().numpy()
    assert len(faces) == exported["dense_faces_count"][0]
    assert hashlib.sha256(faces.tobytes()).hexdigest() == str(exported["dense_faces_int32_sha256"])
    vertices = torch.tensor(exported["coarse_verts"])[None]
    normals = vertex_normals(vertices, template.faces)
    # The displacement of this photo is not stored: read it off along the normal, then nothing may be left over.
    flat = torch.zeros(1, 1, 256, 256)
    base = uv.detail_vertices(chart, vertices, normals, flat)
    along = uv.detail_vertices(chart, vertices, normals, flat + 1) - base
    moved = torch.tensor(exported["dense_verts"])[None] - base
    distance = (moved * along).sum(-1)
    displacement = torch.zeros(1, 1, 256 * 256).index_copy(2, chart.texels, distance[:, None])
    found = uv.detail_vertices(chart, vertices, normals, displacement.view(1, 1, 256, 256))
    assert distance.abs().max() < 0.0121  # 1 cm of detail and the fixed displacement
    assert distance.abs().mean() > 1e-4
    torch.testing.assert_close(found[0], torch.tensor(exported["dense_verts"]), atol=1e-6, rtol=0)


def test_the_pytorch3d_decode_is_reproduced(parity_dir: Path, template: Template, decoded: dict[str, Tensor]):
    """Photo 0 of the pytorch3d run; its pictures are stored at every third pixel."""
    theirs = {key: torch.tensor(value[:1]) for key, value in load(parity_dir, "decode_pytorch3d").items()
              if key.startswith(("op_", "vis_"))}  # fmt: skip
    points = projected(theirs)
    found = rasterize(points, template.faces, 224, 224, rule="pytorch3d")
    assert (found.covered[:, None].byte() != theirs["op_alpha_images"]).sum() <= 2
    seen = surface_of(template, found, decoded["op_verts"], points)
    clear = (decoded["fragile"] == 0)[:, 1::3, 1::3]
    assert_close(seen.normals[..., 1::3, 1::3], theirs["op_normal_images"], clear, most=2e-4, worst=4e-3)
    shape = passes.shape_pass(seen)[..., 1::3, 1::3]
    assert_close(shape, theirs["vis_shape_images"], clear, most=2e-4, worst=4e-3)


@pytest.mark.parametrize("name", ["square", "nonsquare", "synth"])
def test_drawing_into_the_original_photo_equals_the_official_pictures(
    parity_dir: Path, template: Template, name: str
):
    """The stored pictures lie on the photo, so only the head's own pixels are compared."""
    data = load(parity_dir, "decode_orig")
    theirs = {
        key.removeprefix(f"{name}_"): torch.tensor(data[key]) for key in data if key.startswith(f"{name}_")
    }
    height, width = theirs["hw"].tolist()
    step = slice(1, None, int(theirs["stride"]))
    crop_points = theirs["op_trans_verts"]  # of the crop; the release moves and shifts a copy
    to_photo = theirs["tform_inv_T"].transpose(1, 2)
    points = ndc_to_photo(crop_points, to_photo, 224, 0.0, (height, width))
    scale = float(load(parity_dir, "codes")["cam"][int(theirs["codes_photo"]), 0])
    world = crop_points / scale * torch.tensor([1.0, -1.0, -1.0])  # up to a translation
    found = rasterize(points, template.faces, height, width)
    seen = surface_of(template, found, world, points)
    alpha = seen.alpha[..., step, step]
    clear = theirs["fragile_s"] == 0
    assert torch.equal(alpha.byte()[:, 0][clear], theirs["op_alpha_s"][:, 0][clear])
    assert_close(seen.normals[..., step, step], theirs["op_normal_images_s"], clear, most=1e-4)
    inside = clear & (seen.facing_mask(passes.SHAPE_FACING - 1e-3)[:, 0, step, step] > 0)
    assert_close(passes.shape_pass(seen)[..., step, step], theirs["vis_shape_images_s"], inside, most=1e-4)
