"""Wrinkles: in the right places, on the right side, as deep as the expression, seen in the picture and given as truth."""

from __future__ import annotations

import math
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from deca_cli.heads.assets import load_head
from deca_cli.heads.model import HeadModel
from deca_cli.synthetic.draws import Draws
from deca_cli.synthetic.generator import FaceGenerator
from deca_cli.synthetic.parts import find_parts, uv_values
from deca_cli.synthetic.sampling import PoseRange
from deca_cli.synthetic.settings import GeneratorSettings
from deca_cli.synthetic.wrinkle_shading import SurfaceFrames, bend, cavity, slopes
from deca_cli.synthetic.wrinkle_table import ZONES
from deca_cli.synthetic.wrinkles import LIMIT, Wrinkles, activation

HEAD_FILE = Path(str(files("deca_cli.packs") / "open" / "head.npz"))
FRONTAL = PoseRange(0, 0, 0, uniform_share=0)
BARE = GeneratorSettings(
    image_size=96,
    texture_size=64,
    shadow_size=32,
    background_textures=6,
    pose=FRONTAL,
    hair_share=0,
    glasses_share=0,
    hand_share=0,
    object_share=0,
    patch_share=0,
    crowd_share=0,
    no_face_share=0,
    degrade=False,
    wrinkle_share=1.0,
)
MIDDLE = 3  # columns to either side of the chart's middle where left and right meet


@pytest.fixture(scope="module")
def assets():
    return load_head(HEAD_FILE)[0]


@pytest.fixture(scope="module")
def head(assets):
    return HeadModel(assets)


@pytest.fixture(scope="module")
def parts(head, assets):
    return find_parts(head, assets, 64)


@pytest.fixture(scope="module")
def wrinkles(head, parts):
    return Wrinkles(head, parts, Draws(0))


def expression(head, count=1, **coefficients):  # noqa: ANN003  # names of coefficients
    values = torch.zeros(count, len(head.expression_names))
    for name, value in coefficients.items():
        values[:, head.expression_names.index(name)] = value
    return values


def smooth_at_rest(style):
    return replace(style, rest=torch.zeros_like(style.rest))


def test_skin_without_depth_at_rest_is_smooth_on_a_neutral_face_only(head, wrinkles):
    style = smooth_at_rest(wrinkles.sample(4))
    assert wrinkles.displacement(style, expression(head, 4)).abs().max() == 0
    assert (
        wrinkles.displacement(style, expression(head, 4, browInnerUp=1.0)).abs().amax((1, 2, 3)).min() > 5e-5
    )


def test_people_without_wrinkles_stay_smooth_under_any_expression(head, wrinkles):
    style = wrinkles.sample(4, share=0.0)
    everything = torch.ones(4, len(head.expression_names))
    assert wrinkles.displacement(style, everything).abs().max() == 0
    assert wrinkles.grain(style).abs().max() == 0


@pytest.mark.parametrize("name", ["browDown", "mouthSmile", "cheekSquint", "noseSneer", "mouthFrown"])
def test_a_coefficient_of_one_side_moves_that_side_only(head, wrinkles, name):
    style = wrinkles.sample(6)
    rest = wrinkles.displacement(style, expression(head, 6))
    middle = wrinkles.size // 2
    halves = {"Left": slice(middle + MIDDLE, None), "Right": slice(0, middle - MIDDLE)}
    for side, other in (("Left", "Right"), ("Right", "Left")):
        moved = (wrinkles.displacement(style, expression(head, 6, **{name + side: 1.0})) - rest).abs()
        assert moved[..., halves[other]].max() == 0
        assert moved[..., halves[side]].max() > 5e-5


def test_raised_brows_move_nothing_but_the_forehead(head, wrinkles):
    style = wrinkles.sample(6)
    raised = expression(head, 6, browInnerUp=1.0, browOuterUpLeft=1.0, browOuterUpRight=1.0)
    moved = wrinkles.displacement(style, raised) - wrinkles.displacement(style, expression(head, 6))
    positions, _ = uv_values(head, head.template_vertices, wrinkles.size)
    brow_top = head.on_landmarks(head.template_vertices[None])[0, 17:27, 1].max()
    above = positions[1] > brow_top - 0.004  # lines fade out below their ends
    assert moved[..., ~above].abs().max() == 0
    assert moved[..., above].abs().amax(-1).min() > 5e-5


