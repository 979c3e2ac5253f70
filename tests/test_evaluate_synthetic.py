"""`deca evaluate synthetic`: the truth itself scores nothing off, and numbers mean what their names say."""

from __future__ import annotations

from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import torch

from deca_cli.errors import ModelError
from deca_cli.evaluate.synthetic import FaceRows, SyntheticResult, TruthRequest, evaluate_synthetic
from deca_cli.evaluate.synthetic_report import cautions, colour_numbers, expression_numbers, landmark_numbers
from deca_cli.evaluate.synthetic_scans import ScanErrors, measure_scans
from deca_cli.evaluate.synthetic_wrinkles import Wrinkles
from deca_cli.heads.assets import load_head
from deca_cli.heads.model import HeadModel
from deca_cli.packs.store import load_pack
from deca_cli.synthetic.draws import Draws
from deca_cli.synthetic.generator import SyntheticBatch
from stand_in import make_pack

HEAD_FILE = Path(str(files("deca_cli.packs") / "open" / "head.npz"))


@pytest.fixture(scope="module")
def head() -> HeadModel:
    return HeadModel(load_head(HEAD_FILE)[0])


@pytest.fixture(scope="module")
def batch(head: HeadModel) -> SyntheticBatch:
    """Two faces with ripples on their skin; no picture is needed to compare shapes."""
    draws = Draws(0)
    ripples = 3e-4 * torch.sin(torch.arange(256.0) / 3).expand(2, 1, 256, 256)
    nothing = torch.zeros(2)
    return SyntheticBatch(
        images=nothing,
        shape=draws.normal(2, head.shape_size),
        expression=draws.uniform(2, 52, high=0.2),
        rotation=nothing,
        vertices=nothing,
        projected=nothing,
        landmarks=nothing,
        is_face=torch.ones(2),
        skin_mask=nothing,
        albedo=nothing,
        light=nothing,
        person=nothing,
        displacement=ripples,
        other_expression=draws.uniform(2, 52, high=0.2),
        other_displacement=0.5 * ripples,
    )


def test_the_true_wrinkles_turn_no_normal_and_no_wrinkles_leave_the_whole_angle(head, batch):
    truth = {"shape": batch.shape, "expression": batch.expression}
    right = Wrinkles(head)
    right.add(batch, truth, batch.displacement, batch.other_displacement)
    found = right.errors()
    assert found.true_shape_detail < 0.05
    assert found.whole_detail < 0.05
    assert found.height_detail == 0
    assert found.true_shape_coarse > 2
    assert found.reduction("true_shape") > 98
    flat = Wrinkles(head)
    flat.add(batch, truth, torch.zeros_like(batch.displacement), torch.zeros_like(batch.displacement))
    none = flat.errors()
    assert none.reduction("true_shape") == pytest.approx(0, abs=0.1)
    assert none.reduction("other_expression") == pytest.approx(0, abs=0.1)
    assert none.height_detail == pytest.approx(none.height_coarse)
    assert found.height_coarse == pytest.approx(0.3 * 2 / np.pi, rel=0.05)  # mean of |sin|, mm


def test_scans_of_the_truth_lie_on_the_truth(head, batch):
    codes = {"shape": batch.shape, "expression": batch.expression}
    found = measure_scans(head, [(batch, codes, batch.displacement)], 1, lambda _: None)
    assert found.faces == 1
    assert found.neutral.mean < 0.01
    assert found.pictured_detail.mean < 0.01
    assert 0.1 < found.pictured_coarse.mean < 0.3  # the ripples themselves
    others = {"shape": -batch.shape, "expression": batch.expression}
    wrong = measure_scans(head, [(batch, others, None)], 1, lambda _: None)
    assert wrong.neutral.mean > 1
    assert wrong.pictured_detail is None


def rows(**changes: np.ndarray) -> FaceRows:
    plain = np.linspace(0, 1, 9)
    values = {
        "nme": np.full(9, 2.0),
        "yaw": np.array([0, 10, -20, 35, -45, 50, 70, -80, 89.0]),
        "expression": np.stack([plain / 2, np.zeros(9)], 1),
        "true_expression": np.stack([plain, plain], 1),
        "tone": 0.3 + plain / 2,
        "true_tone": plain,
        "picture": np.full(9, 0.1),
    }
    return FaceRows(**values | changes)


def test_landmarks_are_sorted_by_how_far_the_head_is_turned():
    found = landmark_numbers(rows(nme=np.array([1, 1, 1, 2, 2, 2, 3, 3, 12.0])))
    assert [found[name]["mean"] for name in ("0-30°", "30-60°", "60-90°")] == [1, 2, 6]
    assert found["60-90°"]["failures"] == pytest.approx(100 / 3)
    assert found["all"]["faces"] == 9


def test_tone_and_expression_are_compared_as_wholes():
    found = colour_numbers(rows(nme=np.array([3, 3, 3, 2, 2, 2, 2, 2, 2.0])))
    assert found["tone_correlation"] == pytest.approx(1)
    assert found["nme_difference_percent"] == pytest.approx(50)
    answers = expression_numbers(rows(), ("half", "never"))
    assert answers["half"]["correlation"] == pytest.approx(1)
    assert answers["half"]["slope"] == pytest.approx(0.5)
    assert np.isnan(answers["never"]["correlation"])


def measured(faces: int, scans: int, **changes: np.ndarray) -> SyntheticResult:
    many = {
        name: np.resize(value, (faces, *value.shape[1:])) for name, value in vars(rows(**changes)).items()
    }
    return SyntheticResult(FaceRows(**many), ("half", "never"), None, ScanErrors(scans, None, None, None))


def test_small_samples_are_named_with_how_much_they_may_be_off():
    few, rough = cautions(measured(4, 5))
    assert "Few faces (4)" in few
    assert "50 % of the spread" in few
    assert "Few scans (5)" in rough
    assert cautions(measured(512, 48)) == cautions(measured(512, 0)) == []
    frontal = cautions(measured(512, 48, yaw=np.r_[np.zeros(99), 70.0]))  # five are turned
    assert len(frontal) == 1
    assert "60-90°" in frontal[0]


def test_a_head_without_named_parts_cannot_be_drawn(tmp_path):
    pack = load_pack(make_pack(tmp_path / "pack"))
    assert not replace(pack.assets, region_names=()).region_names
    with pytest.raises(ModelError, match="no named parts"):
        evaluate_synthetic(pack, TruthRequest(faces=2, scans=0), lambda *_: None)
