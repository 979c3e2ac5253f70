"""How the generator's people look: lips, age, lashes, gaze, and skin in front of cameras that expose for the light."""

from __future__ import annotations

from dataclasses import fields, replace
from importlib.resources import files
from pathlib import Path

import pytest
import torch

from deca_cli.heads.assets import load_head
from deca_cli.heads.model import HeadModel
from deca_cli.synthetic.ageing import age_colours
from deca_cli.synthetic.draws import Draws
from deca_cli.synthetic.exposure import ExposureShares, develop, sample_exposure
from deca_cli.synthetic.expressions import GAZE_DEGREES, ExpressionSampler
from deca_cli.synthetic.generator import FaceGenerator
from deca_cli.synthetic.head_lip_actions import _narrowing
from deca_cli.synthetic.lip_heights import LEAST, LipHeights
from deca_cli.synthetic.parts import find_parts
from deca_cli.synthetic.sampling import PoseRange, rotation_from_degrees
from deca_cli.synthetic.settings import GeneratorSettings
from deca_cli.synthetic.skin_style import SkinShares, sample_skin

HEAD_FILE = Path(str(files("deca_cli.packs") / "open" / "head.npz"))
SMALL = GeneratorSettings(
    image_size=64, texture_size=64, shadow_size=32, background_textures=6, wrinkle_share=0.0, degrade=False
)


@pytest.fixture(scope="module")
def open_head():
    assets, _ = load_head(HEAD_FILE)
    head = HeadModel(assets)
    return head, find_parts(head, assets, SMALL.texture_size)


def test_thin_lips_are_thin_on_the_mesh_and_the_other_half_of_the_people_keeps_theirs(open_head):
    head = open_head[0]
    heights, shape = LipHeights(head), Draws(1).normal(200, head.shape_size)
    thinned = heights.thin(Draws(2), shape, 0.5)
    kept = (thinned == shape).all(1)
    assert 0.35 < kept.float().mean() < 0.65
    marks = head.on_landmarks(head.unposed(thinned, torch.zeros(200, len(head.expression_names))))
    upper = marks[:, 51, 1] - marks[:, 62, 1]
    assert torch.allclose(upper, heights.of(thinned)[:, 0], atol=1e-6)
    assert (heights.of(thinned) <= heights.of(shape) + 1e-6).all()
    assert heights.of(thinned)[heights.of(shape) > LEAST].min() > LEAST - 1e-5
    assert upper[~kept].mean() < heights.of(shape)[~kept, 0].mean() - 0.0015
    assert torch.equal(heights.thin(Draws(2), shape, 0.0), shape)


def test_thin_lips_hardly_change_the_rest_of_the_face(open_head):
    head = open_head[0]
    heights, shape = LipHeights(head), torch.zeros(1, head.shape_size)
    thinned = shape - torch.tensor([[0.002, 0.002]]) @ heights.codes
    still = torch.zeros(1, len(head.expression_names))
    before, after = (head.on_landmarks(head.unposed(code, still))[0] for code in (shape, thinned))
    moved = (after - before).norm(dim=1)
    assert moved[17:48].max() < 0.0012  # brows, nose, eyes


def test_rounded_lips_draw_the_corners_inwards_evenly_and_leave_cheeks_and_the_middle_where_they_are(
    open_head,
):
    head = open_head[0]
    marks = head.on_landmarks(head.template_vertices[None])[0].numpy()
    moved = _narrowing(marks[:, 0], marks[:, 1], marks)
    assert moved[54] == pytest.approx(-1.0, abs=0.01)
    assert moved[48] == pytest.approx(1.0, abs=0.01)  # -x is the subject's right
    assert abs(moved[[51, 57, 62, 66]]).max() < 0.03
    assert abs(moved[[*range(6), *range(11, 17), *range(17, 31)]]).max() < 0.12
    assert (moved[[52, 53]] < 0).all()


def test_old_people_get_grey_and_young_ones_stay_as_they_are():
    skin, draws = sample_skin(Draws(0), 300, SkinShares(brows=1.0)), Draws(1)
    young = age_colours(draws, skin, torch.full((300,), 0.3), 1.0)
    nobody = age_colours(draws, skin, torch.ones(300), 0.0)
    for field in fields(skin):
        assert torch.equal(getattr(young, field.name), getattr(skin, field.name)), field.name
        assert torch.equal(getattr(nobody, field.name), getattr(skin, field.name)), field.name
    old = age_colours(draws, skin, torch.ones(300), 1.0)
    saturation = [(c.amax(1) - c.amin(1)) / c.amax(1) for c in (skin.scalp_colour, old.scalp_colour)]
    assert saturation[1].mean() < 0.5 * saturation[0].mean()
    assert (old.brow_density <= skin.brow_density).all()