def test_lips_eyes_and_the_skin_beyond_the_face_stay_as_they_are(assets, head, wrinkles):
    everything = torch.ones(16, len(head.expression_names))
    deepest = wrinkles.displacement(wrinkles.sample(16), everything).abs().amax((0, 1))
    assert deepest[torch.from_numpy(assets.masks["lips"]) > 200].max() == 0
    assert deepest[torch.from_numpy(assets.face_eye_mask) == 0].max() == 0


def test_no_displacement_exceeds_its_bound(head, wrinkles):
    style = wrinkles.sample(16)
    style = replace(style, rest=style.rest * 5)
    deepest = wrinkles.displacement(style, torch.ones(16, len(head.expression_names))).abs().max()
    assert deepest == pytest.approx(LIMIT)


def test_drives_add_up_and_saturate():
    drives = torch.linspace(0, 3, 31)
    folded = activation(drives)
    assert folded[0] == 0
    assert folded[10] == pytest.approx(1.0)
    assert (folded.diff() > 0).all()
    assert folded.max() < 1.35


def test_smile_and_squint_together_fold_the_corners_of_the_eyes_more_than_each_alone(head, wrinkles):
    style = smooth_at_rest(wrinkles.sample(1))
    bank = wrinkles.banks[list(ZONES).index("crows_feet")]
    smile, squint = {"mouthSmileLeft": 0.8}, {"eyeSquintLeft": 0.8}

    def depth(**coefficients) -> float:  # noqa: ANN003
        moved = wrinkles.displacement(style, expression(head, **coefficients))[0, 0]
        return moved[bank.rows, bank.columns][:, -30:].abs().max().item()

    assert depth(**smile, **squint) > 1.2 * max(depth(**smile), depth(**squint)) > 0


def test_the_patterns_are_the_same_for_every_seed_and_the_people_are_not(head, parts, wrinkles):
    other = Wrinkles(head, parts, Draws(1))
    for mine, its in zip(wrinkles.banks, other.banks, strict=True):
        # float32 sums differ in their last bits with the memory they stand in; patterns are 0.1 to 1 mm deep
        torch.testing.assert_close(mine.reliefs, its.reliefs, rtol=1e-3, atol=1e-4)
    first, again, third = (Wrinkles(head, parts, Draws(seed)).sample(5) for seed in (7, 7, 8))
    values = torch.rand(5, len(head.expression_names))
    mine, same, others = (wrinkles.displacement(style, values) for style in (first, again, third))
    torch.testing.assert_close(mine, same, rtol=1e-3, atol=1e-8)
    assert (mine - others).abs().max() > 1e-5


def test_pictures_of_one_person_share_the_skin(wrinkles):
    style = wrinkles.sample(6, per_person=3)
    assert torch.equal(style.variant[0], style.variant[2])
    assert torch.equal(style.rest[3], style.rest[5])
    assert not torch.equal(style.rest[2], style.rest[3])


def test_old_skin_is_more_wrinkled_than_young_skin(head, wrinkles):
    style = wrinkles.sample(300)
    depth = wrinkles.displacement(style, expression(head, 300)).abs().mean((1, 2, 3))
    assert depth[style.age < 0.2].mean() * 10 < depth[style.age > 0.8].mean()


def test_a_slope_turns_the_normal_away_from_the_rise():
    tangents = torch.tensor([2.0, 0, 0, 0, 2.0, 0])[None, :, None, None] * 1e-3  # 2 mm a texel
    normal = torch.tensor([0.0, 0, 1])[None, :, None, None]
    rise = torch.tensor([0.0, 0.2e-3])[None, :, None, None]  # 0.2 mm a texel upwards
    bent = bend(normal, tangents, rise).flatten()
    softened = 0.1 / math.sqrt(1 + 0.1**2)
    assert bent.tolist() == pytest.approx([0, *(F.normalize(torch.tensor([-softened, 1]), dim=0).tolist())])
    assert torch.equal(bend(normal, torch.zeros_like(tangents), rise), normal)


