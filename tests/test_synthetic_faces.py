"""The generator of training pictures: seeded, truthful, and each effect does what it says."""

from __future__ import annotations

from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import pytest
import torch

from deca_cli.heads.assets import load_head
from deca_cli.heads.model import HeadModel
from deca_cli.synthetic import degrade, hair
from deca_cli.synthetic.draws import Draws
from deca_cli.synthetic.expressions import EXPRESSIONS, VISEMES, ExpressionSampler, coefficient_table
from deca_cli.synthetic.generator import FaceGenerator
from deca_cli.synthetic.parts import find_parts
from deca_cli.synthetic.sampling import (
    CropRange,
    perspective_points,
    rotation_from_degrees,
    sample_framing,
)
from deca_cli.synthetic.settings import GeneratorSettings
from deca_cli.synthetic.skin import skin_tone, to_display
from deca_cli.synthetic.skin_fields import distance_to_polyline, signed_distance_to_polygon
from deca_cli.synthetic.skin_style import sample_skin

HEAD_FILE = Path(str(files("deca_cli.packs") / "open" / "head.npz"))
SMALL = GeneratorSettings(
    image_size=64, texture_size=64, shadow_size=32, background_textures=6, wrinkle_share=0.0
)


@pytest.fixture(scope="module")
def open_head():
    assets, _ = load_head(HEAD_FILE)
    head = HeadModel(assets)
    return head, find_parts(head, assets, SMALL.texture_size)


def generate(open_head, seed=0, count=6, **changes):  # noqa: ANN003  # any field of the settings
    return FaceGenerator(*open_head, replace(SMALL, **changes), seed).batch(count)


def test_the_same_seed_draws_the_same_pictures_and_another_seed_others(open_head):
    first, again, other = generate(open_head, 3), generate(open_head, 3), generate(open_head, 4)
    assert torch.allclose(first.images, again.images, atol=1e-5)
    assert torch.equal(first.landmarks, again.landmarks)
    assert (first.images - other.images).abs().mean() > 0.05


def test_pictures_are_display_values_and_faces_lie_in_their_crops(open_head):
    batch = generate(open_head, no_face_share=0.0)
    assert batch.images.shape == (6, 3, 64, 64)
    assert batch.images.min() >= 0
    assert batch.images.max() <= 1
    side = (batch.landmarks.amax(1) - batch.landmarks.amin(1)).amax(1)
    assert ((side > 2 / 1.45 * 0.6) & (side < 2 / 1.45 * 1.7)).all()  # jitter of 2.5 standard deviations
    assert (batch.is_face == 1).all()


def test_the_head_is_drawn_where_the_truth_says(open_head):
    """The same picture with and without its head differs where the head is: within the box of its vertices."""
    bare = {
        "hair_share": 0.0,
        "glasses_share": 0.0,
        "hand_share": 0.0,
        "object_share": 0.0,
        "patch_share": 0.0,
        "bust_share": 0.0,
        "degrade": False,
    }
    shown = generate(open_head, 1, 12, no_face_share=0.0, **bare)
    without = generate(open_head, 1, 12, no_face_share=1.0, **bare)
    compared = 0
    for index in range(12):
        if without.projected[index].amin() < 10:
            continue  # this one is turned away or beside the crop, not gone
        changed = (shown.images[index] - without.images[index]).abs().amax(0) > 1e-3
        low, high = shown.projected[index].amin(0), shown.projected[index].amax(0)
        for axis, seen in ((0, changed.any(0)), (1, changed.any(1))):
            pixels = seen.nonzero()[:, 0]
            first, last = (pixels[0] * 2 + 1) / 64 - 1, (pixels[-1] * 2 + 1) / 64 - 1
            assert abs(first - low[axis].clamp_min(-1)) < 3 / 64
            assert abs(last - high[axis].clamp_max(1)) < 3 / 64
        compared += 1
    assert compared >= 2


def test_pictures_without_a_face_are_marked(open_head):
    assert generate(open_head, no_face_share=1.0).is_face.sum() == 0


def test_degradation_can_be_switched_off(open_head):
    clean = generate(open_head, degrade=False)
    spoilt = generate(open_head, degrade=True)
    assert torch.equal(clean.landmarks, spoilt.landmarks)  # the same heads
    assert (clean.images - spoilt.images).abs().mean() > 0.01


def test_positive_yaw_turns_the_face_to_image_right_and_positive_pitch_down():
    nose = torch.tensor([0.0, 0.0, 1.0])
    zero, quarter = torch.zeros(1), torch.full((1,), 90.0)
    assert torch.allclose(
        rotation_from_degrees(quarter, zero, zero)[0] @ nose, torch.tensor([1.0, 0, 0]), atol=1e-6
    )
    assert torch.allclose(
        rotation_from_degrees(zero, quarter, zero)[0] @ nose, torch.tensor([0, -1.0, 0]), atol=1e-6
    )


def test_near_cameras_enlarge_what_is_near():
    points = torch.tensor([[[0.1, 0.0, 0.1], [0.1, 0.0, -0.1]]])
    seen = perspective_points(points, torch.tensor([1.0]))
    assert torch.allclose(seen[0, :, 0], torch.tensor([0.1 / 0.9, 0.1 / 1.1]))
    assert torch.equal(seen[..., 2], points[..., 2])


