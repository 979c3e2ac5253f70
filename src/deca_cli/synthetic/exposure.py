"""What a camera makes of the light: exposure, white balance, tone curve, black and white."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from deca_cli.synthetic.constants import constant
from deca_cli.synthetic.skin import to_display

if TYPE_CHECKING:
    from deca_cli.synthetic.draws import Draws

WHITE_UNDER_LIGHT = 1.0  # linear value of white paper in a picture that is exposed for the light
SCENE_GREY = 0.34  # linear mean of a picture that is exposed for what it shows


@dataclass(frozen=True)
class ExposureShares:
    """Shares of the pictures; 0 switches the effect off."""

    grey: float = 0.12
    wrong_balance: float = 0.2
    tone_curve: float = 0.85


@dataclass(frozen=True)
class Exposure:
    """How a camera turns light into a picture (N pictures)."""

    gain: Tensor  # [N, 3]
    rolled_off: Tensor  # [N] bool: film-like shoulder in place of hard clipping
    curve: Tensor  # [N] 0 ... 1, strength of the S-curve
    contrast: Tensor  # [N]
    lift: Tensor  # [N]
    saturation: Tensor  # [N] 0 = black and white


def metered(draws: Draws, linear: Tensor, illuminant: Tensor) -> Tensor:
    """[N] brightness that an ideal exposure turns to 1.

    A camera knows the scene, not the light, and meters its mean. But scenes are large and their mean differs less than
    that of a crop around one face, and photographers correct for light and dark subjects. So the exposure lies between
    that for the crop and that for the light, mostly nearer to the latter: dark skin stays darker than light skin.

    Args:
        draws: source of randomness.
        linear: [N, 3, H, W].
        illuminant: [N, 3] mean light on a white surface.
    """
    n = linear.shape[0]
    of_scene = linear.clamp(0, 2).mean((1, 2, 3)).clamp_min(0.01) / SCENE_GREY
    of_light = illuminant.mean(1).clamp_min(0.02) / WHITE_UNDER_LIGHT
    return torch.exp(torch.lerp(of_light.log(), of_scene.log(), draws.uniform(n, low=0.0, high=0.65)))


def white_balance(draws: Draws, illuminant: Tensor, wrong: float) -> Tensor:
    """[N, 3] factors that take most of the light's colour away; a share of the pictures keeps most of it."""
    n = len(illuminant)
    tint = (illuminant / illuminant.mean(1, keepdim=True).clamp_min(1e-3)).clamp(0.2, 5)
    good, poor = draws.uniform(n, 1, low=0.6, high=1.0), draws.uniform(n, 1, high=0.6)
    corrected = tint ** -torch.where(draws.chance(wrong, n)[:, None], poor, good)
    warmth = draws.normal(n, 1, std=0.06) * constant((1.0, 0.0, -1.0), draws.device)
    return corrected * torch.exp(warmth + draws.normal(n, 3, std=0.03))


def sample_exposure(
    draws: Draws, linear: Tensor, illuminant: Tensor, shares: ExposureShares | None = None
) -> Exposure:
    """Exposure, white balance, contrast, saturation.

    Args:
        draws: source of randomness.
        linear: [N, 3, H, W].
        illuminant: [N, 3] mean light on a white surface.
        shares: how many pictures have what.
    """
    shares = shares or ExposureShares()
    n = linear.shape[0]
    corrected = draws.uniform(n, low=0.75, high=1.0)  # cameras leave dim scenes a little dim
    error = torch.exp(draws.normal(n, std=0.22))
    gain = metered(draws, linear, illuminant) ** -corrected * error
    return Exposure(
        gain=gain[:, None] * white_balance(draws, illuminant, shares.wrong_balance),
        rolled_off=draws.chance(0.6, n),
        curve=draws.uniform(n) * draws.chance(shares.tone_curve, n),
        contrast=torch.exp(draws.normal(n, std=0.12)),
        lift=draws.normal(n, std=0.03),
        saturation=draws.uniform(n, low=0.6, high=1.5) * ~draws.chance(shares.grey, n),
    )


def develop(linear: Tensor, exposure: Exposure) -> Tensor:
    """Linear light [N, 3, H, W] to display values in [0, 1]."""
    n = slice(None), None, None, None
    light = linear * exposure.gain[:, :, None, None]
    display = to_display(torch.where(exposure.rolled_off[n], 1 - torch.exp(-light * 1.2), light))
    steeper = display * display * (3 - 2 * display)
    picture = torch.lerp(display, steeper, exposure.curve[n])
    picture = ((picture - 0.5) * exposure.contrast[n] + 0.5 + exposure.lift[n]).clamp(0, 1)
    grey = (0.299 * picture[:, :1]) + (0.587 * picture[:, 1:2]) + (0.114 * picture[:, 2:])
    return (grey + (picture - grey) * exposure.saturation[n]).clamp(0, 1)
