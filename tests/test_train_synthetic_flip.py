"""Flip consistency: exact mirrors cost nothing, a swapped name or a wrong sign does, and off means not computed."""

from __future__ import annotations

from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from deca_cli.errors import ModelError, UsageError
from deca_cli.heads.albedo import Albedo
from deca_cli.heads.assets import load_head
from deca_cli.heads.model import HeadModel
from deca_cli.heads.rotations import axis_angle_to_matrix, rotation_6d_to_matrix
from deca_cli.networks.layout import layout_width, split_raw
from deca_cli.train.settings import LossWeights, SyntheticSettings
from deca_cli.train.synthetic_appearance import FaceColours
from deca_cli.train.synthetic_config import load_settings, settings_text
from deca_cli.train.synthetic_flip import FlipConsistency, flipped_count, mirrored_names, with_mirrored
from deca_cli.train.synthetic_network import Answer, synthetic_layout
from deca_cli.train.synthetic_objective import SyntheticObjective

HEAD_FILE = Path(str(files("deca_cli.packs") / "open" / "head.npz"))
X = np.array([-1.0, 1.0, 1.0], np.float32)
WEIGHTS = LossWeights(flip=0.5)


def symmetric_assets():
    """The open head, its basis symmetric to the last bit, and the sign of each shape component under mirroring."""
    assets, colours = load_head(HEAD_FILE)
    across, names = assets.mirror_vertices, list(assets.expression_names)

    def mirrored(basis: np.ndarray) -> np.ndarray:
        return basis[across] * X[:, None]

    other = mirrored(assets.shape_basis)
    signs = np.sign((assets.shape_basis * other).sum((0, 1)))
    expression = (
        assets.expression_basis + mirrored(assets.expression_basis)[:, :, mirrored_names(names)]
    ) / 2
    template = (assets.template_vertices + assets.template_vertices[across] * X) / 2
    regressor = (assets.joint_regressor[:1] + assets.joint_regressor[:1, across]) / 2
    regressor = np.concatenate([regressor, assets.joint_regressor[1:]])
    exact = replace(
        assets,
        template_vertices=template,
        shape_basis=(assets.shape_basis + signs * other) / 2,
        expression_basis=expression,
        joint_regressor=regressor,
    )
    return exact, colours, signs


@pytest.fixture(scope="module")
def setup():
    """Flip loss of a symmetric head, answers about two pictures, and those about their mirror images."""
    assets, colours, signs = symmetric_assets()
    head, albedo = HeadModel(assets), Albedo(colours)
    face = torch.arange(0, head.vertex_count, 3)
    layout = synthetic_layout(head, albedo.components, 0)
    objective = SyntheticObjective(head, face, layout, WEIGHTS, torch.ones(head.expression_size))
    objective.flip = FlipConsistency(
        head, assets.mirror_vertices, face, WEIGHTS, objective.place, FaceColours(head, albedo, face)
    )
    random = torch.Generator().manual_seed(0)
    matrix = axis_angle_to_matrix(torch.tensor([[0.2, 0.7, -0.3], [-0.4, -0.1, 0.5]]))
    raw = torch.randn(2, layout_width(layout), generator=random)
    seen = split_raw(raw, layout)
    seen["expression"] = seen["expression"].sigmoid()
    seen["log_camera"] = torch.tensor([[2.4, 0.1, -0.2], [2.2, -0.3, 0.05]])
    seen["rotation_6d"] = as_6d(matrix)
    flip = torch.tensor(X)
    mirrored = dict(seen)
    mirrored["shape"] = seen["shape"] * torch.tensor(signs)
    mirrored["expression"] = seen["expression"][:, mirrored_names(list(head.expression_names))]
    mirrored["rotation_6d"] = as_6d(matrix * flip[:, None] * flip)
    mirrored["log_camera"] = seen["log_camera"] * torch.tensor([1.0, -1.0, 1.0])
    return objective, seen, mirrored


def as_6d(matrix):
    """The six numbers that decode to this rotation, whichever way round they are kept."""
    for candidate in (matrix[:, :, :2].mT.flatten(1), matrix[:, :, :2].flatten(1), matrix[:, :2].flatten(1)):
        if torch.allclose(rotation_6d_to_matrix(candidate), matrix, atol=1e-5):
            return candidate
    raise AssertionError