def test_half_of_the_people_look_into_the_camera_whichever_way_they_are_turned(open_head):
    names = list(open_head[0].expression_names)
    sampler = ExpressionSampler(names, "cpu")
    zero = torch.zeros(400)
    turned = rotation_from_degrees(torch.full((400,), 15.0), zero, zero)  # to image right, the subject's left
    drawn = sampler.sample(Draws(0), 400, turned)
    wanted = 15.0 / GAZE_DEGREES["side"]  # back to the subject's right
    to_right = drawn[:, names.index("eyeLookOutRight")]
    assert ((to_right - wanted).abs() < 0.2).float().mean() > 0.4
    assert torch.equal(to_right, drawn[:, names.index("eyeLookInLeft")])


def test_the_eyes_of_the_mesh_turn_as_far_as_the_gaze_is_meant(open_head):
    head, parts = open_head
    at_rest = parts.eye_directions[:, 2] > 0.8
    for name, axis, degrees in (
        ("eyeLookOutLeft", 0, GAZE_DEGREES["side"]),
        ("eyeLookUpLeft", 1, GAZE_DEGREES["up"]),
        ("eyeLookDownLeft", 1, -GAZE_DEGREES["down"]),
    ):
        code = torch.zeros(1, len(head.expression_names))
        code[0, head.expression_names.index(name)] = 1.0
        looking = head.unposed(torch.zeros(1, head.shape_size), code)[0]
        pupil = at_rest & (head.template_vertices[:, 0] > 0)
        ahead, aside = (
            torch.nn.functional.normalize((points[pupil] - parts.eye_centres[0]).mean(0), dim=0)
            for points in (head.template_vertices, looking)
        )
        turn = torch.rad2deg(torch.atan2(aside[axis], aside[2]) - torch.atan2(ahead[axis], ahead[2]))
        assert turn == pytest.approx(degrees, abs=1.0)


def test_lashes_darken_the_rims_of_the_eyes_and_nothing_else(open_head):
    frontal = PoseRange(0, 0, 0, uniform_share=0)
    clean = {
        "hair_share": 0.0,
        "glasses_share": 0.0,
        "hand_share": 0.0,
        "object_share": 0.0,
        "patch_share": 0.0,
    }
    pictures = []
    for lashes in (0.0, 1.0):
        settings = replace(SMALL, pose=frontal, no_face_share=0.0, skin=SkinShares(lashes=lashes), **clean)
        pictures.append(FaceGenerator(*open_head, settings, 3).batch(6))
    without, with_them = pictures
    change = (without.images - with_them.images).amax(1)
    grid = (torch.arange(64) * 2 + 1) / 64 - 1
    pixels = torch.stack(torch.meshgrid(grid, grid, indexing="xy"), -1)
    eyes = with_them.landmarks[:, 36:48]
    away = (pixels[None, :, :, None] - eyes[:, None, None]).norm(dim=-1).amin(-1)
    assert change[away < 0.05].mean() > 0.012
    assert change[away > 0.12].abs().mean() < 1e-3


def test_dark_skin_stays_darker_than_light_skin_in_front_of_the_same_camera():
    """Faces of two tones that fill two thirds of the picture, under the same lights of very different strength."""
    count = 400
    strength = Draws(5).log_uniform(count, low=0.1, high=3.0)[:, None]
    levels = []
    for tone in (0.05, 0.40):
        linear = torch.full((count, 3, 4, 6), 0.2)
        linear[..., :4] = tone
        exposure = sample_exposure(Draws(0), linear * strength[..., None, None], strength.expand(-1, 3))
        levels.append(develop(linear * strength[..., None, None], exposure)[:, :, 0, 0].mean(1))
    dark, light = levels
    assert (light > dark).all()
    assert light.mean() > dark.mean() + 0.2
    wrong_way = (dark[:, None] > light[None]).float().mean()  # of any two pictures
    assert wrong_way < 0.08


def test_white_balance_takes_the_colour_of_the_light_away_but_for_a_share_of_the_pictures():
    linear = torch.full((300, 3, 2, 2), 0.3)
    warm = torch.tensor([1.4, 1.0, 0.6]).expand(300, -1)
    left = []
    for wrong in (0.0, 1.0):
        shares = ExposureShares(grey=0.0, wrong_balance=wrong, tone_curve=0.0)
        gain = sample_exposure(Draws(0), linear * warm[..., None, None], warm, shares).gain * warm
        left.append((gain[:, 0] / gain[:, 2]).log())
    assert left[0].abs().mean() < 0.3
    assert left[1].mean() > left[0].mean() + 0.25
