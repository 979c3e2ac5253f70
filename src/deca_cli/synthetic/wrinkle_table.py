"""Which expression folds which zone, and how deep: the numbers behind ``wrinkles.py``.

Coefficients are ARKit's. Depths are what a wrinkle of unit strength has on an old face at rest and gains under the
full expression; measured skin has fine lines of 0.1 to 0.3 mm and folds of about a millimetre.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from deca_cli.synthetic import wrinkle_zones as zones

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from deca_cli.synthetic.wrinkle_sheet import FaceSheet
    from deca_cli.synthetic.wrinkle_zones import Lines, RandomShapes

SIDES, FOREHEAD, WHOLE = (
    "sides",
    "forehead",
    "whole",
)  # how a zone is divided into parts that move on their own


@dataclass(frozen=True)
class Zone:
    """One place where the face creases.

    Attributes:
        pattern: draws the lines of all variants.
        parts: left and right; left, middle and right of the forehead; or the whole zone.
        driven_by: amounts of the coefficients that fold it; ``*`` stands for Left and Right.
        at_rest: depth at rest on an old face, mm.
        gain: depth that the full expression adds, mm.
        common: the plain pattern that most faces have, chosen by eye among ``wrinkles.VARIANTS``.
    """

    pattern: Callable[[FaceSheet, RandomShapes], Lines]
    parts: str
    driven_by: Mapping[str, float]
    at_rest: float
    gain: float
    common: int = 4


ZONES: Mapping[str, Zone] = {
    "forehead": Zone(
        zones.forehead, FOREHEAD, {"browOuterUp*": 0.75, "browInnerUp": 0.75}, 0.40, 0.60, common=1
    ),
    "glabella": Zone(zones.glabella, SIDES, {"browDown*": 1.0}, 0.55, 1.00),
    "nose_root": Zone(zones.nose_root, SIDES, {"browDown*": 0.7, "noseSneer*": 0.4}, 0.25, 0.50),
    "crows_feet": Zone(
        zones.crows_feet,
        SIDES,
        {"eyeSquint*": 0.55, "cheekSquint*": 0.6, "mouthSmile*": 0.3},
        0.30,
        0.55,
    ),
    "under_eye": Zone(
        zones.under_eye,
        SIDES,
        {"eyeSquint*": 0.6, "cheekSquint*": 0.6, "mouthSmile*": 0.15},
        0.25,
        0.30,
        common=7,
    ),
    "tear_trough": Zone(
        zones.tear_trough, SIDES, {"cheekSquint*": 0.7, "mouthSmile*": 0.4}, 0.70, 0.35, common=5
    ),
    "bunny": Zone(zones.bunny, SIDES, {"noseSneer*": 1.0}, 0.06, 0.50),
    "nasolabial": Zone(
        zones.nasolabial,
        SIDES,
        {
            "mouthSmile*": 0.75,
            "cheekSquint*": 0.3,
            "mouthUpperUp*": 0.45,
            "noseSneer*": 0.65,
            "mouthDimple*": 0.2,
            "mouthStretch*": 0.2,
        },
        0.80,
        0.90,
    ),
    "brackets": Zone(
        zones.brackets, SIDES, {"mouthSmile*": 0.7, "mouthDimple*": 0.7, "mouthStretch*": 0.3}, 0.15, 0.40
    ),
    "marionette": Zone(
        zones.marionette, SIDES, {"mouthFrown*": 1.0, "mouthStretch*": 0.2}, 0.60, 0.70, common=7
    ),
    "lip_lines": Zone(zones.lip_lines, WHOLE, {"mouthPucker": 1.0, "mouthFunnel": 0.35}, 0.25, 0.35),
    "chin": Zone(zones.chin, WHOLE, {"mouthShrugLower": 0.8, "mouthPucker": 0.2}, 0.4, 0.5),
    "chin_dimples": Zone(
        zones.chin_dimples, WHOLE, {"mouthShrugLower": 1.0, "mouthPucker": 0.2}, 0.04, 0.35, common=2
    ),
}