def test_exact_mirrors_cost_nothing(setup):
    objective, seen, mirrored = setup
    assert objective.flip(seen, mirrored).max() < 1e-4
    assert objective.flip(seen, seen).min() > 0.5


@pytest.mark.parametrize("name", ["shape", "expression", "rotation_6d", "log_camera"])
def test_each_answer_that_is_not_mirrored_costs_something(setup, name):
    objective, seen, mirrored = setup
    assert objective.flip(seen, {**mirrored, name: seen[name]}).min() > 0.01


def test_another_skin_tone_of_the_mirrored_picture_costs_something(setup):
    objective, seen, mirrored = setup
    assert objective.flip(seen, {**mirrored, "albedo": seen["albedo"] + 1}).min() > 0.001


def test_a_wink_with_the_sides_confused_costs_something(setup):
    objective, seen, mirrored = setup
    names = list(objective.head.expression_names)
    left, right = names.index("eyeBlinkLeft"), names.index("eyeBlinkRight")
    wink = {**seen, "expression": torch.zeros_like(seen["expression"])}
    wink["expression"][:, left] = 1
    right_one = {**mirrored, "expression": torch.zeros_like(seen["expression"])}
    right_one["expression"][:, right] = 1
    assert objective.flip(wink, right_one).max() < 1e-4
    wrong_one = {**right_one, "expression": wink["expression"]}
    assert objective.flip(wink, wrong_one).min() > 0.005


def test_names_are_paired_with_those_of_the_other_side():
    assert mirrored_names(["jawOpen", "jawLeft", "jawRight"]) == [0, 2, 1]
    with pytest.raises(UsageError, match="jawRight"):
        mirrored_names(["jawLeft", "jawOpen"])


def test_a_head_without_a_table_of_mirrored_vertices_is_refused(setup):
    objective = setup[0]
    with pytest.raises(ModelError, match="mirror_vertices"):
        FlipConsistency(objective.head, None, objective.face_vertices, WEIGHTS, objective.place)


def test_pictures_are_mirrored_from_left_to_right():
    images = torch.arange(24.0).reshape(2, 1, 3, 4)
    shown = with_mirrored(images, 1)
    assert torch.equal(shown[:2], images)
    assert torch.equal(shown[2, 0, 1], images[0, 0, 1].flip(0))
    assert with_mirrored(images, 0) is images


def test_how_many_pictures_are_mirrored():
    settings = SyntheticSettings(batch_size=10, flip_share=0.3)
    assert flipped_count(settings) == 0
    assert flipped_count(replace(settings, weights=WEIGHTS)) == 3


def test_settings_of_mirrored_pictures():
    settings = load_settings(options=["weights.flip=0.5", "flip_share=0.5"])
    assert (settings.weights.flip, settings.flip_share) == (0.5, 0.5)
    assert "flip_share: 0.5" in settings_text(settings)
    for wrong in ("flip_share=0", "flip_share=1.5", "weights.flip=-1"):
        with pytest.raises(UsageError, match="flip"):
            load_settings(options=[wrong])


def test_both_answers_get_the_gradient_and_pictures_without_a_face_do_not_count(setup, monkeypatch):
    objective, seen, mirrored = setup
    names = [name for name, _ in objective.layout]
    raw = torch.cat([torch.cat([p[n] for n in names], 1) for p in (seen, mirrored)]) + 0.01
    raw.requires_grad_()
    monkeypatch.setattr(objective, "_terms", lambda *_: {})
    monkeypatch.setattr(objective, "landmark_error", lambda *_: torch.zeros(()))
    batch = SimpleNamespace(images=torch.zeros(2, 3, 8, 8), is_face=torch.tensor([1.0, 0.0]))
    _, means = objective(Answer(raw, torch.zeros(4, 1, 3), None), batch)
    (gradient,) = torch.autograd.grad(means["flip"], raw)
    assert (gradient.abs().amax(1) > 0).tolist() == [True, False, True, False]
    _, means = objective(Answer(raw[:2], torch.zeros(2, 1, 3), None), batch)
    assert "flip" not in means