def test_framing_without_jitter_centres_the_landmark_box():
    still = CropRange(log_scale_std=0.0, shift_std=0.0, rough_share=0.0)
    marks = torch.rand(3, 68, 3, generator=torch.Generator().manual_seed(0))
    placed = sample_framing(Draws(0), marks, still).apply(marks)[..., :2]
    low, high = placed.amin(1), placed.amax(1)
    assert torch.allclose(low + high, torch.zeros(3, 2), atol=1e-5)
    assert torch.allclose((high - low).amax(1), torch.full((3,), 2 / still.factor), atol=1e-5)


def test_named_expressions_use_known_coefficients_between_0_and_1(open_head):
    names = open_head[0].expression_names
    for table in (coefficient_table(EXPRESSIONS, names), coefficient_table(VISEMES, names)):
        assert table.min() >= 0
        assert table.max() <= 1


def test_drawn_expressions_are_plausible(open_head):
    names = list(open_head[0].expression_names)
    drawn = ExpressionSampler(names, "cpu").sample(Draws(0), 500)
    assert drawn.min() >= 0
    assert drawn.max() <= 1
    assert (drawn[:, names.index("mouthClose")] <= drawn[:, names.index("jawOpen")]).all()
    both_ways = drawn[:, names.index("eyeLookOutLeft")] * drawn[:, names.index("eyeLookInLeft")]
    assert both_ways.max() == 0  # an eye looks one way
    assert torch.equal(drawn[:, names.index("eyeLookOutLeft")], drawn[:, names.index("eyeLookInRight")])
    assert (
        0.05
        < (drawn.sum(1) < 1e-3).float().mean() + (drawn[:, names.index("jawOpen")] == 0).float().mean()
        < 1.5
    )


def test_more_melanin_darkens_skin_and_blue_most():
    tones = skin_tone(torch.tensor([0.05, 0.6, 1.3]), torch.tensor([0.5, 0.5, 0.5]))
    assert (tones[1:] < tones[:-1]).all()
    assert ((tones[:, 0] > tones[:, 1]) & (tones[:, 1] > tones[:, 2])).all()
    assert (tones[2] / tones[0]).argmin() == 2


def test_display_values_have_the_gamma_of_screens():
    values = torch.linspace(0.05, 1, 20)
    assert torch.allclose(to_display(values).pow(2.2), values, atol=1e-5)


def test_painted_skins_span_light_and_dark_and_have_dark_brows(open_head):
    generator = FaceGenerator(*open_head, SMALL, 0)
    style = sample_skin(generator.draws, 40)
    painted = generator.painter.paint(style, generator.draws.integers(generator.painter.variants, 4, 40))
    cheek = open_head[1].fields.cheek > 0.9
    brightness = painted[:, :, cheek].mean((1, 2))
    assert brightness.min() < 0.12
    assert brightness.max() > 0.35
    assert torch.corrcoef(torch.stack([brightness, style.melanin]))[0, 1] < -0.7


def test_hair_covers_the_crown_and_leaves_the_face_free(open_head):
    head, parts = open_head
    shell = hair.HairShell(
        head.template_vertices[parts.skin_vertices], float(parts.eye_centres[0, 1]), Draws(0)
    )
    style = hair.sample_hair(Draws(1), 64, torch.full((64, 3), 0.1), 4)
    crown = hair.lower_edge(style, torch.zeros(64, 1))
    assert (crown < 1.5).all()  # the top of the dome (1.57 rad) is above every lower edge
    face = hair.lower_edge(style, torch.zeros(64, 1))
    assert (face > -0.1).all()  # nothing hangs over the nose
    points, hidden = shell.vertices(style, head.template_vertices[parts.skin_vertices].expand(64, -1, -1))
    assert torch.isfinite(points).all()
    assert hidden[style.kind == hair.BALD].all()
    assert not hidden[style.kind == hair.LONG].all(1).any()


def test_compression_loses_more_at_lower_quality_and_keeps_flat_colours():
    flat = torch.full((4, 3, 16, 16), 0.5)
    assert (degrade.compress(Draws(0), flat, share=1.0) - flat).abs().max() < 0.02
    noisy = torch.rand(32, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    assert (degrade.compress(Draws(0), noisy, share=1.0) - noisy).abs().mean() > 0.01
    assert torch.equal(degrade.compress(Draws(0), noisy, share=0.0), noisy)


def test_blur_keeps_the_mean_and_lowers_the_contrast():
    picture = torch.rand(16, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    soft = degrade.blur(Draws(0), picture, share=1.0)
    assert torch.allclose(soft.mean(), picture.mean(), atol=0.01)
    assert (soft.std((1, 2, 3)) < picture.std((1, 2, 3)) + 1e-6).all()


def test_lower_resolution_touches_only_its_share():
    picture = torch.rand(40, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    changed = (degrade.lower_resolution(Draws(0), picture, share=0.4) != picture).flatten(1).any(1)
    assert 8 < changed.sum() < 24
    assert torch.equal(degrade.lower_resolution(Draws(0), picture, share=0.0), picture)


def test_distances_to_a_line_and_into_a_polygon():
    line = torch.tensor([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0]])
    distance, along, side = distance_to_polyline(torch.tensor([[0.5, 0.2], [2.0, 1.0]]), line)
    assert torch.allclose(distance, torch.tensor([0.2, 1.0]))
    assert torch.allclose(along, torch.tensor([0.25, 1.0]))
    assert side[0] > 0  # left of the direction of travel
    square = torch.tensor([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
    inside = signed_distance_to_polygon(torch.tensor([[0.5, 0.4], [0.5, -0.3]]), square)
    assert torch.allclose(inside, torch.tensor([0.4, -0.3]))