def test_tangents_are_the_steps_from_texel_to_texel(head, parts):
    size = len(parts.detail_mask)
    tangents = SurfaceFrames(head, parts.detail_mask).tangents(head.template_vertices[None])[0]
    maps, _ = uv_values(head, torch.cat([head.template_vertices, tangents], 1), size)
    along = (maps[:3, :, 2:] - maps[:3, :, :-2])[:, 1:-1] / 2
    upwards = (maps[:3, :-2] - maps[:3, 2:])[..., 1:-1] / 2
    inside = -F.max_pool2d(-(parts.detail_mask > 0.5).float()[None], 5, 1, 2)[0, 1:-1, 1:-1] > 0
    for step, tangent in ((along, maps[3:6]), (upwards, maps[6:9])):
        error = (step - tangent[:, 1:-1, 1:-1]).norm(dim=0)[inside]
        assert error.median() < 0.05 * step.norm(dim=0)[inside].median()


def test_a_ridge_on_the_forehead_is_turned_up_on_its_upper_flank(head, parts):
    size = len(parts.detail_mask)
    rows = torch.arange(size, dtype=torch.float32)[:, None].expand(size, size)
    rise = slopes(0.001 * torch.exp(-(((rows - 60) / 2) ** 2))[None, None])
    tangents = SurfaceFrames(head, parts.detail_mask).tangents(head.template_vertices[None])[0]
    over_chart, _ = uv_values(head, tangents, size)
    facing = torch.tensor([0.0, 0, 1])[:, None, None].expand(3, size, size)[None]
    bent = bend(facing, over_chart[None], rise[:, :2])[0, :, :, size // 2]
    assert bent[1, 58] > 0.2
    assert bent[1, 62] < -0.2
    assert cavity(rise[:, 2:]).min() == 1  # a ridge is no valley


def test_the_picture_changes_where_the_relief_is_and_nowhere_else(head, parts):
    generator = FaceGenerator(head, parts, BARE, 2)
    with torch.no_grad():
        scene = generator._compose(4, 1)
        brows = torch.ones(4, len(head.expression_names))
        full = generator.wrinkles.displacement(scene.wrinkles, brows)
        full[:, :, 74:] = 0  # forehead only
        state = generator.draws.stream.get_state()
        pictures = []
        for relief in (full, None):
            generator.draws.stream.set_state(state)
            pictures.append(generator.studio.photograph(replace(scene, relief=relief)))
    changed = (pictures[0] - pictures[1]).abs().amax(1) > 1e-4
    landmarks = head.on_landmarks(scene.to_screen(scene.vertices))
    for index in range(4):
        rows = changed[index].any(1).nonzero().flatten()
        eyes = (landmarks[index, 36:48, 1].min() + 1) / 2 * BARE.image_size
        assert len(rows) > 5
        assert rows.max() < eyes


def test_batches_give_the_truth_of_the_wrinkles_when_asked(head, parts):
    generator = FaceGenerator(head, parts, replace(BARE, detail=True), 3)
    batch = generator.batch(4, per_person=2)
    assert batch.displacement.shape == batch.other_displacement.shape == (4, 1, 256, 256)
    assert batch.other_expression.shape == batch.expression.shape
    assert not torch.equal(batch.other_displacement, batch.displacement)
    assert batch.displacement.abs().amax((1, 2, 3)).min() > 0
    plain = FaceGenerator(head, parts, BARE, 3).batch(2)
    assert plain.displacement is None
    assert plain.other_expression is None


def test_wrinkles_can_be_switched_off(head, parts):
    off = replace(BARE, wrinkle_share=0.0)
    assert FaceGenerator(head, parts, off, 3)._compose(2, 1).relief is None
    truth = FaceGenerator(head, parts, replace(off, detail=True), 3).batch(2)
    assert truth.displacement.abs().max() == 0
    assert truth.other_displacement.abs().max() == 0
