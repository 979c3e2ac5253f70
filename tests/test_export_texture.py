"""The texture cut from a photo, with an egg whose place is known."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

import stand_in
from deca_cli.export.capture import Topology
from deca_cli.export.texture import _matched, texture_of
from test_export_pictures import CENTRE, capture_of


@pytest.fixture(scope="module")
def grey():
    return np.full((180, 200, 3), 90, np.uint8)


def texel_of(capture, texture, vertex):
    """The texture's colour at a vertex (texture vertices of the egg: one more per ring)."""
    row, column = divmod(vertex, stand_in.AROUND)
    u, v = capture.topology.uv_coordinates[row * (stand_in.AROUND + 1) + column]
    size = len(texture)
    return texture[int((1 - v) * size), min(int(u * size), size - 1)].astype(int)


def nearest_vertex(capture, x, y):
    """The vertex on the front that is nearest to a pixel."""
    distance = np.hypot(*(capture.vertices_px[:, :2] - (x, y)).T)
    return int(np.argmin(np.where(capture.vertices[:, 2] > 0.02, distance, np.inf)))


def test_the_texture_repeats_the_photo_where_the_head_is_seen():
    rng = np.random.default_rng(0)
    noise = cv2.resize(
        rng.integers(30, 220, (12, 14, 3), dtype=np.uint8), (200, 180), interpolation=cv2.INTER_CUBIC
    )
    capture = capture_of(noise)
    texture = texture_of(capture)
    for x, y in ((100, 90), (115, 80), (88, 105)):
        vertex = nearest_vertex(capture, x, y)
        column, row = np.rint(capture.vertices_px[vertex, :2]).astype(int)
        np.testing.assert_allclose(texel_of(capture, texture, vertex), noise[row, column], atol=14)


def test_no_texel_is_black_even_at_the_back_of_the_head(grey):
    texture = texture_of(capture_of(grey))
    assert texture.shape == (1024, 1024, 3)
    np.testing.assert_allclose(texture, 90, atol=2)


def test_a_half_outside_the_photo_is_filled_from_the_mirrored_side(grey):
    photo = grey.copy()
    photo[75:105, :36] = (200, 60, 60)  # a band across the head
    capture = capture_of(photo, centre=(0.0, 90.0))
    texture = texture_of(capture)
    for x in (15, 25):
        seen = nearest_vertex(capture, x, 90)
        mirrored = capture.topology.mirror_vertices[seen]
        assert capture.vertices_px[mirrored, 0] < 0
        np.testing.assert_allclose(texel_of(capture, texture, mirrored), (200, 60, 60), atol=12)


def test_the_mirrored_side_takes_over_the_brightness_of_the_seen_side_and_little_of_its_tint():
    weights = np.ones((128, 128), np.float32)
    bright, dark = np.full((128, 128, 3), 160, np.uint8), np.full((128, 128, 3), (80, 120, 40), np.uint8)
    np.testing.assert_allclose(_matched(bright, weights, dark, weights)[64, 64], (80, 96, 67), atol=1)
    np.testing.assert_allclose(_matched(dark, weights, 2 * dark, weights)[64, 64], (112, 168, 56), atol=2)


def test_a_cheek_in_the_shade_is_continued_in_the_shade_and_the_other_side_in_the_light():
    """Seen: left half of the chart lit, right half in the shade; its last fifth is known from the mirrored side only."""
    seen = np.full((256, 256, 3), 160, np.uint8)
    seen[:, 128:] = 40
    other = np.full((256, 256, 3), 160, np.uint8)
    weight = np.ones((256, 256), np.float32)
    weight[:, 205:] = 0
    matched = _matched(other, np.ones_like(weight), seen, weight).astype(int)
    np.testing.assert_allclose(matched[:, 205:], 40, atol=8)
    np.testing.assert_allclose(matched[:, :100], 160, atol=8)


def test_background_that_the_mesh_covers_by_mistake_does_not_get_into_the_texture():
    photo = np.full((180, 200, 3), (30, 60, 200), np.uint8)  # a blue wall
    cv2.ellipse(photo, (100, 94), (36, 50), 0, 0, 360, (200, 150, 120), -1)  # a head smaller than the mesh
    texture = texture_of(capture_of(photo)).astype(int)
    assert (texture[..., 0] > texture[..., 2]).all()


def test_hair_over_the_outline_stays_in_the_texture():
    photo = np.full((180, 200, 3), (30, 160, 60), np.uint8)  # a meadow
    cv2.ellipse(photo, (100, 90), (47, 67), 0, 0, 360, (90, 40, 20), -1)  # brown hair, wider than the mesh
    texture = texture_of(capture_of(photo)).astype(int)
    np.testing.assert_allclose(texture.reshape(-1, 3).mean(axis=0), (90, 40, 20), atol=6)


def test_a_spot_on_the_face_in_the_colour_of_the_background_stays():
    photo = np.full((180, 200, 3), (30, 160, 60), np.uint8)  # a meadow
    cv2.ellipse(photo, (100, 90), (37, 55), 0, 0, 360, (90, 40, 20), -1)
    cv2.circle(photo, (122, 90), 6, (30, 160, 60), -1)  # paint on the cheek
    texture = texture_of(capture_of(photo)).astype(int)
    assert (np.abs(texture - (30, 160, 60)).max(axis=-1) < 25).sum() > 200


def test_what_is_behind_another_part_of_the_head_does_not_get_its_colour(grey):
    square = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]])
    plates = [
        np.c_[square * 0.12, np.zeros(4)],
        np.c_[square * 0.03, np.full(4, 0.05)],
    ]  # the small one in front
    uv = np.concatenate([square * 0.2 + (0.25, 0.5), square * 0.2 + (0.75, 0.5)]).astype(np.float32)
    faces = np.array([[0, 1, 2], [0, 2, 3], [4, 5, 6], [4, 6, 7]])
    vertices = np.concatenate(plates).astype(np.float32)
    photo = np.full_like(grey, 60)
    photo[75:106, 85:116] = (220, 40, 40)  # what the front plate looks like
    capture = replace(
        capture_of(photo),
        topology=Topology(faces, uv, faces, None),
        vertices=vertices,
        normals=np.tile(np.float32([0, 0, 1]), (8, 1)),
        vertices_px=vertices * (500.0, -500.0, -500.0) + (*CENTRE, 0),
    )
    texture = texture_of(capture)
    np.testing.assert_allclose(texture[512, 768], (220, 40, 40), atol=3)
    np.testing.assert_allclose(texture[512, 256], (60, 60, 60), atol=25)


def test_a_close_up_gets_a_larger_texture():
    photo = np.full((300, 300, 3), 90, np.uint8)
    assert len(texture_of(capture_of(photo, centre=(150.0, 150.0), scale=6000.0))) == 2048


def test_a_head_without_a_symmetry_map_is_textured_too(grey):
    capture = capture_of(grey)
    topology = replace(capture.topology, mirror_vertices=None)
    np.testing.assert_allclose(texture_of(replace(capture, topology=topology)), 90, atol=2)


def test_a_head_in_a_panorama_gets_the_texture_that_it_has_in_a_narrower_photo():
    random = np.random.default_rng(3)
    narrow = random.integers(60, 200, (180, 200, 3), dtype=np.uint8)
    wide = np.zeros((180, 33_000, 3), np.uint8)
    wide[:, 32_000:32_200] = narrow
    near, far = (
        texture_of(capture_of(narrow)),
        texture_of(capture_of(wide, centre=(32_000 + CENTRE[0], CENTRE[1]))),
    )
    assert np.median(np.abs(near.astype(int) - far)) <= 2
