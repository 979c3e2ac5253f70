"""How one face looks: random appearances, without saying where on the skin anything is."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from deca_cli.synthetic.constants import constant

if TYPE_CHECKING:
    from deca_cli.synthetic.draws import Draws

HAIR_COLOURS = (  # linear RGB: black, dark brown, brown, light brown, blond, red, grey, white
    (0.008, 0.007, 0.006),
    (0.022, 0.014, 0.009),
    (0.060, 0.034, 0.018),
    (0.140, 0.085, 0.045),
    (0.380, 0.285, 0.165),
    (0.230, 0.075, 0.025),
    (0.230, 0.225, 0.220),
    (0.620, 0.610, 0.590),
)
HAIR_FOLLOWS_SKIN = 3.0  # e-foldings of hair reflectance per unit of melanin in the skin
HAIR_WEIGHTS = (5, 5, 4, 2, 2, 1, 1.5, 1)
IRIS_COLOURS = (
    (0.022, 0.012, 0.007),
    (0.050, 0.028, 0.014),
    (0.085, 0.062, 0.028),
    (0.060, 0.085, 0.055),
    (0.065, 0.110, 0.180),
    (0.120, 0.140, 0.155),
)
IRIS_WEIGHTS = (5, 5, 2, 1, 1.5, 1)
UPPER_LIP, LOWER_LIP = (0.62, 0.95), (0.85, 1.15)  # brightness; the upper lip is the darker one
TOOTH_TINT = (1.0, 0.93, 0.8)


@dataclass(frozen=True)
class SkinStyle:
    """One appearance per face; every field is [N] or [N, 3] (linear RGB colours)."""

    melanin: Tensor
    haemoglobin: Tensor
    tint: Tensor  # multiplies the skin colour
    mottling: Tensor
    freckles: Tensor
    redness: Tensor  # cheeks and nose
    dark_circles: Tensor
    wrinkles: Tensor
    lip_melanin: Tensor  # times that of the skin
    lip_blood: Tensor  # haemoglobin beyond that of the skin
    lip_paint: Tensor  # linear RGB of lipstick
    lip_make_up: Tensor  # 0 = none
    lip_strength: Tensor
    lip_border: Tensor  # by how much the red reaches over the landmark line, pupil distances
    lip_softness: Tensor  # width of the border
    upper_lip: Tensor  # brightness
    lower_lip: Tensor
    corner: Tensor  # darkness of the corners of the mouth
    nostril: Tensor  # darkness
    brow_colour: Tensor
    brow_density: Tensor
    brow_width: Tensor  # full height of the hair at its thickest, pupil distances
    brow_raise: Tensor
    brow_start: Tensor  # by how much the hair begins outside of its landmark, pupil distances
    brow_stop: Tensor  # by how much it ends inside of its landmark
    brow_stroke: Tensor  # how single the hairs are
    lash: Tensor
    crease: Tensor  # darkness of the upper lid's crease
    crease_height: Tensor  # above the lash line, pupil distances
    eye_shadow: Tensor
    eye_shadow_colour: Tensor
    beard_colour: Tensor
    moustache: Tensor
    chin_beard: Tensor
    jaw_beard: Tensor
    stubble: Tensor
    scalp_hair: Tensor
    scalp_colour: Tensor
    iris_colour: Tensor
    iris_radius: Tensor  # rad, half angle seen from the centre of the eyeball
    pupil_radius: Tensor  # rad
    sclera: Tensor
    teeth: Tensor


def repeated(style: SkinStyle, times: int) -> SkinStyle:
    """Every appearance so many times in a row."""
    return SkinStyle(
        **{field.name: getattr(style, field.name).repeat_interleave(times, 0) for field in fields(style)}
    )


@dataclass(frozen=True)
class SkinShares:
    """Shares of the people that have something on their skin; 0 switches it off."""

    brows: float = 0.97
    lashes: float = 1.0
    lid_creases: float = 0.75
    eye_shadow: float = 0.2
    lipstick: float = 0.2
    freckles: float = 0.25
    redness: float = 0.9
    dark_circles: float = 0.8
    creases: float = 0.5
    beard: float = 0.3
    stubble: float = 0.3
    scalp_hair: float = 0.75
    nostrils: float = 0.9
    mouth_corners: float = 0.8


def sample_skin(draws: Draws, count: int, shares: SkinShares | None = None) -> SkinStyle:
    """Draw ``count`` appearances."""
    shares = shares or SkinShares()
    pigment = _sample_pigment(draws, count, shares)
    hair = _pick_colour(draws, HAIR_COLOURS, HAIR_WEIGHTS, count)
    # Dark skin seldom comes with light hair.
    darker = torch.exp(-HAIR_FOLLOWS_SKIN * (pigment["melanin"] - 0.35).clamp_min(0))
    hair = hair * torch.where(draws.chance(0.85, count), darker, 1.0)[:, None]
    bearded = draws.chance(shares.beard, count)
    full = bearded & draws.chance(0.5, count)
    # The order of the draws is part of the seed's meaning: the head's albedo basis is rebuilt from it.
    return SkinStyle(
        **pigment,
        **_sample_mouth(draws, count, shares),
        **_sample_eye_region(draws, count, hair, shares),
        **_sample_beard(draws, count, hair, bearded, full, shares),
        **_sample_eyes_and_teeth(draws, count, pigment["melanin"]),
    )


def _some(draws: Draws, count: int, probability: float, low: float = 0.0, high: float = 1.0) -> Tensor:
    """[count] uniform numbers for a share of the faces, 0 for the others."""
    return draws.chance(probability, count) * draws.uniform(count, low=low, high=high)


def _pick_colour(draws: Draws, table: tuple, weights: tuple, count: int, spread: float = 0.25) -> Tensor:
    colours = constant(table, draws.device)[draws.choice(weights, count)]
    return colours * torch.exp(draws.normal(count, 3, std=spread * 0.4) + draws.normal(count, 1, std=spread))


def _sample_mouth(draws: Draws, count: int, shares: SkinShares) -> dict[str, Tensor]:
    made_up = _some(draws, count, shares.lipstick)
    low, high = constant(((0.1, 0.0, 0.01), (0.6, 0.15, 0.2)), draws.device)
    return {
        "lip_melanin": draws.uniform(count, low=0.55, high=1.1),
        "lip_blood": draws.uniform(count, low=0.2, high=1.9),
        "lip_paint": torch.lerp(low, high, draws.uniform(count, 3)),
        "lip_make_up": made_up,
        "lip_strength": draws.uniform(count, low=0.25, high=1.0),
        "lip_border": draws.normal(count, std=0.012),
        "lip_softness": draws.uniform(count, low=0.02, high=0.11) * (1 - 0.7 * made_up),
        "upper_lip": draws.uniform(count, low=UPPER_LIP[0], high=UPPER_LIP[1]),
        "lower_lip": draws.uniform(count, low=LOWER_LIP[0], high=LOWER_LIP[1]),
        "corner": _some(draws, count, shares.mouth_corners, 0.1, 0.6),
        "nostril": _some(draws, count, shares.nostrils, 0.3, 0.9),
    }


def _sample_pigment(draws: Draws, count: int, shares: SkinShares) -> dict[str, Tensor]:
    return {
        # Nearly even in displayed brightness, from very light to very dark.
        "melanin": 0.03 + 1.27 * draws.uniform(count) ** 1.5,
        "haemoglobin": draws.uniform(count, low=0.05, high=0.9),
        "tint": torch.exp(draws.normal(count, 3, std=0.035) + draws.normal(count, 1, std=0.1)),
        "mottling": draws.uniform(count, low=0.02, high=0.16),
        "freckles": _some(draws, count, shares.freckles, 0.1, 0.8),
        "redness": _some(draws, count, shares.redness, 0.0, 0.8),
        "dark_circles": _some(draws, count, shares.dark_circles, 0.0, 0.6),
        "wrinkles": _some(draws, count, shares.creases, 0.05, 0.6),
    }


def _sample_eye_region(draws: Draws, count: int, hair: Tensor, shares: SkinShares) -> dict[str, Tensor]:
    return {
        # Brows are as dark as the hair or darker.
        "brow_colour": hair * torch.exp(draws.normal(count, 1, mean=-0.2, std=0.35)),
        "brow_density": _some(draws, count, shares.brows, 0.35, 1.1),
        "brow_width": draws.uniform(count, low=0.07, high=0.21),
        "brow_raise": draws.normal(count, std=0.015),
        "brow_start": draws.normal(count, std=0.035),
        "brow_stop": draws.normal(count, std=0.035),
        "brow_stroke": draws.uniform(count, low=0.05, high=0.45),
        "lash": _some(draws, count, shares.lashes, 0.4, 1.0),
        "crease": _some(draws, count, shares.lid_creases, 0.1, 0.55),
        "crease_height": draws.uniform(count, low=0.045, high=0.13),
        "eye_shadow": _some(draws, count, shares.eye_shadow),
        "eye_shadow_colour": draws.uniform(count, 3, low=0.01, high=0.3),
    }


def _sample_beard(
    draws: Draws, count: int, hair: Tensor, bearded: Tensor, full: Tensor, shares: SkinShares
) -> dict[str, Tensor]:
    def part() -> Tensor:
        return (full | (bearded & draws.chance(0.5, count))) * draws.uniform(count, low=0.4, high=1.0)

    return {
        "beard_colour": hair * torch.exp(draws.normal(count, 1, std=0.2)),
        "moustache": part(),
        "chin_beard": part(),
        "jaw_beard": full * draws.uniform(count, low=0.3, high=1.0),
        "stubble": _some(draws, count, shares.stubble, 0.1, 0.6),
        "scalp_hair": _some(draws, count, shares.scalp_hair, 0.3, 1.0),
        "scalp_colour": hair,
    }


def _sample_eyes_and_teeth(draws: Draws, count: int, melanin: Tensor) -> dict[str, Tensor]:
    # Dark skin seldom comes with light eyes.
    brown = _pick_colour(draws, IRIS_COLOURS[:2], IRIS_WEIGHTS[:2], count)
    as_skin = draws.uniform(count) < ((melanin - 0.25) / 0.35).clamp(0, 0.96)
    of_any_colour = _pick_colour(draws, IRIS_COLOURS, IRIS_WEIGHTS, count)
    return {
        "iris_colour": torch.where(as_skin[:, None], brown, of_any_colour),
        "iris_radius": draws.uniform(count, low=0.36, high=0.45),
        "pupil_radius": draws.uniform(count, low=0.12, high=0.24),
        "teeth": draws.uniform(count, 1, low=0.4, high=0.9) * constant(TOOTH_TINT, draws.device),
        "sclera": draws.uniform(count, 1, low=0.24, high=0.56) * torch.exp(draws.normal(count, 3, std=0.05)),
    }
