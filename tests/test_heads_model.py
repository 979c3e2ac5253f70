import dataclasses
import math

import numpy as np
import pytest
import torch

from deca_cli.heads.albedo import Albedo
from deca_cli.heads.assets import HeadAssets
from deca_cli.heads.landmarks import contour_row
from deca_cli.heads.model import HeadModel
from deca_cli.heads.rotations import axis_angle_to_matrix
from small_head import random_albedo, random_head, small_head

QUARTER = math.pi / 2


def pose_of(
    head: tuple[float, float, float] = (0, 0, 0), jaw: tuple[float, float, float] = (0, 0, 0)
) -> torch.Tensor:
    return torch.tensor([[*head, *jaw]])


def posed(assets=None, shape=(0.0, 0.0), expression=(0.0,), pose=None, **poses: torch.Tensor) -> np.ndarray:
    model = HeadModel(small_head() if assets is None else assets)
    pose = pose_of() if pose is None else pose
    return model(torch.tensor([shape]), torch.tensor([expression]), pose, **poses)[0].numpy()


def test_zero_codes_give_the_template():
    assets = small_head()
    np.testing.assert_array_equal(posed(assets), assets.template_vertices)


def test_identity_components_add_up():
    expected = small_head().template_vertices + np.array([0, 0.25 * 4, 0])
    expected[3, 0] += 0.5 * 2
    np.testing.assert_allclose(posed(shape=(2.0, 4.0)), expected, atol=1e-6)


def test_a_quarter_turn_to_the_left_brings_the_front_to_the_side():
    turned = posed(pose=pose_of((0, QUARTER, 0)))
    template = small_head().template_vertices
    np.testing.assert_allclose(turned[:, 0], template[:, 2], atol=1e-6)
    np.testing.assert_allclose(turned[:, 1], template[:, 1], atol=1e-6)
    np.testing.assert_allclose(turned[:, 2], -template[:, 0], atol=1e-6)


def test_the_head_turns_about_the_root_joint_where_the_identity_puts_it():
    # The second component lifts everything, the root joint included, by 1: the root vertex stays at (0, 1, 0).
    turned = posed(shape=(0.0, 4.0), pose=pose_of((QUARTER, 0, 0)))
    np.testing.assert_allclose(turned[0], [0, 1, 0], atol=1e-6)
    np.testing.assert_allclose(turned[1], [0, 1, 1], atol=1e-6)  # one above the root, now one in front of it


def test_the_jaw_turns_about_its_joint_and_moves_nothing_else():
    assets = small_head(joint_regressor=moved_jaw_joint())
    turned = posed(assets, pose=pose_of(jaw=(QUARTER, 0, 0)))
    template = assets.template_vertices
    np.testing.assert_allclose(turned[[0, 1, 2, 3, 5]], template[[0, 1, 2, 3, 5]], atol=1e-6)
    # The joint is now the neck's, (0, 1, 0); the jaw vertex was one in front of it and swings down.
    np.testing.assert_allclose(turned[4], [0, 0, 0], atol=1e-6)


def moved_jaw_joint() -> np.ndarray:
    regressor = small_head().joint_regressor.copy()
    regressor[2] = regressor[1]
    return regressor


def test_the_jaw_turns_after_the_head_did():
    assets = small_head(joint_regressor=moved_jaw_joint())
    turned = posed(assets, pose=pose_of((0, QUARTER, 0), (QUARTER, 0, 0)))
    np.testing.assert_allclose(turned[4], [0, 0, 0], atol=1e-6)
    turned = posed(assets, pose=pose_of((0, QUARTER, 0), (0, QUARTER, 0)))
    np.testing.assert_allclose(turned[4], [0, 1, -1], atol=1e-6)  # two quarter turns


def test_expressions_move_the_joints_too():
    # The jaw joint sits on vertex 4, so that the vertex never leaves it however the jaw turns.
    turned = posed(expression=(8.0,), pose=pose_of(jaw=(1.0, 0.5, 0.2)))
    np.testing.assert_allclose(turned[4], [0, 1, 2], atol=1e-6)


def test_half_weights_give_the_mean_of_both_rigid_motions():
    assets = small_head(joint_regressor=moved_jaw_joint())
    weights = assets.skin_weights.copy()
    weights[4] = [0, 0.5, 0.5, 0, 0]
    turned = posed(
        small_head(joint_regressor=moved_jaw_joint(), skin_weights=weights), pose=pose_of(jaw=(QUARTER, 0, 0))
    )
    np.testing.assert_allclose(turned[4], [0, 0.5, 0.5], atol=1e-6)  # halfway from (0, 1, 1) to (0, 0, 0)


