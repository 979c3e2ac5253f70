"""Expressions of one head in the coefficients of another."""

import dataclasses

import numpy as np
import pytest
import torch

from deca_cli.animate.correspondence import bend, correspond, landmarks, similarity, skin
from deca_cli.animate.mapping import deformations, fit_to, retarget, within
from deca_cli.animate.motion import expression_only
from deca_cli.animate.named import named_motion
from deca_cli.animate.spaces import ExpressionSpace, arkit_space

EXPRESSIONS = ("smile", "surprise", "anger", "kiss", "eyes_closed", "laugh", "viseme_oh", "disgust")


@pytest.fixture(scope="module")
def motion():
    return named_motion([{name: 1.0} for name in EXPRESSIONS], EXPRESSIONS)


@pytest.fixture(scope="module")
def twin():
    """The open head as a stranger: vertices in another order, 10 % larger, turned and moved, expressions mixed, no names."""
    head = arkit_space().head
    random = np.random.default_rng(0)
    order = random.permutation(len(head.template_vertices))
    mix = np.linalg.qr(random.normal(size=(52, 52)))[0]
    turn = np.array([[np.cos(0.2), -np.sin(0.2), 0], [np.sin(0.2), np.cos(0.2), 0], [0, 0, 1]]) * 1.1
    basis = np.einsum("dc,vce->vde", turn, head.expression_basis[order]) @ mix
    other = dataclasses.replace(
        head,
        name="twin",
        template_vertices=(head.template_vertices[order] @ turn.T + [0.01, 0.05, 0]).astype(np.float32),
        faces=np.argsort(order)[head.faces].astype(np.int32),
        shape_basis=head.shape_basis[order][:, :, :1],
        expression_basis=basis.astype(np.float32),
        expression_names=(),
        joint_regressor=head.joint_regressor[:, order],
        skin_weights=head.skin_weights[order],
        pose_basis=np.zeros((0, 3 * len(order)), np.float32),
        vertex_regions=None,
        region_names=(),
        mirror_vertices=None,
    )
    return ExpressionSpace("twin", other, None), order, turn


def test_a_strangers_head_takes_the_same_expression(motion, twin):
    """All but a few percent of every deformation arrives; closed eyes are the hardest."""
    space, order, turn = twin
    moved = retarget(motion, space)
    assert moved.expression.shape == (len(EXPRESSIONS), 52)
    face = order[fit_to(space, arkit_space()).match.here]
    wanted = deformations(arkit_space(), motion.expression, motion.jaw)[:, face] @ turn.T
    found = deformations(space, moved.expression, moved.jaw)[:, np.argsort(order)][:, face]
    missed = np.linalg.norm(found - wanted, axis=(1, 2)) / np.linalg.norm(wanted, axis=(1, 2))
    assert missed.max() < 0.12, dict(zip(EXPRESSIONS, missed.tolist(), strict=True))


def test_there_and_back_gives_the_same_faces(motion, twin):
    space, *_ = twin
    back = retarget(retarget(motion, space), arkit_space())
    face = skin(arkit_space().head)
    wanted = deformations(arkit_space(), motion.expression, motion.jaw)[:, face]
    found = deformations(arkit_space(), back.expression, back.jaw)[:, face]
    missed = np.linalg.norm(found - wanted, axis=(1, 2)) / np.linalg.norm(wanted, axis=(1, 2))
    assert missed.max() < 0.2
    assert float(back.expression.min()) >= 0
    assert float(back.expression.max()) <= 1


def test_closed_eyes_are_a_blink_and_not_a_look_down(motion, twin):
    space, *_ = twin
    closed = motion.select(EXPRESSIONS.index("eyes_closed"))
    names = arkit_space().names
    found = dict(
        zip(names, retarget(retarget(closed, space), arkit_space()).expression[0].tolist(), strict=True)
    )
    assert min(found["eyeBlinkLeft"], found["eyeBlinkRight"]) > 0.7
    assert max(found["eyeLookDownLeft"], found["eyeLookDownRight"]) < 0.1


def test_a_jaw_joint_opens_the_mouth_of_a_head_without_names(twin):
    """The stranger opens its mouth by its jaw's rotation; in ARKit's terms that is jawOpen."""
    space, *_ = twin
    opened = dataclasses.replace(
        expression_only(space, torch.zeros(1, 52)), jaw=torch.tensor([[0.3, 0.0, 0.0]])
    )
    names = arkit_space().names
    found = dict(zip(names, retarget(opened, arkit_space()).expression[0].tolist(), strict=True))
    assert found["jawOpen"] > 0.4
    assert found["eyeBlinkLeft"] < 0.1


def test_named_heads_exchange_coefficients_by_name(motion):
    head = arkit_space().head
    few = dataclasses.replace(
        head, expression_names=("jawOpen", "frownOfMine"), expression_basis=head.expression_basis[..., :2]
    )
    moved = retarget(motion, ExpressionSpace("few", few, (0.0, 1.0)))
    jaw = motion.expression[:, arkit_space().names.index("jawOpen")]
    assert torch.equal(moved.expression, torch.stack([jaw, torch.zeros_like(jaw)], dim=1))


def test_the_same_space_is_left_alone(motion):
    assert retarget(motion, arkit_space()) is motion


def test_a_similarity_is_found_exactly():
    random = np.random.default_rng(1)
    points = random.normal(size=(20, 3))
    rotation = np.linalg.qr(random.normal(size=(3, 3)))[0]
    rotation *= np.sign(np.linalg.det(rotation))
    turn, shift = similarity(points, points @ (1.7 * rotation).T + [1, 2, 3])
    np.testing.assert_allclose(turn, 1.7 * rotation, atol=1e-9)
    np.testing.assert_allclose(shift, [1, 2, 3], atol=1e-9)


def test_bending_takes_landmarks_to_their_goals_and_an_affine_change_everywhere():
    random = np.random.default_rng(2)
    marks, points = random.normal(size=(30, 3)), random.normal(size=(100, 3))
    change = np.eye(3) + 0.1 * random.normal(size=(3, 3))
    np.testing.assert_allclose(bend(points, marks, marks @ change.T), points @ change.T, atol=1e-6)
    goals = marks + 0.05 * random.normal(size=marks.shape)
    assert np.abs(bend(marks, marks, goals) - goals).max() < 0.01


def test_lips_take_the_motion_of_their_own_side(twin):
    """Closed lips touch; the upper one must not find its partner on the lower one."""
    space, order, _ = twin
    match = correspond(arkit_space().head, space.head)
    partner = order[match.there[:, 0]]  # which vertex of the open head was found for each of its own
    lips = np.isin(match.here, arkit_space().head.region("lips"))
    assert lips.sum() > 100
    assert (partner[lips] == match.here[lips]).mean() > 0.95
    assert landmarks(space.head).shape == (68, 3)


def test_limited_least_squares_is_the_best_point_of_the_box():
    random = np.random.default_rng(3)
    matrix = random.normal(size=(30, 6))
    gram, goals = matrix.T @ matrix, 3 * random.normal(size=(5, 6))
    found = within(gram, goals @ gram, np.zeros((5, 6)), (0.0, 1.0))
    slope = found @ gram - goals @ gram
    inside = (found > 0) & (found < 1)
    assert np.abs(slope[inside]).max() < 1e-3
    assert slope[found == 0].min() > -1e-3
    assert slope[found == 1].max() < 1e-3
