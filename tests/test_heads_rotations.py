import math

import numpy as np
import pytest
import torch

from deca_cli.heads import rotations

QUARTER = math.pi / 2


def random_axis_angles(count: int, longest: float = math.pi) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    axes = torch.nn.functional.normalize(
        torch.randn(count, 3, generator=generator, dtype=torch.float64), dim=1
    )
    return axes * longest * torch.rand(count, 1, generator=generator, dtype=torch.float64)


def test_no_rotation_is_exactly_the_identity_and_has_a_gradient():
    vector = torch.zeros(1, 3, requires_grad=True)
    matrix = rotations.axis_angle_to_matrix(vector)
    assert torch.equal(matrix[0], torch.eye(3))
    (matrix[0, 2, 1] + 2 * matrix[0, 0, 2] + 3 * matrix[0, 1, 0]).backward()
    torch.testing.assert_close(vector.grad, torch.tensor([[1.0, 2.0, 3.0]]))


@pytest.mark.parametrize(
    ("axis_angle", "moved"),
    [
        ((QUARTER, 0, 0), (1, -3, 2)),  # y to z, z to -y
        ((0, QUARTER, 0), (3, 2, -1)),  # z to x, x to -z
        ((0, 0, QUARTER), (-2, 1, 3)),  # x to y, y to -x
        ((0, 2 * QUARTER, 0), (-1, 2, -3)),
    ],
)
def test_quarter_turns_are_right_handed(axis_angle: tuple, moved: tuple):
    matrix = rotations.axis_angle_to_matrix(torch.tensor(axis_angle))
    torch.testing.assert_close(
        matrix @ torch.tensor([1.0, 2, 3]), torch.tensor(moved, dtype=torch.float32), atol=1e-6, rtol=0
    )


def test_matrices_are_rotations():
    matrices = rotations.axis_angle_to_matrix(random_axis_angles(50))
    identity = torch.eye(3, dtype=torch.float64).expand(50, 3, 3)
    torch.testing.assert_close(matrices @ matrices.transpose(1, 2), identity, atol=1e-7, rtol=0)
    torch.testing.assert_close(torch.linalg.det(matrices), torch.ones(50, dtype=torch.float64))


def test_axis_angles_survive_the_way_through_matrices():
    vectors = random_axis_angles(200, longest=math.pi - 1e-3)
    back = rotations.matrix_to_axis_angle(rotations.axis_angle_to_matrix(vectors))
    torch.testing.assert_close(back, vectors, atol=1e-6, rtol=0)


@pytest.mark.parametrize("axis", [(1, 0, 0), (0, 1, 0), (0, 0, 1), (0.6, 0, -0.8)])
def test_half_turns_are_found(axis: tuple):
    vector = torch.tensor(axis, dtype=torch.float64) * math.pi
    back = rotations.matrix_to_axis_angle(rotations.axis_angle_to_matrix(vector))
    sign = torch.sign((back * vector).sum())  # both ways round are the same rotation
    torch.testing.assert_close(sign * back, vector, atol=1e-6, rtol=0)


def test_tiny_rotations_keep_their_size_in_float32():
    vector = torch.tensor([[1e-4, -2e-4, 3e-5]])
    back = rotations.matrix_to_axis_angle(rotations.axis_angle_to_matrix(vector))
    torch.testing.assert_close(back, vector, atol=1e-7, rtol=0)
    assert torch.equal(rotations.matrix_to_axis_angle(torch.eye(3)), torch.zeros(3))


def test_the_six_numbers_are_the_first_two_columns():
    assert torch.equal(rotations.rotation_6d_to_matrix(torch.tensor([1.0, 0, 0, 0, 1, 0])), torch.eye(3))
    matrices = rotations.axis_angle_to_matrix(random_axis_angles(20))
    sixes = torch.cat([matrices[:, :, 0], matrices[:, :, 1]], dim=1)
    torch.testing.assert_close(rotations.rotation_6d_to_matrix(sixes), matrices, atol=1e-7, rtol=0)


def test_six_numbers_of_any_length_and_angle_give_a_rotation():
    matrix = rotations.rotation_6d_to_matrix(torch.tensor([2.0, 0, 0, 5, 3, 0]))
    torch.testing.assert_close(matrix, torch.eye(3))


@pytest.mark.parametrize(
    ("degrees", "point", "moved"),
    [
        ((30, 0, 0), (0, 0, 1), (0.5, 0, math.cos(math.radians(30)))),  # the face turns to image right
        ((0, 30, 0), (0, 0, 1), (0, -0.5, math.cos(math.radians(30)))),  # the face looks down
        ((0, 0, 30), (0, 1, 0), (-0.5, math.cos(math.radians(30)), 0)),  # the crown goes to image left
    ],
)
def test_yaw_pitch_and_roll_mean_what_the_documentation_says(degrees: tuple, point: tuple, moved: tuple):
    matrix = rotations.euler_degrees_to_matrix(torch.tensor(degrees, dtype=torch.float64))
    expected = torch.tensor(moved, dtype=torch.float64)
    torch.testing.assert_close(matrix @ torch.tensor(point, dtype=torch.float64), expected, atol=1e-7, rtol=0)
    back = rotations.matrix_to_euler_degrees(matrix)
    torch.testing.assert_close(back, torch.tensor(degrees, dtype=torch.float64), atol=1e-5, rtol=0)


def test_yaw_pitch_and_roll_together_survive_the_way_through_matrices():
    degrees = torch.tensor([[70.0, -35, 20], [-120, 60, -80], [5, 89, 1]], dtype=torch.float64)
    back = rotations.matrix_to_euler_degrees(rotations.euler_degrees_to_matrix(degrees))
    torch.testing.assert_close(back, degrees, atol=1e-4, rtol=0)


def test_euler_angles_of_the_jaw_are_multiplied_as_x_y_z():
    generator = torch.Generator().manual_seed(3)
    euler = torch.rand(30, 3, generator=generator, dtype=torch.float64) * 2 - 1
    about = [torch.zeros(30, 3, dtype=torch.float64) for _ in range(3)]
    for axis in range(3):
        about[axis][:, axis] = euler[:, axis]
    x, y, z = (rotations.axis_angle_to_matrix(vector) for vector in about)
    matrix = rotations.axis_angle_to_matrix(rotations.euler_to_axis_angle(euler))
    torch.testing.assert_close(matrix, x @ y @ z, atol=1e-7, rtol=0)
    assert torch.equal(rotations.euler_to_axis_angle(torch.zeros(1, 3)), torch.zeros(1, 3))


def test_gradients_equal_finite_differences():
    vectors = random_axis_angles(4).requires_grad_()
    assert torch.autograd.gradcheck(rotations.axis_angle_to_matrix, vectors)
    sixes = torch.tensor(np.random.default_rng(0).normal(size=(4, 6)), requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda six: rotations.matrix_to_axis_angle(rotations.rotation_6d_to_matrix(six)), sixes
    )
