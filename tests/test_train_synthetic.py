"""The synthetic stage: losses by hand, schedule, average, and a miniature training run."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import pytest
import torch
from torch import nn

from deca_cli.errors import ModelError, UsageError
from deca_cli.packs.store import load_pack
from deca_cli.train import synthetic_losses as losses
from deca_cli.train.average import MovingAverage
from deca_cli.train.settings import SyntheticSettings
from deca_cli.train.synthetic import learning_rate_at, train_synthetic

HEAD_FILE = Path(str(files("deca_cli.packs") / "open" / "head.npz"))


def miniature(**changes) -> SyntheticSettings:  # noqa: ANN003  # any field of the settings
    settings = SyntheticSettings(max_steps=4, batch_size=4, warmup_steps=1, validation_faces=2)
    generator = replace(
        settings.generator, image_size=64, texture_size=64, shadow_size=32, background_textures=6
    )
    return replace(settings, generator=generator, **changes)


def test_openings_compare_the_gap_between_lids_and_not_their_place():
    truth = torch.zeros(1, 68, 2)
    moved = truth + 0.3
    assert losses.opening_difference(moved, truth).item() == pytest.approx(0, abs=1e-7)
    opened = truth.clone()
    opened[0, 37, 1] = 0.7  # one of seven pairs opens by 0.7 in y
    assert losses.opening_difference(opened, truth).item() == pytest.approx(0.7 / 7 / 2)


def test_coefficients_outside_0_to_1_cost_their_squared_distance():
    assert losses.outside_range(torch.tensor([[0.0, 0.5, 1.0]])).item() == 0
    assert losses.outside_range(torch.tensor([[-0.5, 0.5, 1.2]])).item() == pytest.approx(0.25 + 0.04)


def test_the_likelihood_of_dense_points_is_best_at_the_true_width():
    distance = torch.tensor([[[0.1, 0.0]]])
    widths = torch.linspace(-4, 0, 81)
    values = torch.stack(
        [losses.gaussian_nll(distance, width[None, None], torch.zeros(1, 1, 2))[0] for width in widths]
    )
    # d^2 / (2 s^2) + 2 log s is smallest at s = d / sqrt(2)
    assert widths[values.argmin()].exp().item() == pytest.approx(0.1 / math.sqrt(2), rel=0.06)


def test_the_learning_rate_warms_up_and_ends_at_zero():
    settings = SyntheticSettings(learning_rate=1.0, warmup_steps=10)
    assert learning_rate_at(settings, 0, 0.0) == pytest.approx(0.1)
    assert learning_rate_at(settings, 99, 0.0) == pytest.approx(1.0)
    assert learning_rate_at(settings, 99, 0.5) == pytest.approx(0.5)
    assert learning_rate_at(settings, 99, 1.0) == pytest.approx(0.0)


def test_the_average_follows_the_weights():
    layer = nn.Linear(2, 2)
    average = MovingAverage(layer, decay=0.5)
    before = average.state["weight"].clone()
    with torch.no_grad():
        layer.weight.add_(1.0)
    average.update(layer, step=100)
    assert torch.allclose(average.state["weight"], before + 0.5)


def test_settings_that_make_no_sense_are_refused():
    with pytest.raises(UsageError, match="batch_size"):
        SyntheticSettings(batch_size=1)
    odd_size = replace(SyntheticSettings().generator, image_size=63)
    with pytest.raises(UsageError, match="multiple of 8"):
        SyntheticSettings(generator=odd_size)


def test_a_miniature_run_writes_a_pack_that_loads_and_can_be_continued(tmp_path):
    seen = []
    pack_folder = train_synthetic(HEAD_FILE, tmp_path / "first", miniature(), "cpu", seen.append)
    pack = load_pack(pack_folder)
    assert pack.manifest.provenance["steps"] == 4
    assert seen[-1].step == 4
    assert json.loads((tmp_path / "first" / "log.jsonl").read_text().splitlines()[-1])["step"] == 4
    encoding = pack.deca.encode(torch.zeros(2, 3, 64, 64))
    assert encoding.codes.expression.shape == (2, 52)
    assert encoding.face_score.shape == (2,)
    further = miniature(init=str(pack_folder), max_steps=1, learning_rate=1e-9)
    continued = load_pack(train_synthetic(HEAD_FILE, tmp_path / "second", further, "cpu", seen.append))
    assert continued.manifest.provenance["earlier_steps"] == 4
    for (name, old), new in zip(
        pack.deca.encoder.named_parameters(), continued.deca.encoder.parameters(), strict=True
    ):
        assert torch.allclose(old, new, atol=2e-3), name


def test_a_run_does_not_start_from_another_backbone(tmp_path):
    settings = miniature(max_steps=1)
    pack_folder = train_synthetic(HEAD_FILE, tmp_path / "first", settings, "cpu", lambda _: None)
    with pytest.raises(ModelError, match="same backbone"):
        train_synthetic(
            HEAD_FILE,
            tmp_path / "second",
            replace(settings, init=str(pack_folder), backbone="resnet34"),
            "cpu",
            lambda _: None,
        )


def test_training_lowers_the_loss_on_a_fixed_batch():
    """The objective and its gradients: a few steps on one batch must fit it better."""
    from deca_cli.heads.assets import load_head
    from deca_cli.heads.model import HeadModel
    from deca_cli.synthetic.generator import FaceGenerator
    from deca_cli.synthetic.parts import find_parts
    from deca_cli.train.synthetic_network import SyntheticNetwork, SyntheticObjective, synthetic_layout

    torch.manual_seed(0)
    settings = miniature()
    assets, _ = load_head(HEAD_FILE)
    head = HeadModel(assets)
    parts = find_parts(head, assets, 64)
    batch = FaceGenerator(head, parts, settings.generator, 0).batch(8)
    layout = synthetic_layout(head)
    network = SyntheticNetwork("resnet18", layout)
    objective = SyntheticObjective(head, parts.face_vertices, layout, settings.weights)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3)
    errors = []
    for _ in range(12):
        loss, means = objective(*network(batch.images), batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        errors.append(means["nme"].item())
    assert errors[-1] < 0.6 * errors[0]
