"""The 68 landmarks of the bundled open head and its yaw-dependent jaw line."""

from pathlib import Path

import numpy as np
import pytest

import deca_cli
from deca_cli.heads.assets import HeadAssets, load_head
from deca_cli.synthetic.head_surface import frontmost_points, nearest_points

HEAD = Path(deca_cli.__file__).parent / "packs" / "open" / "head.npz"
ACROSS = np.array(
    [*range(16, -1, -1), *range(26, 16, -1), 27, 28, 29, 30, 35, 34, 33, 32, 31, 45, 44, 43, 42, 47, 46, 39, 38, 37,
     36, 41, 40, 54, 53, 52, 51, 50, 49, 48, 59, 58, 57, 56, 55, 64, 63, 62, 61, 60, 67, 66, 65]
)  # fmt: skip


@pytest.fixture(scope="module")
def head() -> HeadAssets:
    return load_head(HEAD)[0]


@pytest.fixture(scope="module")
def points(head: HeadAssets) -> np.ndarray:
    corners = head.template_vertices[head.faces[head.full_landmark_faces]]
    return 1e3 * np.einsum("nk,nkd->nd", head.full_landmark_barycentrics, corners)


@pytest.fixture(scope="module")
def jaw_lines(head: HeadAssets) -> np.ndarray:
    """[79, 17, 3] in millimetres."""
    corners = head.template_vertices[head.faces[head.contour_landmark_faces]]
    return 1e3 * np.einsum("rnk,rnkd->rnd", head.contour_landmark_barycentrics, corners)


def test_landmarks_are_symmetric_on_the_mean_head(points):
    assert np.abs(points[ACROSS] * [-1, 1, 1] - points).max() < 0.05  # mm


def test_the_inner_points_are_the_last_51_of_the_full_set(head):
    assert (head.inner_landmark_faces == head.full_landmark_faces[17:]).all()
    assert (head.inner_landmark_barycentrics == head.full_landmark_barycentrics[17:]).all()


def test_landmarks_run_in_ibug_order(points):
    x, y = points[:, 0], points[:, 1]
    assert (np.diff(x[:17]) > 0).all()  # jaw from the subject's right to the left
    assert (np.diff(x[17:27]) > 0).all()  # brows
    assert (np.diff(y[27:31]) < 0).all()  # nose ridge downwards
    assert (np.diff(x[31:36]) > 0).all()
    assert x[36] < x[37] < x[38] < x[39] < 0 < x[42] < x[43] < x[44] < x[45]
    assert (y[[37, 38, 43, 44]] > y[[41, 40, 47, 46]]).all()
    assert (np.diff(x[48:55]) > 0).all()  # upper lip border
    assert (np.diff(x[54:60]) < 0).all()  # lower lip border back
    assert y[51] > y[62] >= y[57]


def test_landmarks_sit_on_their_anatomy(head, points):
    eye = 1e3 * head.template_vertices[head.region("eyeball_left")].mean(0)
    assert abs(points[27, 1] - eye[1]) < 3  # sellion near eye height
    assert points[:, 2].argmax() == 30  # the nose tip is the most forward point
    assert points[8, 1] == points[:, 1].min()  # the chin is the lowest
    assert points[51, 1] < points[52, 1]  # the cupid's bow dips in the middle
    inner, outer = points[42], points[45]
    third = (points[[43, 44], 0] - inner[0]) / (outer[0] - inner[0])
    assert np.abs(third - [1 / 3, 2 / 3]).max() < 0.05
    assert abs(np.linalg.norm(points[36] - points[45]) - 88) < 5
    assert 12 < points[24, 1] - points[44, 1] < 25  # brow above the lid


def test_inner_landmarks_are_in_sight_from_the_front(head, points):
    visible = [*range(17, 60)]
    hits = frontmost_points(
        1e-3 * points[visible, :2].astype(float),
        head.template_vertices.astype(float),
        head.faces,
        np.ones(len(head.faces), bool),
    )
    depth = 1e3 * hits.positions(head.template_vertices.astype(float), head.faces)[:, 2]
    assert np.abs(depth - points[visible, 2]).max() < 1.0


def test_the_jaw_line_at_yaw_zero_is_the_fixed_one(points, jaw_lines):
    assert np.abs(jaw_lines[0] - points[:17]).max() < 1e-4


def test_only_the_side_that_turns_away_slides(jaw_lines):
    assert np.abs(jaw_lines[1:40, :9] - jaw_lines[0, :9]).max() == 0
    assert np.abs(jaw_lines[40:, 8:] - jaw_lines[0, 8:]).max() == 0


def test_the_jaw_line_slides_inwards_steadily_with_yaw(jaw_lines):
    half = jaw_lines[:40, 9:]
    assert (np.diff(half[:, :, 0], axis=0) <= 1e-4).all()  # row 39 pulls the +x contour inwards
    assert np.linalg.norm(np.diff(half, axis=0), axis=2).max() < 4.0  # no jumps between neighbouring degrees
    assert (half[0, 1:, 0] - half[39, 1:, 0] > 2.0).all()


def test_negative_yaw_is_the_mirror_image_of_positive_yaw(jaw_lines):
    assert np.abs(jaw_lines[40:, ::-1] * [-1, 1, 1] - jaw_lines[1:40]).max() < 0.01


@pytest.mark.parametrize("yaw", [20, 30, 39])
def test_the_sliding_jaw_line_lies_farther_out_in_the_picture_than_the_fixed_one(jaw_lines, yaw):
    angle = np.radians(yaw)
    across = jaw_lines[:, 9:, 0] * np.cos(angle) + jaw_lines[:, 9:, 2] * np.sin(angle)
    assert (across[yaw] >= across[0] - 0.01).all()
    assert (across[yaw] - across[0])[1:].min() > 0.3


def test_nearest_and_frontmost_points_agree_with_a_slanted_plane():
    vertices = np.array([[0.0, 0, 0], [1, 0, 1], [0, 1, 0], [1, 1, 1]])
    faces = np.array([[0, 1, 2], [1, 3, 2]])
    both = np.ones(2, bool)
    hit = frontmost_points(np.array([[0.25, 0.25], [0.75, 0.75], [2.0, 2.0]]), vertices, faces, both)
    assert hit.faces.tolist() == [0, 1, -1]
    assert hit.positions(vertices, faces)[0] == pytest.approx([0.25, 0.25, 0.25])
    near = nearest_points(np.array([[0.0, 0.5, 1.0], [-1.0, -1.0, 0.0]]), vertices, faces, both)
    assert near.positions(vertices, faces)[0] == pytest.approx([0.5, 0.5, 0.5])
    assert near.positions(vertices, faces)[1] == pytest.approx([0, 0, 0])
