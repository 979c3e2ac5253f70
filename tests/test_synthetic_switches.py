"""Every effect of the synthetic pictures has a share, and a share of 0 switches it off."""

from __future__ import annotations

import math
from dataclasses import fields, replace
from importlib.resources import files
from pathlib import Path

import pytest
import torch

from deca_cli.errors import UsageError
from deca_cli.heads.assets import load_head
from deca_cli.heads.model import HeadModel
from deca_cli.synthetic import accessories, degrade, hair, occluders
from deca_cli.synthetic.degrade import CameraShares
from deca_cli.synthetic.draws import Draws
from deca_cli.synthetic.generator import FaceGenerator
from deca_cli.synthetic.light import LightShares, eye_glint, sample_lights
from deca_cli.synthetic.parts import find_parts
from deca_cli.synthetic.settings import GeneratorSettings
from deca_cli.synthetic.skin import SkinPainter
from deca_cli.synthetic.skin_style import SkinShares, sample_skin

HEAD_FILE = Path(str(files("deca_cli.packs") / "open" / "head.npz"))
SMALL = GeneratorSettings(
    image_size=64, texture_size=64, shadow_size=32, background_textures=6, wrinkle_share=0.0, degrade=False
)
SKIN_FIELD = {
    "brows": "brow_density",
    "lashes": "lash",
    "lid_creases": "crease",
    "eye_shadow": "eye_shadow",
    "lipstick": "lip_make_up",
    "freckles": "freckles",
    "redness": "redness",
    "dark_circles": "dark_circles",
    "creases": "wrinkles",
    "beard": "moustache",
    "stubble": "stubble",
    "scalp_hair": "scalp_hair",
    "nostrils": "nostril",
    "mouth_corners": "corner",
}


@pytest.fixture(scope="module")
def open_head():
    assets, _ = load_head(HEAD_FILE)
    head = HeadModel(assets)
    return head, find_parts(head, assets, SMALL.texture_size)


@pytest.mark.parametrize("share", [field.name for field in fields(SkinShares)])
def test_a_share_of_the_skin_switches_its_effect_off_and_on(share, open_head):
    field = SKIN_FIELD[share]
    without = sample_skin(Draws(0), 40, SkinShares(**{share: 0.0}))
    with_it = sample_skin(Draws(0), 40, SkinShares(**{share: 1.0}))
    assert getattr(without, field).abs().max() == 0
    assert getattr(with_it, field).max() > 0.1
    painter = SkinPainter(open_head[1].fields, Draws(1), variants=2)
    pattern = torch.zeros(4, 40, dtype=torch.int64)
    change = painter.paint(without, pattern) - painter.paint(
        replace(without, **{field: getattr(with_it, field)}), pattern
    )
    assert change.abs().max() > 0.005  # what the share rules is seen


def test_a_beard_has_three_parts_and_none_without_the_share():
    style = sample_skin(Draws(0), 40, SkinShares(beard=0.0))
    assert max(part.max() for part in (style.moustache, style.chin_beard, style.jaw_beard)) == 0


def test_shares_of_light():
    off = LightShares(shadow=0.0, highlights=0.0, glint=0.0, side=0.0, flash=0.0, overhead=0.0)
    none = sample_lights(Draws(0), 50, off)
    assert max(value.abs().max() for value in (none.shadow, none.gloss, none.glint)) == 0
    ahead = torch.tensor([0.0, 0.0, 1.0])[None, :, None, None].expand(50, 3, 1, 1)
    ones = torch.ones(50, 1, 1, 1)
    assert eye_glint(ahead, none, ones, ones).abs().max() == 0
    side = sample_lights(Draws(0), 50, replace(off, side=1.0))
    assert (side.key_direction[:, 0].abs() > 0.35).all()
    assert (none.key_direction[:, 0].abs() < 0.35).any()
    flash = sample_lights(Draws(0), 50, replace(off, flash=1.0))
    assert flash.key_direction[:, 2].min() > 0.85  # beside the lens
    assert (none.key_direction[:, 2] < 0.85).any()
    overhead = sample_lights(Draws(0), 50, replace(off, overhead=1.0))
    assert overhead.slope[:, :, 1].mean() > none.slope[:, :, 1].mean() + 0.1


@pytest.mark.parametrize("value", [-0.1, 1.5, math.nan])
@pytest.mark.parametrize("part", ["", "skin", "light", "camera", "pose", "crop"])
def test_shares_outside_0_and_1_are_refused(part, value):
    names = {"": "hair_share", "skin": "beard", "light": "flash", "camera": "grey"}
    names |= {"pose": "uniform_share", "crop": "rough_share"}
    if not part:
        with pytest.raises(UsageError, match="hair_share"):
            GeneratorSettings(hair_share=value)
        return
    inner = replace(getattr(GeneratorSettings(), part), **{names[part]: value})
    with pytest.raises(UsageError, match=f"{part}.{names[part]}"):
        GeneratorSettings(**{part: inner})