def test_eyes_and_neck_turn_when_asked():
    eye = posed(eye_pose=torch.tensor([[0.0, 0.3, 0, 0, 0, 0]]))
    np.testing.assert_allclose(
        eye, small_head().template_vertices, atol=1e-6
    )  # the eye vertex lies in its joint
    neck = posed(neck_pose=torch.tensor([[QUARTER, 0.0, 0]]))
    np.testing.assert_allclose(neck[[0, 3]], [[0, 0, 0], [1, 0, 0]], atol=1e-6)  # on the root: they stay
    np.testing.assert_allclose(neck[2], [-1, 0, 1], atol=1e-6)  # (-1, 1, 1) from the neck becomes (-1, -1, 1)


def test_pose_correctives_follow_the_rotation_matrices_row_by_row():
    basis = np.zeros((36, 18), dtype=np.float32)
    basis[9 + 3 * 1 + 2, 3 * 3 + 1] = 2.0  # jaw (second after the root), row 1, column 2 -> vertex 3, y
    turned = posed(small_head(pose_basis=basis), pose=pose_of(jaw=(QUARTER, 0, 0)))
    # A quarter turn about x has -1 in row 1, column 2, where the identity has 0.
    np.testing.assert_allclose(turned[3], [1, -2, 0], atol=1e-6)


def plain_forward(assets, shape, expression, pose, eye_pose, neck_pose) -> np.ndarray:
    """Spec section 4 for one head, in float64, with loops."""
    rotations = [np.eye(3)] * 5
    for joint, vector in enumerate([pose[:3], neck_pose, pose[3:], eye_pose[:3], eye_pose[3:]]):
        rotations[joint] = axis_angle_to_matrix(torch.tensor(vector, dtype=torch.float64)).numpy()
    codes = np.concatenate([shape, expression])
    basis = np.concatenate([assets.shape_basis, assets.expression_basis], axis=2).astype(np.float64)
    vertices = assets.template_vertices + basis @ codes
    joints = assets.joint_regressor.astype(np.float64) @ vertices
    feature = np.concatenate([(rotation - np.eye(3)).ravel() for rotation in rotations[1:]])
    vertices = vertices + (feature @ assets.pose_basis).reshape(-1, 3)
    result = np.zeros_like(vertices)
    for joint in range(5):
        chain = np.eye(4)
        step = joint
        while step >= 0:
            parent = assets.parents[step]
            local = np.eye(4)
            local[:3, :3] = rotations[step]
            local[:3, 3] = joints[step] - (joints[parent] if parent >= 0 else 0)
            chain = local @ chain
            step = parent
        moved = (vertices - joints[joint]) @ chain[:3, :3].T + chain[:3, 3]
        result += assets.skin_weights[:, joint : joint + 1] * moved
    return result


def random_codes(batch: int, seed: int = 1) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    sizes = {"shape": 5, "expression": 4, "pose": 6, "eye_pose": 6, "neck_pose": 3}
    return {name: torch.randn(batch, size, generator=generator) for name, size in sizes.items()}


def test_a_batch_of_random_heads_equals_the_plain_computation():
    assets, codes = random_head(), random_codes(3)
    vertices = HeadModel(assets)(**codes)
    for number in range(3):
        expected = plain_forward(
            assets, **{name: code[number].numpy().astype(float) for name, code in codes.items()}
        )
        np.testing.assert_allclose(vertices[number], expected, atol=3e-6)


def test_heads_without_pose_correctives_lack_only_those():
    assets, codes = random_head(), random_codes(1)
    zeroed = HeadModel(random_head_with(pose_basis=np.zeros_like(assets.pose_basis)))(**codes)
    without = HeadModel(random_head_with(pose_basis=assets.pose_basis[:0]))(**codes)
    torch.testing.assert_close(without, zeroed, rtol=0, atol=0)


def random_head_with(**changes: object) -> HeadAssets:
    return dataclasses.replace(random_head(), **changes)


def test_gradients_reach_every_code_also_at_rest():
    model = HeadModel(random_head())
    codes = {
        name: torch.zeros(1, code.shape[1], requires_grad=True) for name, code in random_codes(1).items()
    }
    target = torch.randn(1, 40, 3, generator=torch.Generator().manual_seed(0))
    (model(**codes) * target).sum().backward()
    for name, code in codes.items():
        assert torch.isfinite(code.grad).all(), name
        assert (code.grad != 0).all(), name


