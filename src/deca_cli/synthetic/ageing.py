"""What age does to the colours of a face: grey hair, thin brows, spots, pale lips. Wrinkles are in ``wrinkles.py``."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from deca_cli.synthetic.constants import constant
from deca_cli.synthetic.skin_fields import smooth_step

if TYPE_CHECKING:
    from deca_cli.synthetic.draws import Draws
    from deca_cli.synthetic.skin_style import SkinStyle

GREY, WHITE = (0.16, 0.155, 0.15), (0.55, 0.54, 0.52)  # linear RGB of hair without its colour


def age_colours(draws: Draws, skin: SkinStyle, age: Tensor, share: float) -> SkinStyle:
    """The appearances at their age.

    Args:
        draws: source of randomness.
        skin: N appearances of young adults.
        age: [N] 0 ... 1, of the skin, as ``WrinkleStyle.age`` has it.
        share: of the people who look their age.
    """
    count = len(age)
    old = smooth_step(age, 0.45, 1.0) * draws.chance(share, count)
    grey = (old * draws.uniform(count, low=0.3, high=1.6)).clamp(0, 1)
    pale = torch.lerp(
        constant(GREY, age.device), constant(WHITE, age.device), draws.uniform(count, 1).expand(-1, 3)
    )

    def turned(colour: Tensor, speed: float) -> Tensor:
        return torch.lerp(colour, pale, (grey * speed).clamp(0, 1)[:, None])

    return replace(
        skin,
        scalp_colour=turned(skin.scalp_colour, 1.0),
        beard_colour=turned(skin.beard_colour, 1.2),
        brow_colour=turned(skin.brow_colour, 0.6),
        brow_density=skin.brow_density * (1 - 0.4 * old * draws.uniform(count)),
        mottling=skin.mottling + 0.08 * old * draws.uniform(count),
        freckles=torch.maximum(skin.freckles, 0.5 * old * draws.uniform(count) * draws.chance(0.5, count)),
        dark_circles=(skin.dark_circles + 0.35 * old * draws.uniform(count)).clamp(0, 1),
        lip_strength=skin.lip_strength * (1 - 0.4 * old * draws.uniform(count)),
        lash=skin.lash * (1 - 0.4 * old),
    )
