"""What is painted behind the lips of the open head."""

from pathlib import Path

import numpy as np
import pytest

from deca_cli.animate import mouth
from deca_cli.heads.assets import load_head

HEAD_FILE = Path(__file__).resolve().parents[1] / "src" / "deca_cli" / "packs" / "open" / "head.npz"


@pytest.fixture(scope="module")
def head():
    return load_head(HEAD_FILE)[0]


def of_region(head, name):
    return mouth.region_map(head) == head.region_names.index(name)


@pytest.mark.parametrize("name", ["teeth_upper", "teeth_lower"])
def test_a_jaw_has_teeth_of_natural_width_on_both_sides(head, name):
    along = mouth.along_arch_mm(head, name)[of_region(head, name)]
    assert along.max() == pytest.approx(-along.min(), rel=0.1)
    assert 45 < along.max() < 80  # half a jaw, to its end
    assert np.histogram(along, bins=12)[0].min() > 0.5 * len(along) / 12  # evenly spread, as the chart is
    places = np.linspace(-46, 46, 4601)
    light = mouth.tooth_light(places, name)
    dark = (light[1:-1] < light[:-2]) & (light[1:-1] < light[2:]) & (light[1:-1] < 0.8)
    assert dark.sum() == 2 * len(mouth.GAPS_MM[name]) - 1 - 2 * (mouth.GAPS_MM[name][-1] > 46)
    first = np.abs(np.abs(places) - mouth.GAPS_MM[name][1] / 2) < 0.5  # middle of the first tooth
    assert light[first].min() > 0.97


def test_teeth_are_as_bright_as_lit_skin_and_the_skin_is_left_alone(head):
    texture = np.full((512, 512, 3), 180, np.uint8)
    painted = mouth.paint_inside(head, texture)
    skin = of_region(head, "skin")
    np.testing.assert_array_equal(painted[skin], texture[skin])
    teeth = painted[of_region(head, "teeth_upper")]
    assert np.percentile(teeth.mean(axis=1), 90) > 180
    assert (teeth[:, 0] >= teeth[:, 2]).all()  # ivory
    assert painted[of_region(head, "mouth_cavity")].mean() < 90
