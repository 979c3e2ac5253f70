"""Shading in whole chains: the light is that of its formula, and what is not covered stays."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from deca_cli.synthetic import accessories
from deca_cli.synthetic.draws import Draws
from deca_cli.synthetic.light import illuminate, sample_lights
from deca_cli.synthetic.shading import BodyPixels, draw_lashes, facing, shade_body, shade_glasses
from deca_cli.synthetic.skin_style import sample_skin

COUNT, SIZE = 6, 12


@pytest.fixture
def draws():
    return Draws(5)


def normals_of(draws):
    return facing(draws.normal(COUNT, 3, SIZE, SIZE))


def pixels(draws, **changes):  # noqa: ANN003  # any field
    values = {
        "covered": draws.chance(0.5, COUNT, 1, SIZE, SIZE),
        "on_head": draws.chance(0.7, COUNT, 1, SIZE, SIZE),
        "skin": draws.uniform(COUNT, 3, SIZE, SIZE),
        "cloth": draws.uniform(COUNT, 3, SIZE, SIZE),
        "to_lash": draws.uniform(COUNT, 1, SIZE, SIZE),
        "normals": normals_of(draws),
        "values": draws.uniform(COUNT, 13, SIZE, SIZE, high=0.9),
        "relief": None,
        "lit": draws.uniform(COUNT, 1, SIZE, SIZE),
    }
    return BodyPixels(**{**values, **changes})


def test_light_is_the_sum_of_what_each_lamp_gives(draws):
    lights, normals = sample_lights(draws, COUNT), normals_of(draws)
    albedo = draws.uniform(COUNT, 3, SIZE, SIZE)
    occlusion, lit, gloss = (draws.uniform(COUNT, 1, SIZE, SIZE) for _ in range(3))

    def along(direction: Tensor) -> Tensor:
        return (normals * direction[:, :, None, None]).sum(1, keepdim=True)

    def wide(value: Tensor) -> Tensor:
        return value.reshape(COUNT, -1, 1, 1)

    slope = torch.cat([along(lights.slope[:, k]) for k in range(3)], 1)
    around = (wide(lights.ambient) + slope).clamp_min(0)
    key = wide(lights.key) * along(lights.key_direction).clamp_min(0) * lit
    fill = wide(lights.fill) * along(lights.fill_direction).clamp_min(0) * occlusion
    half = F.normalize(lights.key_direction + torch.tensor([0.0, 0.0, 1.0]), dim=1)
    mirrored = along(half).clamp_min(1e-4) ** wide(lights.sharpness) * lit * gloss * wide(lights.gloss)
    rim = 0.04 + 0.25 * (1 - normals[:, 2:3].clamp(0, 1)) ** 5
    expected = albedo * (around * occlusion + key + fill)
    expected = expected + mirrored * wide(lights.key) + 0.3 * rim * gloss * around
    found = illuminate(albedo, normals, lights, occlusion, lit, gloss)
    torch.testing.assert_close(found, expected, atol=2e-5, rtol=1e-5)


def test_normals_are_turned_towards_the_viewer():
    back = torch.tensor([0.0, 3.0, -4.0]).reshape(1, 3, 1, 1)
    torch.testing.assert_close(facing(back).flatten(), torch.tensor([0.0, -0.6, 0.8]))


def test_what_no_body_covers_stays(draws):
    picture, lights, skin = (
        draws.uniform(COUNT, 4, SIZE, SIZE),
        sample_lights(draws, COUNT),
        sample_skin(draws, COUNT),
    )
    seen = pixels(draws)
    found = shade_body(picture, seen, skin, lights)
    covered = seen.covered.expand_as(picture)
    assert torch.equal(found[~covered], picture[~covered])
    assert (found != picture).any(1, keepdim=True)[seen.covered].float().mean() > 0.99


def test_flat_relief_changes_nothing_and_valleys_are_darker(draws):
    picture, lights, skin = (
        draws.uniform(COUNT, 4, SIZE, SIZE),
        sample_lights(draws, COUNT),
        sample_skin(draws, COUNT),
    )
    everywhere = torch.ones(COUNT, 1, SIZE, SIZE, dtype=torch.bool)
    values = draws.uniform(COUNT, 13, SIZE, SIZE, high=0.9)
    seen = pixels(draws, covered=everywhere, on_head=everywhere, values=values)
    flat = torch.zeros(COUNT, 3, SIZE, SIZE)
    deep = flat.clone()
    deep[:, 2] = -0.0005
    smooth, level, valley = (
        shade_body(picture, BodyPixels(**{**vars(seen), "relief": relief}), skin, lights)
        for relief in (None, flat, deep)
    )
    torch.testing.assert_close(level, smooth, atol=1e-4, rtol=1e-4)
    assert valley[:, :3].mean() < 0.9 * level[:, :3].mean()


def test_lashes_are_dark_at_their_roots_only(draws):
    albedo, skin = torch.ones(COUNT, 3, 1, 2), sample_skin(draws, COUNT)
    distance = torch.tensor([0.0, 0.2]).expand(COUNT, 1, 1, 2)
    found = draw_lashes(albedo, distance, skin)
    assert (found[..., 0] < 0.7).all()
    assert (found[..., 1] > 0.999).all()


def test_glasses_change_only_what_they_stand_in_front_of(draws):
    picture, lights = draws.uniform(COUNT, 4, SIZE, SIZE), sample_lights(draws, COUNT)
    style = accessories.sample_glasses(draws, COUNT, 1.0, 0.5)
    in_front, lens = (draws.chance(0.5, COUNT, 1, SIZE, SIZE) for _ in range(2))
    positions = draws.normal(COUNT, 3, SIZE, SIZE, std=0.05)
    found = shade_glasses(picture, in_front, lens, normals_of(draws), positions, style, lights)
    assert torch.equal(found[~in_front.expand_as(found)], picture[~in_front.expand_as(found)])
    assert (found[:, 3:][in_front] == 0).all()
