"""Light on synthetic faces: coloured surroundings, a key light with cast shadows, highlights. Linear RGB throughout."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from deca_cli.render.lighting import sh_basis
from deca_cli.synthetic.constants import constant

if TYPE_CHECKING:
    from deca_cli.synthetic.draws import Draws

HARMONICS_DIRECTIONS = 400
GOLDEN_ANGLE = 2.399963  # rad


@dataclass(frozen=True)
class Lights:
    """One lighting per face. Directions are unit vectors towards the light, camera-aligned (z towards the viewer)."""

    ambient: Tensor  # [N, 3]
    slope: Tensor  # [N, 3, 3] RGB by direction: surroundings brighter on one side (first band of harmonics)
    key_direction: Tensor  # [N, 3]
    key: Tensor  # [N, 3]
    fill_direction: Tensor  # [N, 3]
    fill: Tensor  # [N, 3]
    shadow: Tensor  # [N] strength of the key light's cast shadow, 0 = none
    gloss: Tensor  # [N] strength of highlights
    sharpness: Tensor  # [N] Blinn-Phong exponent
    glint: Tensor  # [N] strength of the mirror image of the key light on the eyes, 0 = none
    glint_sharpness: Tensor  # [N] Blinn-Phong exponent
    behind: Tensor  # [N] light on what stands behind the face, as a share of white paper's


def _upper_front(draws: Draws, count: int) -> Tensor:
    """Directions mostly from above and in front, sometimes from anywhere."""
    common = draws.normal(count, 3) * constant((0.9, 0.55, 0.6), draws.device)
    common = common + constant((0.0, 0.45, 0.75), draws.device)
    return F.normalize(
        torch.where(draws.chance(0.2, count)[:, None], draws.directions(count), common), dim=-1
    )


def _colour(draws: Draws, count: int, spread: float) -> Tensor:
    """Warm-to-cold light with a little green-magenta, mean 1."""
    warmth = draws.normal(count, 1, std=spread)
    axis = constant((1.0, 0.05, -1.0), draws.device)
    return torch.exp(warmth * axis + draws.normal(count, 3, std=0.3 * spread))


@dataclass(frozen=True)
class LightShares:
    """Shares of the pictures that show an effect of light; 0 switches it off."""

    shadow: float = 0.65
    highlights: float = 1.0
    glint: float = 0.85
    side: float = 0.2  # a strong key light from one side, with little light from elsewhere
    flash: float = 0.1  # a hard light beside the lens, in the dark
    overhead: float = 0.7  # surroundings brighter above, as sky and ceilings are


def _flash_direction(draws: Draws, count: int) -> Tensor:
    """Directions close to the lens, mostly a little above it."""
    spread = draws.normal(count, 3) * constant((0.12, 0.12, 0.0), draws.device)
    return F.normalize(spread + constant((0.0, 0.12, 1.0), draws.device), dim=1)


def _surroundings(draws: Draws, count: int, overhead: float) -> Tensor:
    """[count, 1, 3] slope of the surroundings' brightness: mostly brighter above, some brighter anywhere."""
    above = draws.uniform(count, 1, 1, low=0.15, high=0.8) * draws.chance(overhead, count, 1, 1)
    anywhere = draws.normal(count, 1, 1, std=0.3) * draws.directions(count, 1)
    return above * constant((0.0, 1.0, 0.15), draws.device) + anywhere


def sample_lights(draws: Draws, count: int, shares: LightShares | None = None) -> Lights:
    """Draw ``count`` lightings."""
    shares = shares or LightShares()
    key = draws.log_uniform(count, 1, low=0.08, high=2.2)
    key = torch.where(draws.chance(0.15, count)[:, None], key * 1.8, key)
    flash = draws.chance(shares.flash, count)[:, None]
    side = draws.chance(shares.side, count)[:, None] & ~flash
    across = torch.where(draws.chance(0.5, count), -1.0, 1.0) * draws.uniform(count, low=0.6, high=1.2)
    beside = torch.stack([across, draws.normal(count, mean=0.2, std=0.3), draws.uniform(count, high=0.5)], 1)
    direction = torch.where(side, F.normalize(beside, dim=1), _upper_front(draws, count))
    direction = torch.where(flash, _flash_direction(draws, count), direction)
    key = torch.where(side | flash, key.clamp_min(0.7), key)
    dim = torch.where(side, 0.45, torch.where(flash, 0.3, 1.0))
    ambient = dim * _colour(draws, count, 0.12) * draws.log_uniform(count, 1, low=0.12, high=0.9)
    coloured = draws.normal(count, 3, 3, std=0.07)
    lights = Lights(
        ambient=ambient,
        slope=ambient[:, :, None] * (_surroundings(draws, count, shares.overhead) + coloured),
        key_direction=direction,
        key=_colour(draws, count, 0.15) * key,
        fill_direction=draws.directions(count),
        fill=dim * _colour(draws, count, 0.2) * draws.uniform(count, 1, low=0.0, high=0.5),
        shadow=draws.chance(shares.shadow, count) * draws.uniform(count, low=0.4, high=1.0),
        gloss=draws.chance(shares.highlights, count) * draws.log_uniform(count, low=0.015, high=0.4),
        sharpness=draws.log_uniform(count, low=6.0, high=60.0),
        glint=draws.chance(shares.glint, count) * draws.log_uniform(count, low=0.4, high=3.0),
        glint_sharpness=draws.log_uniform(count, low=150.0, high=1500.0),
        behind=torch.ones_like(key[:, 0]),
    )
    return replace(lights, behind=_light_behind(draws, lights, flash[:, 0]))


