"""Closest points: the compiled search against the plain one, and answers known by hand."""

import numpy as np
import pytest

from deca_cli.evaluate.geometry import Surface, closest_points_plain

TRIANGLE = np.array([[0.0, 0, 0], [4, 0, 0], [0, 4, 0]])


@pytest.mark.parametrize(
    ("point", "distance", "foot"),
    [
        ((1, 1, 3), 3.0, (1, 1, 0)),  # face
        ((-3, -4, 0), 5.0, (0, 0, 0)),  # corner
        ((7, 0, 4), 5.0, (4, 0, 0)),
        ((0, 8, 3), 5.0, (0, 4, 0)),
        ((2, -2, 0), 2.0, (2, 0, 0)),  # edges
        ((-2, 2, 0), 2.0, (0, 2, 0)),
        ((4, 4, 0), np.sqrt(8), (2, 2, 0)),
    ],
)
def test_distance_to_one_triangle_is_the_one_worked_out_by_hand(point, distance, foot):
    closest = Surface.of(TRIANGLE, np.array([[0, 1, 2]])).closest(np.array([point], dtype=float))
    assert closest.distances[0] == pytest.approx(distance, abs=1e-14)
    assert closest.points[0] == pytest.approx(foot, abs=1e-14)


def test_search_agrees_with_looking_at_every_triangle():
    random = np.random.default_rng(0)
    vertices, faces = (
        random.standard_normal((90, 3)),
        random.integers(0, 90, (200, 3)),
    )  # with degenerate ones
    points = 2 * random.standard_normal((300, 3))
    surface = Surface.of(vertices, faces)
    expected = closest_points_plain(points, vertices, faces)
    assert np.abs(surface.closest(points).distances - expected).max() < 1e-12


@pytest.mark.parametrize("face", [(0, 0, 1), (0, 1, 1), (0, 1, 0), (1, 1, 1), (0, 1, 3)])
def test_degenerate_triangle_acts_as_its_edges(face):
    vertices = np.vstack([TRIANGLE, [[2.0, 0, 0]]])  # 3 lies between 0 and 1
    points = np.random.default_rng(1).uniform(-5, 5, (50, 3))
    closest = Surface.of(vertices, np.array([face])).closest(points)
    corners = vertices[list(face)]
    along = np.linspace(0, 1, 4001)[:, None]
    dense = np.concatenate(
        [(1 - along) * corners[i] + along * corners[j] for i, j in ((0, 1), (1, 2), (2, 0))]
    )
    nearest = np.linalg.norm(points[:, None] - dense, axis=-1).min(1)
    assert np.isfinite(closest.distances).all()
    assert np.abs(closest.distances - nearest).max() < 1e-5


def test_hint_changes_speed_only():
    random = np.random.default_rng(2)
    vertices, faces = random.standard_normal((90, 3)), random.integers(0, 90, (200, 3))
    points = random.standard_normal((300, 3))
    surface = Surface.of(vertices, faces)
    far = surface.closest(points[::-1]).triangles
    np.testing.assert_allclose(
        surface.closest(points, far).distances, surface.closest(points).distances, rtol=1e-13
    )


def test_hint_is_not_written_into():
    surface = Surface.of(TRIANGLE, np.array([[0, 1, 2]]))
    hint = np.array([-1])
    surface.closest(np.zeros((1, 3)), hint)
    assert hint.tolist() == [-1]
