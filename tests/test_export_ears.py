"""Ears over which the photo shows something else than an ear."""

import numpy as np
import pytest

from deca_cli.export.ears import EAR_LIGHT, SIDE, ears_of_skin, shows_ears, skin_and_ears
from deca_cli.heads.assets import load_head
from deca_cli.packs.folders import pack_folder
from small_head import small_head

SKIN = (200, 150, 120)
EAR, HIDDEN = np.s_[100:200, 400:480], np.s_[300:400, 400:480]  # two ears of the chart

INSIDE = np.s_[306:394, 406:474]  # of the second one


@pytest.fixture
def parts():
    found = np.zeros((SIDE, SIDE, 2), np.float32)
    found[:, :300, 0] = 1
    for place in (EAR, HIDDEN):
        found[place][..., 1] = 1
    return found


def photo_with(colour):
    """Texels of skin, an ear of skin, and one in whose place there is something of that colour."""
    texels = np.full((SIDE, SIDE, 3), SKIN, np.uint8)
    texels[HIDDEN] = colour
    return texels


@pytest.mark.parametrize(
    "colour",
    [(40, 120, 60), (60, 90, 200), (240, 240, 240), (20, 15, 12), (250, 60, 10)],
    ids=["meadow", "sky", "wall", "black hair", "curtain"],
)
def test_what_does_not_look_like_skin_is_no_ear(parts, colour):
    trust = shows_ears(photo_with(colour), np.ones((SIDE, SIDE), np.float32), parts)
    assert trust[INSIDE].max() < 0.02
    assert trust[EAR].min() == 1
    assert trust[:, :300].min() == 1


@pytest.mark.parametrize(
    "colour", [SKIN, (200, 110, 90), (100, 75, 60), (230, 180, 150)], ids=["skin", "red", "shade", "light"]
)
def test_ears_may_be_redder_darker_and_brighter_than_the_face(parts, colour):
    trust = shows_ears(photo_with(colour), np.ones((SIDE, SIDE), np.float32), parts)
    assert trust[HIDDEN].min() > 0.98


def test_nothing_is_doubted_where_no_skin_is_seen(parts):
    assert (shows_ears(photo_with((0, 255, 0)), np.zeros((1024, 1024), np.float32), parts) == 1).all()


def test_an_ear_that_nobody_saw_gets_the_colour_of_the_skin_in_the_light_of_its_place(parts):
    guess = photo_with((60, 60, 60)).astype(np.float32)
    guess[EAR] = (10, 20, 10)
    found = ears_of_skin(guess, (parts[..., 0] > 0).astype(np.float32), parts)
    skin = np.array(SKIN, float)
    np.testing.assert_allclose(found[HIDDEN], np.broadcast_to(skin * EAR_LIGHT[0], (100, 80, 3)), atol=1)
    np.testing.assert_allclose(found[EAR], np.broadcast_to(skin * EAR_LIGHT[0], (100, 80, 3)), atol=1)
    assert (found[:, :300] == guess[:, :300]).all()


def test_the_bundled_head_says_what_is_skin_and_what_are_ears():
    head, _ = load_head(pack_folder("open") / "head.npz")
    belongs = skin_and_ears(head)
    places = head.template_vertices
    assert np.abs(places[belongs[:, 1] == 1, 0]).min() > 0.05  # metres from the middle
    assert np.abs(places[belongs[:, 0] == 1, 0]).min() < 0.001
    assert (belongs.sum(axis=1) <= 1).all()
    assert skin_and_ears(small_head()) is None
