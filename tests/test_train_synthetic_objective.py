"""Losses of the synthetic stage: by hand, at the truth, and on a batch that is fitted."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from deca_cli.heads.albedo import Albedo
from deca_cli.heads.assets import load_head
from deca_cli.heads.model import HeadModel
from deca_cli.render.lighting import sh_shading
from deca_cli.synthetic.generator import FaceGenerator
from deca_cli.synthetic.parts import HeadParts, find_parts
from deca_cli.train import synthetic_losses as losses
from deca_cli.train.settings import LossWeights, SyntheticSettings
from deca_cli.train.synthetic_appearance import AppearanceObjective, FaceColours
from deca_cli.train.synthetic_detail import DetailObjective, detail_request
from deca_cli.train.synthetic_network import SyntheticNetwork, synthetic_layout
from deca_cli.train.synthetic_pack import request_for
from deca_cli.train.synthetic_setup import make_objective
from test_train_synthetic import HEAD_FILE, miniature


@pytest.fixture(scope="module")
def studio() -> tuple[SyntheticSettings, HeadModel, HeadParts, Albedo]:
    settings = miniature()
    settings = replace(settings, generator=replace(settings.generator, detail=True, no_face_share=0.0))
    assets, colours = load_head(HEAD_FILE)
    head = HeadModel(assets)
    return settings, head, find_parts(head, assets, 64), Albedo(colours)


@pytest.fixture(scope="module")
def drawn(studio):
    """A batch of four pictures of two people, with head, albedo and parts."""
    settings, head, parts, albedo = studio
    return FaceGenerator(head, parts, settings.generator, 3).batch(4, 2), head, parts, albedo


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


def test_training_lowers_the_loss_on_a_fixed_batch(studio):
    """The objective and its gradients: a few steps on one batch must fit it better."""
    torch.manual_seed(0)
    settings, head, parts, albedo = studio
    batch = FaceGenerator(head, parts, settings.generator, 0).batch(8, 2)
    layout = synthetic_layout(head, albedo.components, settings.detail_size)
    network = SyntheticNetwork("resnet18", layout, settings.gradient_shares)
    objective = make_objective(head, albedo, parts, layout, settings)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3)
    seen = []
    for _ in range(12):
        request = request_for(batch, settings)
        loss, means = objective(network(batch.images, request), batch, request)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        seen.append({name: value.item() for name, value in means.items()})
    assert seen[-1]["nme"] < 0.6 * seen[0]["nme"]
    assert seen[-1]["tone_off"] < 0.8 * seen[0]["tone_off"]
    assert seen[-1]["picture_off"] < seen[0]["picture_off"]


def test_points_on_the_face_are_spread_evenly_and_the_albedo_there_is_that_of_the_map(drawn):
    _, head, parts, albedo = drawn
    colours = FaceColours(head, albedo, parts.face_vertices)
    assert len(colours.vertices) == len(set(colours.vertices.tolist())) == 512
    codes = torch.randn(2, albedo.components, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(colours.of(codes), colours.of_maps(albedo(codes)), atol=1e-5, rtol=0)


def test_the_right_light_and_albedo_cost_nothing_but_their_size(drawn):
    batch, head, parts, albedo = drawn
    colours = FaceColours(head, albedo, parts.face_vertices)
    objective = AppearanceObjective(head, colours, LossWeights())
    codes = torch.randn(4, albedo.components, generator=torch.Generator().manual_seed(0))
    _, normals, seen = objective.seen_points(batch)
    assert seen.mean() > 0.05
    shaded = colours.of(codes) * sh_shading(normals[..., None], batch.light)[..., 0]
    right = AppearanceObjective(head, colours, LossWeights())
    right.seen_points = lambda _: (shaded, normals, seen)
    truth = replace(batch, albedo=albedo(codes))
    parts_right = {"albedo": codes, "light": batch.light.flatten(1)}
    terms, values = right(parts_right, truth)
    assert values["tone_off"].max() < 1e-4
    assert values["picture_off"].max() < 1e-4
    assert terms["light_shape"].max() < 1e-6
    brighter = {"albedo": codes, "light": 1.5 * batch.light.flatten(1)}
    assert right(brighter, truth)[0]["photometric"].mean() > 0.1
    assert right(brighter, truth)[0]["light_shape"].max() < 1e-5


def test_points_behind_hair_and_on_the_far_side_are_not_compared(drawn):
    batch, head, parts, albedo = drawn
    objective = AppearanceObjective(head, FaceColours(head, albedo, parts.face_vertices), LossWeights())
    covered = replace(batch, skin_mask=torch.zeros_like(batch.skin_mask))
    assert objective.seen_points(covered)[2].sum() == 0
    _, normals, seen = objective.seen_points(replace(batch, skin_mask=torch.ones_like(batch.skin_mask)))
    assert (normals[:, 2][seen > 0] > 0.3).all()


def test_the_true_displacement_costs_nothing_and_none_at_all_counts_as_1(drawn):
    batch, head, _, _ = drawn
    objective = DetailObjective(head, LossWeights())
    request = detail_request(4, 4, 2, batch.other_expression)
    truth = torch.cat([batch.displacement, batch.other_displacement])
    codes = torch.zeros(4, 8)
    terms, values = objective(truth, codes, batch, request)
    assert terms["displacement"] == 0
    assert terms["slope"] < 1e-5
    terms, values = objective(torch.zeros_like(truth), codes, batch, request)
    assert values["displacement_share"].item() == pytest.approx(1)
    assert terms["slope"] > 0


def test_a_ramp_on_the_chart_has_the_slope_of_its_rise_per_metre(drawn):
    _, head, _, _ = drawn
    objective = DetailObjective(head, LossWeights())
    ramp = 1e-4 * torch.arange(256.0).expand(1, 1, 256, 256)  # 0.1 mm more from each texel to the next
    slopes = objective.slopes(ramp)[0]
    face = head.face_eye_mask[:-1, :-1] > 0.99
    assert slopes[1].abs().max() == 0
    assert 0.04 < slopes[0][face].median() < 0.2  # texels of the face are about a millimetre wide


def test_each_face_is_paired_with_the_next_picture_of_the_same_person():
    request = detail_request(12, 6, 3, torch.zeros(12, 52))
    assert request.rows.tolist() == [0, 1, 2, 3, 4, 5]
    assert request.partners.tolist() == [1, 2, 0, 4, 5, 3]
    alone = detail_request(4, 3, 1, torch.zeros(4, 52))
    assert alone.partners.tolist() == [0, 1, 2]
