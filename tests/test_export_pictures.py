"""What is drawn and measured on the photo's own pixels, with an egg whose place is known."""

from pathlib import Path

import cv2
import numpy as np
import pytest

import stand_in
from deca_cli.export import overlay, view
from deca_cli.export.capture import Capture, Topology
from deca_cli.export.depth import depth_map, write_depth
from deca_cli.export.formats import FORMATS
from deca_cli.export.landmark_lines import PARTS, draw_landmarks
from deca_cli.export.landmarks import write_landmarks
from deca_cli.export.normals import normal_map
from deca_cli.export.overlay import Drawing, draw, write_overlay
from deca_cli.export.pictures import PANEL_MAX_SIDE
from deca_cli.export.view import look
from deca_cli.photo.read import Photo

PIXELS_PER_METRE = 500.0
CENTRE = (100.0, 90.0)


def capture_of(pixels, centre=CENTRE, scale=PIXELS_PER_METRE):
    """The egg, looking at the viewer, with its middle at a pixel of a photo."""
    head = stand_in.stand_in_head()
    vertices = head.template_vertices

    def place(points) -> object:
        return points * (scale, -scale, -scale) + (*centre, 0)

    corners = vertices[head.faces[head.full_landmark_faces]]
    landmarks = (corners * head.full_landmark_barycentrics[..., None]).sum(axis=1)
    normals = vertices / stand_in.RADII**2
    mirror = None if head.mirror_vertices is None else head.mirror_vertices.astype(np.int64)
    topology = Topology(
        head.faces.astype(np.int64), head.uv_coordinates, head.uv_faces.astype(np.int64), mirror
    )
    return Capture(
        photo=Photo(pixels, Path("egg.png"), "egg"),
        face_number=1,
        face_count=1,
        found_by="test",
        box_px=(0.0, 0.0, 1.0, 1.0),
        detection_score=1.0,
        face_score=None,
        model="egg",
        model_licence="none",
        model_fingerprint="0",
        codes={"expression": np.array([0.5, -1.0, 2.0, 0.0], np.float32), "camera": np.ones(3, np.float32)},
        expression_names=stand_in.EXPRESSIONS,
        head_pose_deg=(0.0, 0.0, 0.0),
        crop_to_photo=np.eye(3),
        crop_size=64,
        topology=topology,
        vertices=vertices,
        normals=(normals / np.linalg.norm(normals, axis=1, keepdims=True)).astype(np.float32),
        vertices_px=place(vertices.astype(np.float64)),
        landmarks_2d_px=place(landmarks)[:, :2],
        landmarks_3d_px=place(landmarks),
        landmarks_3d=landmarks.astype(np.float32),
        landmarks_visible=np.ones(68, bool),
        pixels_per_metre=scale,
        pixel_offset=-0.5,
        detail=None,
    )


@pytest.fixture(scope="module")
def grey():
    return np.full((180, 200, 3), 90, np.uint8)


def test_the_depth_mask_covers_exactly_the_pixels_whose_centres_lie_on_the_head(grey):
    x, y = 100.3, 90.2
    _, mask = depth_map(capture_of(grey, centre=(x, y)))
    rows, columns = np.nonzero(mask)
    half_width, half_height = stand_in.RADII[0] * 500, stand_in.RADII[1] * 500 * np.sin(stand_in.HIGHEST)
    assert (columns.min(), columns.max()) == (np.ceil(x - half_width), np.floor(x + half_width))
    assert (rows.min(), rows.max()) == (np.ceil(y - half_height), np.floor(y + half_height))


def test_depth_counts_metres_behind_the_nearest_point(grey):
    depth, mask = depth_map(capture_of(grey))
    assert depth[90, 100] == pytest.approx(0, abs=1e-6)
    at = (90, 124)  # 24 px = 48 mm to the side
    expected = stand_in.RADII[2] * (1 - np.sqrt(1 - (0.048 / stand_in.RADII[0]) ** 2))
    assert depth[at] == pytest.approx(expected, abs=5e-4)
    assert not depth[~mask].any()


def test_depth_does_not_depend_on_the_resolution_of_the_photo(grey):
    small, _ = depth_map(capture_of(grey))
    double = np.repeat(np.repeat(grey, 2, 0), 2, 1)
    large, _ = depth_map(capture_of(double, centre=(200.0, 180.0), scale=1000.0))
    assert large[180, 248] == pytest.approx(small[90, 124], abs=1e-6)


def test_the_depth_picture_has_steps_of_a_tenth_of_a_millimetre_and_no_zero_on_the_head(grey, tmp_path):
    capture = capture_of(grey)
    write_depth(capture, tmp_path)
    depth, mask = depth_map(capture)
    steps = cv2.imread(str(tmp_path / "depth.png"), cv2.IMREAD_UNCHANGED)
    assert steps.dtype == np.uint16
    np.testing.assert_array_equal(steps > 0, mask)
    np.testing.assert_allclose(steps[mask] * 1e-4, depth[mask], atol=1.01e-4)
    np.testing.assert_array_equal(np.load(tmp_path / "depth.npy"), depth)
    np.testing.assert_array_equal(cv2.imread(str(tmp_path / "depth_mask.png"), 0), mask * np.uint8(255))


def test_a_head_beyond_the_border_and_one_outside_the_photo_are_drawn_as_far_as_they_are_there(grey):
    depth, mask = depth_map(capture_of(grey, centre=(0.0, 90.0)))
    assert mask[90, 0]
    assert mask.sum() > 500
    assert depth.shape == grey.shape[:2]
    outside = capture_of(grey, centre=(-400.0, 90.0))
    assert not depth_map(outside)[1].any()
    assert not normal_map(outside).any()
    np.testing.assert_array_equal(draw(outside).shape, grey)
    np.testing.assert_array_equal(draw(outside).landmarks, grey)