def test_a_glint_is_small_and_as_bright_as_the_light(open_head):
    lights = sample_lights(Draws(0), 200, LightShares(glint=1.0))
    angle = torch.linspace(0, 0.8, 200)
    normals = torch.stack([angle.sin(), torch.zeros(200), angle.cos()])[None, :, None].expand(200, -1, -1, -1)
    ahead = replace(lights, key_direction=torch.tensor([[0.0, 0.0, 1.0]]).expand(200, -1))
    ones = torch.ones(200, 1, 1, 200)
    seen = eye_glint(normals, ahead, ones, ones).mean(1)[:, 0]
    assert (seen[:, 0] >= 0.4 * lights.key.mean(1)).all()
    wide = (seen > 0.5 * seen[:, :1]).float().mean(1) * 0.8  # rad
    assert wide.max() < 0.15  # the iris alone has 0.4


def test_shares_of_the_camera():
    light = torch.rand(30, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    bare, warm = torch.ones(30, 32, 32), torch.tensor([[1.3, 1.0, 0.7]]).expand(30, -1)
    none = CameraShares(**{field.name: 0.0 for field in fields(CameraShares)})

    def spoilt(**changes: float) -> tuple[torch.Tensor, torch.Tensor]:
        return degrade.degrade(Draws(0), light, bare, warm, replace(none, **changes))

    plain, whole = spoilt()
    assert whole.min() == 1
    for field in fields(CameraShares):
        changed, kept = spoilt(**{field.name: 1.0})
        assert (changed - plain).abs().mean() > 0.002, field.name
        assert (kept.min() == 0) == (field.name == "borders")
    grey = spoilt(grey=1.0)[0]
    assert (grey.amax(1) - grey.amin(1)).max() < 0.02


def test_shares_of_fringes_glasses_and_glare():
    natural = torch.full((60, 3), 0.1)
    fringes = [hair.sample_hair(Draws(0), 60, natural, 4, share).front_edge.min() for share in (0.0, 1.0)]
    assert fringes[0] >= 0.30
    assert fringes[1] < 0.1
    assert not accessories.sample_glasses(Draws(0), 60, 0.0).worn.any()
    assert accessories.sample_glasses(Draws(0), 60, 1.0, glare_share=0.0).glare.max() == 0
    assert accessories.sample_glasses(Draws(0), 60, 1.0, glare_share=1.0).glare.max() > 0.4


def test_shares_of_what_lies_in_front():
    picture = torch.rand(20, 4, 16, 16, generator=torch.Generator().manual_seed(0))
    for sample in (occluders.sample_hands, occluders.sample_objects):
        assert torch.equal(occluders.lay_capsules(picture, sample(Draws(0), 20, 0.0)), picture)
        covered = occluders.lay_capsules(picture, sample(Draws(0), 20, 1.0))
        assert (covered != picture).flatten(1).any(1).float().mean() > 0.8
    patch = torch.zeros(20, 3, 16, 16)
    hidden, shown = (occluders.sample_patch(Draws(0), 20, share) for share in (0.0, 1.0))
    assert torch.equal(occluders.lay_patch(picture, patch, hidden), picture)
    assert not torch.equal(occluders.lay_patch(picture, patch, shown), picture)


@pytest.mark.parametrize("share", ["hair_share", "bust_share", "glasses_share", "crowd_share"])
def test_shares_of_the_scene_change_the_picture(share, open_head):
    pictures = []
    for value in (0.0, 1.0):
        generator = FaceGenerator(*open_head, replace(SMALL, **{share: value}), 5)
        generator.batch(8)  # the crowd consists of earlier faces
        pictures.append(generator.batch(8).images)
    assert (pictures[0] - pictures[1]).abs().mean() > 0.004


def test_half_of_the_brow_lies_below_its_landmarks_and_two_thirds_of_its_hair(open_head):
    fields_ = open_head[1].fields
    painter = SkinPainter(fields_, Draws(1), variants=2)
    style = sample_skin(Draws(0), 200, SkinShares(brows=1.0))
    strokes = painter.strokes[torch.zeros(200, dtype=torch.int64)]
    cover = painter._brow(style, strokes).mean(0)  # the painted hair itself
    beside = fields_.brow_across.abs() < 0.3
    below = cover[beside & (fields_.brow_across < 0)].sum() / cover[beside].sum()
    assert 0.58 < below < 0.8
    within = (fields_.brow_start > 0) & (fields_.brow_stop > 0)
    assert cover[beside & within].sum() > 0.88 * cover[beside].sum()  # it ends where the landmarks end


def test_resampling_keeps_flat_lines_and_slow_waves_and_loses_fine_ones():
    factor = torch.tensor([0.3, 0.5, 0.8])
    matrix = degrade.resampling(factor, 1 / factor, 64)
    assert torch.allclose(matrix.sum(-1), torch.ones(3, 64), atol=1e-5)
    place = (torch.arange(64) + 0.5) / 64
    slow, fine = torch.sin(2 * torch.pi * place), torch.sin(2 * torch.pi * 30 * place)
    inside = slice(8, 56)
    assert ((matrix @ slow - slow)[:, inside].abs() < 0.1).all()
    assert ((matrix @ fine)[:2, inside].abs() < 0.2).all()
