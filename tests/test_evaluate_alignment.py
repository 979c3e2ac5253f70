"""Crop, landmark fit and refinement: formulas against independent numbers."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from deca_cli.evaluate.alignment import (
    Similarity,
    _SurfaceDistance,
    face_region,
    fit_landmarks,
    refine,
    right_jacobian,
    rotation_matrix,
    with_known_scale,
)
from deca_cli.evaluate.dogleg import solve
from deca_cli.evaluate.geometry import Surface
from deca_cli.evaluate.synthetic_faces import synthetic_head

MARKS = np.array(
    [[-45.0, 0, 0], [-15, 0, 5], [15, 0, 5], [45, 0, 0], [0, -45, 20], [-25, -70, 5], [25, -70, 5]]
)


def moved(seed=0, scale=0.002):
    return Similarity(scale, Rotation.random(random_state=seed).as_matrix(), np.array([0.3, -0.2, 0.1]))


def test_face_region_of_round_numbers():
    region = face_region(MARKS)
    nose = np.array([0, 45, -15.0])  # bridge - nose bottom
    assert region.centre == pytest.approx(MARKS[4] + 0.3 * nose)
    assert region.radius == pytest.approx(1.4 * (90 + np.linalg.norm(nose)) / 2)
    assert face_region(MARKS, 1.2).radius == pytest.approx(region.radius * 1.2 / 1.4)


def test_landmark_fit_undoes_a_similarity():
    motion = moved()
    fit = fit_landmarks(motion.apply(MARKS), MARKS)
    assert fit.scale == pytest.approx(500, rel=1e-12)
    assert fit.apply(motion.apply(MARKS)) == pytest.approx(MARKS, abs=1e-10)


def test_landmark_fit_mirrors_only_when_it_may():
    mirrored = MARKS * [-1, 1, 1]
    assert np.linalg.det(fit_landmarks(mirrored, MARKS).rotation) == pytest.approx(-1)
    assert np.linalg.det(fit_landmarks(mirrored, MARKS, reflection=False).rotation) == pytest.approx(1)


def test_known_scale_keeps_the_translation_of_the_free_fit():
    fit = fit_landmarks(moved().apply(MARKS), MARKS)
    start = with_known_scale(fit, 1000.0)
    assert start.scale == 1000.0
    assert start.translation is fit.translation


def test_after_is_one_motion_behind_the_other():
    points = np.random.default_rng(0).standard_normal((5, 3))
    first, second = moved(1, 2.0), moved(2, 3.0)
    assert second.after(first).apply(points) == pytest.approx(second.apply(first.apply(points)))


@pytest.mark.parametrize("size", [0.0, 1e-10, 1e-6, 0.3, 3.0])
def test_rotation_and_its_derivative_agree_with_scipy_and_differences(size):
    vector = size * np.array([0.6, -0.64, 0.48])
    assert rotation_matrix(vector) == pytest.approx(Rotation.from_rotvec(vector).as_matrix(), abs=1e-12)
    step = 1e-6
    for k in range(3):
        change = np.zeros(3)
        change[k] = step
        turned = rotation_matrix(vector).T @ rotation_matrix(vector + change)
        expected = Rotation.from_matrix(turned).as_rotvec() / step
        assert right_jacobian(vector)[:, k] == pytest.approx(expected, abs=2e-6)


@pytest.mark.parametrize("free_scale", [True, False])
def test_gradient_is_the_derivative_of_the_objective(free_scale):
    head = synthetic_head()
    points = head.mesh.vertices[::40] + np.random.default_rng(1).standard_normal((135, 3))
    problem = _SurfaceDistance(Surface.of(head.mesh.vertices, head.mesh.faces), points)
    parameters = np.array([1.03, 0.02, -0.05, 0.04, 1.0, -2.0, 0.5])[0 if free_scale else 1 :]
    _, gradient = problem.evaluate(parameters).normal_equations()
    for k in range(len(parameters)):
        step = np.zeros(len(parameters))
        step[k] = 1e-5
        ahead, behind = problem.evaluate(parameters + step), problem.evaluate(parameters - step)
        slope = (ahead.objective - behind.objective) / 2e-5
        assert -2 * gradient[k] == pytest.approx(slope, rel=1e-6)


def test_refinement_finds_a_small_motion_back():
    head = synthetic_head()
    motion = Similarity(1.02, rotation_matrix(np.array([0.02, -0.03, 0.01])), np.array([1.0, -2, 0.5]))
    points = motion.apply(head.mesh.vertices[(head.mesh.faces[::7]).ravel()])
    result = refine(Surface.of(head.mesh.vertices, head.mesh.faces), points, free_scale=True)
    assert result.distances.max() < 0.05
    assert result.motion.scale == pytest.approx(1.02, abs=1e-3)


def test_conjugate_gradients_stop_at_the_official_tolerance():
    root = np.random.default_rng(0).standard_normal((7, 7))
    matrix, right = root @ root.T + np.eye(7), np.arange(1.0, 8)
    residual = np.linalg.norm(matrix @ solve(matrix, right) - right) / np.linalg.norm(right)
    assert residual <= 1e-5