def test_normals_point_right_up_and_to_the_viewer(grey):
    colours = normal_map(capture_of(grey)).astype(int)
    assert colours[90, 100].tolist() == pytest.approx([127, 127, 255, 255], abs=3)
    assert colours[90, 130, 0] > 200  # the head's side on the picture's right faces right
    assert colours[45, 100, 1] > 180  # its top faces up
    assert colours[0, 0].tolist() == [0, 0, 0, 0]


def test_the_panels_have_the_photos_size_and_leave_the_photo_alone(grey):
    before = grey.copy()
    pictures = draw(capture_of(grey))
    assert set(pictures.panels()) == {"input", "landmarks", "shape"}
    assert all(panel.shape == grey.shape for panel in pictures.panels().values())
    np.testing.assert_array_equal(grey, before)


def test_the_shape_is_drawn_only_where_the_head_is(grey):
    shape = draw(capture_of(grey)).shape
    _, mask = depth_map(capture_of(grey))
    away = cv2.dilate(mask.astype(np.uint8), np.ones((3, 3))) == 0
    np.testing.assert_array_equal(shape[away], grey[away])
    assert shape[90, 100, 0] > 150
    assert (np.ptp(shape[mask].astype(int), axis=1) == 0).all()  # clay has no colour


def test_large_photos_are_scaled_down_in_pictures_only(tmp_path):
    large = np.full((1500, 4000, 3), 90, np.uint8)
    capture = capture_of(large, centre=(2000.0, 750.0), scale=12000.0)
    pictures = draw(capture)
    assert pictures.input.shape == (768, PANEL_MAX_SIDE, 3)
    assert depth_map(capture)[0].shape == (1500, 4000)
    overlay = cv2.imread(str(write_overlay(Drawing(capture), tmp_path)))
    assert overlay.shape[1] == 3 * PANEL_MAX_SIDE + 2 * 16


def test_landmarks_are_drawn_where_they_are_hidden_ones_in_another_colour(grey):
    capture = capture_of(grey)
    seen = draw_landmarks(grey, capture.landmarks_2d_px, capture.landmarks_visible)
    changed = (seen != grey).any(axis=2)
    for x, y in capture.landmarks_2d_px:
        assert changed[round(y), round(x)]
    hidden = draw_landmarks(grey, capture.landmarks_2d_px, np.zeros(68, bool))
    assert hidden[changed, 0].mean() > seen[changed, 0].mean() + 30  # orange has more red than green


@pytest.mark.parametrize("side", [390, 700, 1800])  # drawn at four times, twice and once the size
def test_a_line_has_the_other_colour_from_the_last_seen_point_to_the_next_seen_one(side):
    angles = np.arange(68) * 2 * np.pi / 68
    places = side * (0.5 + 0.45 * np.stack([np.cos(angles), np.sin(angles)], axis=1))
    visible = np.ones(68, bool)
    visible[[0, 9, 10, 30]] = False
    picture = draw_landmarks(np.zeros((side, side, 3), np.uint8), places, visible).astype(int)
    pairs = [(at, at + 1) for part in PARTS if not part.closed for at in range(part.first, part.last)]
    for start, end in pairs:
        column, row = np.rint((places[start] + places[end]) / 2).astype(int)
        expected = (64, 224, 140) if visible[start] and visible[end] else (255, 150, 60)
        np.testing.assert_allclose(picture[row, column], expected, atol=40)


def test_every_landmark_belongs_to_exactly_one_line():
    ids = [index for part in PARTS for index in range(part.first, part.last + 1)]
    assert ids == list(range(68))


def test_landmark_files_hold_the_same_points(grey, tmp_path):
    capture = capture_of(grey)
    write_landmarks(capture, tmp_path)
    np.testing.assert_allclose(np.loadtxt(tmp_path / "landmarks_2d.txt"), capture.landmarks_2d_px, atol=1e-3)
    solid = np.loadtxt(tmp_path / "landmarks_3d.txt")
    np.testing.assert_allclose(solid[:, :3], capture.landmarks_3d_px, atol=1e-3)
    table = np.loadtxt(tmp_path / "landmarks.csv", delimiter=",", skiprows=1)
    np.testing.assert_allclose(table[:, 3:6], solid[:, :3], atol=1e-3)


def test_arkit_coefficients_lie_between_zero_and_one(grey):
    assert list(capture_of(grey).arkit.values()) == [0.5, 0.0, 1.0, 0.0]


@pytest.mark.parametrize(("rows", "drawn"), [(10_000, 1), (20, None)])
def test_depth_and_normals_are_read_from_one_drawing_of_the_head(grey, tmp_path, monkeypatch, rows, drawn):
    capture = capture_of(grey)
    looks = []

    def counted(*given: object) -> object:
        looks.append(given)
        return look(*given)

    monkeypatch.setattr(overlay, "look", counted)
    monkeypatch.setattr(view, "look", counted)
    monkeypatch.setattr(view, "PIXELS_PER_STRIP", rows * len(grey[0]))
    depth, normals = depth_map(capture), normal_map(capture)
    looks.clear()
    drawing = Drawing(capture)
    for name in ("depth", "normals"):
        FORMATS[name](capture, drawing, tmp_path)
    assert len(looks) == (drawn or 2 * len(view.strips_of(capture, (len(grey[0]), len(grey)))))
    np.testing.assert_array_equal(np.load(tmp_path / "depth.npy"), depth[0])
    written = cv2.imread(str(tmp_path / "normals.png"), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(written[..., [2, 1, 0, 3]], normals)