def test_gradients_of_the_pose_equal_finite_differences():
    model = HeadModel(random_head()).double()
    codes = {name: code.double() for name, code in random_codes(1).items()}
    model.full_pose = (
        lambda pose, eyes, neck: torch.stack(  # the model rounds to float32; here it must not
            [pose[:, :3], neck, pose[:, 3:], eyes[:, :3], eyes[:, 3:]], dim=1
        )
    )
    model.unposed = lambda shape, expression: (
        model.template_vertices + (torch.cat([shape, expression], dim=1) @ model.basis).unflatten(1, (40, 3))
    )
    inputs = tuple(code.requires_grad_() for code in codes.values())
    assert torch.autograd.gradcheck(lambda *values: model(*values).sin().sum(), inputs)


def test_half_precision_training_does_not_touch_the_geometry():
    model, codes = HeadModel(random_head()), random_codes(2)
    expected = model(**codes)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(model(**codes), expected, rtol=0, atol=0)


def test_a_pose_for_a_joint_the_head_lacks_is_refused():
    names = ("root", "neck", "jaw", "left", "right")
    with pytest.raises(ValueError, match="eye_left"):
        posed(small_head(joint_names=names), eye_pose=torch.zeros(1, 6))


def test_landmarks_are_mixed_from_the_corners_of_their_triangles():
    model = HeadModel(small_head())
    vertices = model.template_vertices[None]
    sets = model.landmarks(vertices, pose_of())
    # Inner point 0 lies between the first two corners of triangle 0, inner point 4 between the corners 2 and 3 of
    # triangle 1.
    torch.testing.assert_close(sets.contour[0, 17], torch.tensor([0, 0.5, 0]))
    torch.testing.assert_close(sets.contour[0, 17 + 4], torch.tensor([-0.5, 1.5, 1]))
    torch.testing.assert_close(sets.fixed[0, :51], sets.contour[0, 17:])  # numbered alike in this head


def test_each_face_of_a_batch_gets_the_contour_of_its_own_yaw():
    model = HeadModel(random_head())
    vertices = torch.randn(2, 40, 3, generator=torch.Generator().manual_seed(0))
    pose = torch.zeros(2, 6)
    pose[:, 1] = torch.deg2rad(torch.tensor([12.0, -12.0]))
    contour = model.landmarks(vertices, pose).contour[:, :17]
    for face, row in ((0, 12), (1, 51)):
        corners = model.contour_corners[row]
        expected = (vertices[face, corners] * model.contour_barycentrics[row][..., None]).sum(dim=1)
        torch.testing.assert_close(contour[face], expected)


def test_a_turned_neck_counts_for_the_contour():
    model = HeadModel(random_head())
    vertices = torch.randn(1, 40, 3, generator=torch.Generator().manual_seed(0))
    half, whole = torch.zeros(1, 6), torch.zeros(1, 6)
    half[0, 1], whole[0, 1] = 0.25, 0.5
    by_neck = model.landmarks(vertices, half, neck_pose=half[:, :3])
    torch.testing.assert_close(by_neck.contour, model.landmarks(vertices, whole).contour)


@pytest.mark.parametrize(
    ("yaw", "row"),
    [
        (0, 0),
        (0.4, 0),
        (0.6, 1),
        (12, 12),
        (38.7, 39),
        (39, 39),
        (40, 39),
        (60, 39),
        (120, 39),
        (150, 30),
        (-0.4, 0),
        (-1, 40),
        (-12, 51),
        (-38, 77),
        (-39, 78),
        (-41, 78),
        (-90, 78),
        (-150, 69),
    ],
)
def test_contour_rows_follow_the_yaw(yaw: float, row: int):
    rotation = axis_angle_to_matrix(torch.tensor([[0, math.radians(yaw), 0]]))
    assert contour_row(rotation).tolist() == [row]


def test_pitch_and_roll_leave_the_contour_row_alone():
    rotations = axis_angle_to_matrix(torch.tensor([[0.5, 0, 0], [0, 0, -0.7]]))
    assert contour_row(rotations).tolist() == [0, 0]


def test_albedo_is_mean_plus_components():
    assets = random_albedo()
    codes = np.array([[0, 0, 0], [1, -2, 0.5]], dtype=np.float32)
    colours = Albedo(assets)(torch.from_numpy(codes)).numpy()
    np.testing.assert_array_equal(colours[0], assets.mean)
    np.testing.assert_allclose(colours[1], assets.mean + assets.basis @ codes[1], atol=1e-6)
