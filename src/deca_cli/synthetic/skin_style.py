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
    (0.420, 0.300, 0.150),
    (0.230, 0.075, 0.025),
    (0.230, 0.225, 0.220),
    (0.620, 0.610, 0.590),
)
HAIR_WEIGHTS = (5, 5, 4, 2, 2, 1, 1.5, 1)
IRIS_COLOURS = (
    (0.05, 0.025, 0.012),
    (0.10, 0.055, 0.025),
    (0.15, 0.12, 0.05),
    (0.10, 0.16, 0.10),
    (0.12, 0.20, 0.32),
    (0.22, 0.25, 0.27),
)
IRIS_WEIGHTS = (4, 4, 2, 1, 1.5, 1)
NATURAL_LIPS = (0.42, 0.14, 0.12)
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
    lip_colour: Tensor
    lip_strength: Tensor
    brow_colour: Tensor
    brow_density: Tensor
    brow_width: Tensor
    brow_raise: Tensor
    brow_length: Tensor
    lash: Tensor
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


def sample_skin(draws: Draws, count: int) -> SkinStyle:
    """Draw ``count`` appearances."""
    hair = _pick_colour(draws, HAIR_COLOURS, HAIR_WEIGHTS, count)
    lip_colour, made_up = _sample_lips(draws, count)
    bearded = draws.chance(0.3, count)
    full = bearded & draws.chance(0.5, count)
    # The order of the draws is part of the seed's meaning: the head's albedo basis is rebuilt from it.
    return SkinStyle(
        **_sample_pigment(draws, count),
        lip_colour=lip_colour,
        lip_strength=draws.uniform(count, low=0.15, high=0.75) + made_up * 0.25,
        **_sample_eye_region(draws, count, hair),
        **_sample_beard(draws, count, hair, bearded, full),
        **_sample_eyes_and_teeth(draws, count),
    )


def _some(draws: Draws, count: int, probability: float, low: float = 0.0, high: float = 1.0) -> Tensor:
    """[count] uniform numbers for a share of the faces, 0 for the others."""
    return draws.chance(probability, count) * draws.uniform(count, low=low, high=high)


def _pick_colour(draws: Draws, table: tuple, weights: tuple, count: int, spread: float = 0.25) -> Tensor:
    colours = constant(table, draws.device)[draws.choice(weights, count)]
    return colours * torch.exp(draws.normal(count, 3, std=spread * 0.4) + draws.normal(count, 1, std=spread))


def _sample_lips(draws: Draws, count: int) -> tuple[Tensor, Tensor]:
    """Colours [count, 3], and how much of each is make-up [count]."""
    made_up = draws.chance(0.2, count)[:, None] * draws.uniform(count, 1)
    ranges = ((0.1, 0.6), (0.0, 0.15), (0.01, 0.2))
    painted = torch.stack([draws.uniform(count, low=low, high=high) for low, high in ranges], 1)
    natural = constant(NATURAL_LIPS, draws.device) * torch.exp(draws.normal(count, 3, std=0.2))
    return torch.lerp(natural, painted, made_up), made_up[:, 0]


def _sample_pigment(draws: Draws, count: int) -> dict[str, Tensor]:
    return {
        "melanin": 0.03 + 1.27 * draws.uniform(count) ** 1.8,
        "haemoglobin": draws.uniform(count, low=0.05, high=1.3),
        "tint": torch.exp(draws.normal(count, 3, std=0.07) + draws.normal(count, 1, std=0.12)),
        "mottling": draws.uniform(count, low=0.02, high=0.16),
        "freckles": _some(draws, count, 0.25, 0.1, 0.8),
        "redness": draws.uniform(count, low=0.0, high=0.9),
        "dark_circles": draws.uniform(count, low=0.0, high=0.5),
        "wrinkles": _some(draws, count, 0.6, 0.05, 0.8),
    }


def _sample_eye_region(draws: Draws, count: int, hair: Tensor) -> dict[str, Tensor]:
    return {
        "brow_colour": hair * torch.exp(draws.normal(count, 1, std=0.3)),
        "brow_density": draws.uniform(count, low=0.25, high=1.0),
        "brow_width": draws.uniform(count, low=0.03, high=0.09),
        "brow_raise": draws.normal(count, std=0.02),
        "brow_length": draws.uniform(count, low=-0.02, high=0.12),
        "lash": draws.uniform(count, low=0.1, high=1.0),
        "eye_shadow": _some(draws, count, 0.2),
        "eye_shadow_colour": draws.uniform(count, 3, low=0.01, high=0.3),
    }


def _sample_beard(draws: Draws, count: int, hair: Tensor, bearded: Tensor, full: Tensor) -> dict[str, Tensor]:
    def part() -> Tensor:
        return (full | (bearded & draws.chance(0.5, count))) * draws.uniform(count, low=0.4, high=1.0)

    return {
        "beard_colour": hair * torch.exp(draws.normal(count, 1, std=0.2)),
        "moustache": part(),
        "chin_beard": part(),
        "jaw_beard": full * draws.uniform(count, low=0.3, high=1.0),
        "stubble": _some(draws, count, 0.3, 0.1, 0.6),
        "scalp_hair": draws.chance(0.75, count) * draws.uniform(count, low=0.3, high=1.0),
        "scalp_colour": hair,
    }


def _sample_eyes_and_teeth(draws: Draws, count: int) -> dict[str, Tensor]:
    return {
        "iris_colour": _pick_colour(draws, IRIS_COLOURS, IRIS_WEIGHTS, count),
        "iris_radius": draws.uniform(count, low=0.36, high=0.45),
        "pupil_radius": draws.uniform(count, low=0.10, high=0.22),
        "teeth": draws.uniform(count, 1, low=0.3, high=0.8) * constant(TOOTH_TINT, draws.device),
        "sclera": draws.uniform(count, 1, low=0.28, high=0.62) * torch.exp(draws.normal(count, 3, std=0.05)),
    }
