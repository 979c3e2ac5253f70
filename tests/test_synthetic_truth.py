"""What a synthetic picture tells beside the points: whose face it is, where its skin shows, albedo and light."""

from __future__ import annotations

import math
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import pytest
import torch

from deca_cli.heads.assets import load_head
from deca_cli.heads.model import HeadModel
from deca_cli.render.lighting import sh_basis
from deca_cli.synthetic.draws import Draws
from deca_cli.synthetic.generator import FaceGenerator
from deca_cli.synthetic.light import Lights, diffuse_light, sample_lights, shading_harmonics
from deca_cli.synthetic.parts import find_parts
from deca_cli.synthetic.settings import GeneratorSettings

HEAD_FILE = Path(str(files("deca_cli.packs") / "open" / "head.npz"))
SMALL = GeneratorSettings(
    image_size=64, texture_size=64, shadow_size=32, background_textures=6, wrinkle_share=0.0
)
BARE = {
    "hair_share": 0.0,
    "glasses_share": 0.0,
    "hand_share": 0.0,
    "object_share": 0.0,
    "patch_share": 0.0,
    "no_face_share": 0.0,
    "degrade": False,
}


@pytest.fixture(scope="module")
def open_head():
    assets, _ = load_head(HEAD_FILE)
    head = HeadModel(assets)
    return head, find_parts(head, assets, SMALL.texture_size)


def generate(open_head, seed=0, count=6, per_person=1, **changes):  # noqa: ANN003  # any field of the settings
    return FaceGenerator(*open_head, replace(SMALL, **changes), seed).batch(count, per_person)


def test_pictures_in_a_row_share_the_person_and_nothing_else(open_head):
    batch = generate(open_head, count=6, per_person=3)
    assert batch.person.tolist() == [0, 0, 0, 1, 1, 1]
    for same in (batch.shape, batch.albedo):
        assert torch.equal(same[0], same[2])
        assert not torch.equal(same[2], same[3])
    for other in (batch.expression, batch.rotation, batch.light, batch.images):
        assert not torch.equal(other[0], other[1])


def test_a_number_of_pictures_that_persons_do_not_divide_is_refused(open_head):
    with pytest.raises(ValueError, match="5 pictures"):
        generate(open_head, count=5, per_person=2)


def test_bare_skin_is_within_the_face_and_what_lies_in_front_hides_it(open_head):
    free = generate(open_head, 1, 12, **BARE)
    assert set(free.skin_mask.unique().tolist()) == {0.0, 1.0}
    for index in range(12):
        rows, columns = free.skin_mask[index].nonzero().T
        low, high = free.projected[index].amin(0), free.projected[index].amax(0)
        for axis, pixels in ((0, columns), (1, rows)):
            centres = (pixels * 2 + 1) / 64 - 1
            assert (centres >= low[axis]).all()
            assert (centres <= high[axis]).all()
    assert 0.1 < free.skin_mask.mean() < 0.6
    for effect in ("hair_share", "glasses_share", "hand_share", "object_share", "patch_share"):
        covered = generate(open_head, 1, 12, **{**BARE, effect: 1.0}).skin_mask
        assert covered.sum() < 0.98 * free.skin_mask.sum()


def test_black_borders_are_no_bare_skin(open_head):
    batch = generate(open_head, 2, 40)
    black = (batch.images == 0).all(1)
    assert black.float().mean() > 0.005
    assert batch.skin_mask[black].float().mean() < 0.05


def test_albedo_is_display_values_with_dark_pupils_and_bright_whites(open_head):
    albedo = generate(open_head).albedo
    assert albedo.shape == (6, 3, 64, 64)
    assert albedo.min() >= 0
    assert albedo.max() <= 1
    generator = FaceGenerator(*open_head, SMALL, 0)
    on_eye = generator.eyes_at_rest[3] > 0.99
    ahead = generator.eyes_at_rest[2] > 0.97
    assert albedo[:, :, on_eye & ahead].mean() < 0.6 * albedo[:, :, on_eye & ~ahead].mean()


def one_light(**changes):  # noqa: ANN003  # any field of Lights
    lights = Lights(
        ambient=torch.zeros(1, 3),
        slope=torch.zeros(1, 3, 3),
        key_direction=torch.tensor([[0.0, 0.0, 1.0]]),
        key=torch.zeros(1, 3),
        fill_direction=torch.tensor([[0.0, 0.0, 1.0]]),
        fill=torch.zeros(1, 3),
        shadow=torch.zeros(1),
        gloss=torch.zeros(1),
        sharpness=torch.ones(1),
        glint=torch.zeros(1),
        glint_sharpness=torch.ones(1),
        behind=torch.ones(1),
    )
    return replace(lights, **changes)


def test_the_harmonics_of_even_light_are_its_displayed_brightness_alone():
    light = shading_harmonics(one_light(ambient=torch.tensor([[0.5, 0.25, 1.0]])))
    expected = torch.tensor([0.5, 0.25, 1.0]) ** (1 / 2.2) * math.sqrt(4 * math.pi)
    assert torch.allclose(light[0, 0], expected, rtol=1e-4)
    assert light[0, 1:].abs().max() < 1e-3


def test_the_harmonics_of_light_from_one_side_shade_as_it_does():
    from_left = torch.nn.functional.normalize(torch.tensor([[1.0, 0.5, 1.0]]), dim=1)
    lights = one_light(ambient=torch.full((1, 3), 0.2), key_direction=from_left, key=torch.ones(1, 3))
    light = shading_harmonics(lights)
    normals = Draws(0).directions(500)
    normals = normals[normals[:, 2] > 0.1]
    shade = torch.einsum("nkc,kp->npc", light, sh_basis(normals[None].mT)[0])[0]
    truth = diffuse_light(lights, normals)[0] ** (1 / 2.2)
    assert (shade - truth).abs().mean() < 0.03
    assert (shade - truth).abs().max() < 0.2
    brightest = shade[:, 0].argmax()
    assert normals[brightest] @ from_left[0] > 0.85


def test_no_other_harmonics_fit_a_drawn_light_better_on_average():
    lights = sample_lights(Draws(0), 8)
    light = shading_harmonics(lights)
    index = torch.arange(4000) + 0.5
    z, turn = 1 - index / 4000, index * 2.399963
    normals = torch.stack([(1 - z * z).sqrt() * turn.cos(), (1 - z * z).sqrt() * turn.sin(), z], 1)
    basis, truth = sh_basis(normals[None].mT)[0], diffuse_light(lights, normals) ** (1 / 2.2)

    def error(coefficients: torch.Tensor) -> torch.Tensor:
        return (torch.einsum("nkc,kp->npc", coefficients, basis) - truth).square().mean((1, 2))

    noise = Draws(1).normal(8, 9, 3, std=0.05)
    assert (error(light) < error(light + noise)).all()
    assert (error(light) < error(light - noise)).all()