def _light_behind(draws: Draws, lights: Lights, flash: Tensor) -> Tensor:
    """[N] light behind the face: more or less that on the face; a flash does not reach far."""
    level = illuminant(lights).mean(1).clamp_min(0.02) ** draws.uniform(len(flash), low=0.3, high=1.0)
    return level * torch.where(flash, draws.log_uniform(len(flash), low=0.1, high=0.8), 1.3)


@lru_cache(maxsize=4)
@torch.inference_mode(False)  # what is kept must also serve a later training
def _harmonics_fit(device: torch.device) -> tuple[Tensor, Tensor]:
    """Evenly spread directions of the front hemisphere [P, 3], and the least-squares map [9, P] of values there."""
    index = torch.arange(HARMONICS_DIRECTIONS, dtype=torch.float64) + 0.5
    z = 1 - index / HARMONICS_DIRECTIONS
    turn = index * GOLDEN_ANGLE
    radius = (1 - z * z).sqrt()
    directions = torch.stack([radius * turn.cos(), radius * turn.sin(), z], -1)
    fit = torch.linalg.pinv(sh_basis(directions[None].mT)[0].T)
    return directions.float().to(device), fit.float().to(device)


def diffuse_light(lights: Lights, directions: Tensor) -> Tensor:
    """Linear RGB light [N, P, 3] that a matt white surface reflects, unshadowed, by its normal [P, 3]."""
    along_key = (lights.key_direction @ directions.T).clamp_min(0)[..., None]
    along_fill = (lights.fill_direction @ directions.T).clamp_min(0)[..., None]
    around = lights.ambient[:, None] + torch.einsum("pc,nkc->npk", directions, lights.slope)
    return around.clamp_min(0) + lights.key[:, None] * along_key + lights.fill[:, None] * along_fill


def illuminant(lights: Lights) -> Tensor:
    """[N, 3] mean linear light that a matt white surface facing the viewer's side reflects, without shadows."""
    directions, _ = _harmonics_fit(lights.key.device)
    return diffuse_light(lights, directions).mean(1)


def shading_harmonics(lights: Lights) -> Tensor:
    """The light as nine spherical harmonics per colour, [N, 9, 3], in the order and scale of `render.lighting`.

    DECA multiplies albedo and shading as display values (spec sections 6.4, 6.5), so what is fitted is the displayed
    shade of matt white, (linear light) ** (1 / 2.2), by least squares on the directions that face the viewer. Cast
    shadows and highlights are not in it. Same frame as the lights: camera-aligned, z towards the viewer.
    """
    directions, fit = _harmonics_fit(lights.key.device)
    return fit @ diffuse_light(lights, directions).clamp_min(1e-5) ** (1 / 2.2)


def eye_glint(normals: Tensor, lights: Lights, eyes: Tensor, lit: Tensor) -> Tensor:
    """The small bright mirror image of the key light on the wet eyes: linear light [N, 3, H, W] to be added.

    Args:
        normals: [N, 3, H, W] unit normals of the eyeballs.
        eyes: [N, 1, H, W] 1 on eyeballs.
        lit: [N, 1, H, W] share of the key light that arrives.
    """
    n = (slice(None), None, None, None)
    # Lamps and windows behind the camera are mirrored, too: none is farther to the side than the eye can show.
    half = F.normalize(lights.key_direction * 0.5 + constant((0.0, 0.0, 1.0), normals.device), dim=-1)
    mirror = torch.einsum("nchw,nc->nhw", normals, half).clamp_min(1e-4)[:, None]
    strength = mirror ** lights.glint_sharpness[n] * lights.glint[n] * eyes * lit
    return strength * (lights.key + 0.5 * lights.ambient)[:, :, None, None]


def illuminate(
    albedo: Tensor, normals: Tensor, lights: Lights, occlusion: Tensor, lit: Tensor, gloss: Tensor
) -> Tensor:
    """Reflected light.

    Args:
        albedo: [N, 3, H, W] linear reflectance.
        normals: [N, 3, H, W] unit normals, camera-aligned, z towards the viewer.
        occlusion: [N, 1, H, W] share of the surroundings that the point sees.
        lit: [N, 1, H, W] share of the key light that arrives.
        gloss: [N, 1, H, W] multiplies the highlights.

    Returns:
        [N, 3, H, W] linear light, not clamped.
    """
    n = (slice(None), slice(None), None, None)
    half = F.normalize(lights.key_direction + constant((0.0, 0.0, 1.0), albedo.device), dim=-1)
    towards = torch.stack([lights.key_direction, lights.fill_direction, half], 1)
    # One product for all directions: a product of its own for each would read the normals four times.
    along = torch.einsum("nchw,nkc->nkhw", normals, torch.cat([lights.slope, towards], 1))
    along_key, along_fill = along[:, 3:5].clamp_min(0).split(1, 1)
    around = (lights.ambient[n] + along[:, :3]).clamp_min(0)
    diffuse = torch.addcmul(around, lights.fill[n], along_fill) * occlusion
    diffuse = torch.addcmul(diffuse, lights.key[n], along_key * lit)
    highlight = along[:, 5:].clamp_min(1e-4) ** lights.sharpness[:, None, None, None]
    highlight = highlight * (lit * gloss) * lights.gloss[:, None, None, None]
    # Grazing light reflects more (Schlick's approximation with 4 % at normal incidence, as skin has).
    rim = 0.04 + 0.25 * (1 - normals[:, 2:3].clamp(0, 1)) ** 5
    reflected = torch.addcmul(albedo * diffuse, highlight, lights.key[n])
    return torch.addcmul(reflected, 0.3 * rim * gloss, around)
