"""Procedural skin: albedo maps of many people, painted from fields over the UV chart.

The tone model mixes two pigments in the logarithm of linear reflectance, as light absorption does (Beer-Lambert):
melanin, which absorbs blue most, and haemoglobin, which absorbs green most (Jimenez et al. 2010, "A practical
appearance model for dynamic facial color", uses the same two axes). The absorption numbers here were set by eye so
that melanin 0.05 to 1.3 spans very light to very dark skin.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from deca_cli.synthetic.constants import constant
from deca_cli.synthetic.skin_fields import SkinFields, bump, smooth_step

if TYPE_CHECKING:
    from deca_cli.synthetic.draws import Draws

BLOODLESS_SKIN = (0.80, 0.62, 0.52)  # linear RGB reflectance without pigment
MELANIN_ABSORPTION = (1.75, 2.15, 2.45)
HAEMOGLOBIN_ABSORPTION = (0.06, 0.50, 0.38)

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


def to_display(linear: Tensor) -> Tensor:
    """Linear light to display values in [0, 1] (gamma 2.2)."""
    return linear.clamp(1e-5, 1).pow(1 / 2.2)


def to_linear(display: Tensor) -> Tensor:
    """Display values in [0, 1] to linear light (gamma 2.2)."""
    return display.clamp(0, 1).pow(2.2)


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

    def select(self, index: Tensor) -> SkinStyle:
        """The styles with the given indices."""
        return SkinStyle(**{f.name: getattr(self, f.name)[index] for f in fields(self)})


def _pick_colour(draws: Draws, table: tuple, weights: tuple, count: int, spread: float = 0.25) -> Tensor:
    colours = constant(table, draws.device)[draws.choice(weights, count)]
    return colours * torch.exp(draws.normal(count, 3, std=spread * 0.4) + draws.normal(count, 1, std=spread))


def sample_skin(draws: Draws, count: int, variety: float = 1.0) -> SkinStyle:
    """Draw ``count`` appearances; ``variety`` widens colours beyond what is common (1 = natural spread)."""

    def some(probability: float, low: float = 0.0, high: float = 1.0) -> Tensor:
        return draws.chance(probability, count) * draws.uniform(count, low=low, high=high)

    hair = _pick_colour(draws, HAIR_COLOURS, HAIR_WEIGHTS, count)
    odd_lips = draws.chance(0.2, count)[:, None] * draws.uniform(count, 1)
    made_up = torch.stack(
        [
            draws.uniform(count, low=0.1, high=0.6),
            draws.uniform(count, low=0.0, high=0.15),
            draws.uniform(count, low=0.01, high=0.2),
        ],
        1,
    )
    natural = constant((0.42, 0.14, 0.12), draws.device) * torch.exp(draws.normal(count, 3, std=0.2))
    bearded = draws.chance(0.3, count)
    full = bearded & draws.chance(0.5, count)
    return SkinStyle(
        melanin=0.03 + 1.27 * draws.uniform(count) ** 1.8,
        haemoglobin=draws.uniform(count, low=0.05, high=1.3),
        tint=torch.exp(
            draws.normal(count, 3, std=0.07 * variety) + draws.normal(count, 1, std=0.12 * variety)
        ),
        mottling=draws.uniform(count, low=0.02, high=0.16),
        freckles=some(0.25, 0.1, 0.8),
        redness=draws.uniform(count, low=0.0, high=0.9),
        dark_circles=draws.uniform(count, low=0.0, high=0.5),
        wrinkles=some(0.6, 0.05, 0.8),
        lip_colour=torch.lerp(natural, made_up, odd_lips),
        lip_strength=draws.uniform(count, low=0.15, high=0.75) + odd_lips[:, 0] * 0.25,
        brow_colour=hair * torch.exp(draws.normal(count, 1, std=0.3)),
        brow_density=draws.uniform(count, low=0.25, high=1.0),
        brow_width=draws.uniform(count, low=0.03, high=0.09),
        brow_raise=draws.normal(count, std=0.02),
        brow_length=draws.uniform(count, low=-0.02, high=0.12),
        lash=draws.uniform(count, low=0.1, high=1.0),
        eye_shadow=some(0.2),
        eye_shadow_colour=draws.uniform(count, 3, low=0.01, high=0.3),
        beard_colour=hair * torch.exp(draws.normal(count, 1, std=0.2)),
        moustache=(full | (bearded & draws.chance(0.5, count))) * draws.uniform(count, low=0.4, high=1.0),
        chin_beard=(full | (bearded & draws.chance(0.5, count))) * draws.uniform(count, low=0.4, high=1.0),
        jaw_beard=full * draws.uniform(count, low=0.3, high=1.0),
        stubble=some(0.3, 0.1, 0.6),
        scalp_hair=draws.chance(0.75, count) * draws.uniform(count, low=0.3, high=1.0),
        scalp_colour=hair,
        iris_colour=_pick_colour(draws, IRIS_COLOURS, (4, 4, 2, 1, 1.5, 1), count),
        iris_radius=draws.uniform(count, low=0.36, high=0.45),
        pupil_radius=draws.uniform(count, low=0.10, high=0.22),
        teeth=draws.uniform(count, 1, low=0.3, high=0.8) * constant((1.0, 0.93, 0.8), draws.device),
        sclera=draws.uniform(count, 1, low=0.28, high=0.62) * torch.exp(draws.normal(count, 3, std=0.05)),
    )


def skin_tone(melanin: Tensor, haemoglobin: Tensor) -> Tensor:
    """Linear RGB reflectance [..., 3] of skin with the given pigments [...]."""
    base, melanin_axis, blood_axis = (
        constant(v, melanin.device) for v in (BLOODLESS_SKIN, MELANIN_ABSORPTION, HAEMOGLOBIN_ABSORPTION)
    )
    return base * torch.exp(-melanin[..., None] * melanin_axis - haemoglobin[..., None] * blood_axis)


def eye_colour(angle: Tensor, spoke: Tensor, style: SkinStyle) -> Tensor:
    """Linear RGB of the eyeball.

    Args:
        angle: [N, ...] angle from the optical axis, seen from the centre of the eyeball, rad.
        spoke: [N, ...] streak pattern of the iris around the axis, about [-1, 1].
        style: one per face.

    Returns:
        [N, 3, ...].
    """
    extra = (1,) * (angle.dim() - 1)

    def spread(value: Tensor) -> Tensor:
        return value.view(-1, *extra)

    def colour(value: Tensor) -> Tensor:
        return value.view(-1, 3, *extra)

    iris, pupil = spread(style.iris_radius), spread(style.pupil_radius)
    inside = (1 - smooth_step(angle, iris - 0.03, iris + 0.03))[:, None]
    limbus = (1 - 0.7 * bump(angle - iris, 0.06))[:, None]
    hole = (1 - smooth_step(angle, pupil - 0.02, pupil + 0.02))[:, None]
    iris_rgb = colour(style.iris_colour) * (1 + 0.45 * spoke)[:, None] * limbus * (1 - 0.98 * hole)
    white_rgb = colour(style.sclera) * torch.stack(
        [torch.ones_like(angle), 1 - 0.15 * (angle - 0.4).clamp(0, 1), 1 - 0.18 * (angle - 0.4).clamp(0, 1)],
        1,
    )
    return torch.lerp(white_rgb, iris_rgb, inside)


class SkinPainter:
    """Paints albedo maps over the UV chart of one head.

    Args:
        measured: fields of the template on the chart.
        draws: source of the noise banks (freckles, hair strokes, mottling).
        variants: how many noise patterns are kept; faces pick among them.
    """

    def __init__(self, measured: SkinFields, draws: Draws, variants: int = 24) -> None:
        self.measured = measured
        size = measured.depth.shape[-1]
        self.size, self.variants = size, variants
        self.mottle = draws.cloud_noise(variants, 1, size, (6, 14, 30, 60), 0.8)[:, 0]
        grain = draws.smooth_noise(variants, 1, size, size // 3)[:, 0]
        self.dots = smooth_step(grain, 1.7, 2.3)
        self.strokes = self._strokes(draws, variants)
        self.fuzz = draws.smooth_noise(variants, 1, size, size // 2 - 3)[:, 0]

    def _strokes(self, draws: Draws, variants: int) -> Tensor:
        """[variants, U, U] short hairs that lean outwards over the brow."""
        m = self.measured
        noise = draws.normal(variants, 1, 96, 96)
        lean = m.brow_along * 14 + m.brow_across * 6
        grid = torch.stack([torch.remainder(lean, 2) - 1, (m.brow_across * 3).clamp(-1, 1)], -1)
        grid = grid.expand(variants, -1, -1, -1)
        return F.grid_sample(noise, grid, padding_mode="reflection", align_corners=False)[:, 0]

    def paint(self, style: SkinStyle, pick: Tensor) -> Tensor:
        """Linear RGB albedo [N, 3, U, U] of all that is not an eyeball; teeth and mouth included.

        Args:
            style: N appearances.
            pick: [N] int64, which of the ``variants`` noise patterns each face has.
        """
        mottle, dots = self.mottle[pick], self.dots[pick.roll(1)]
        albedo = self._pigment(style, mottle, dots)
        albedo = self._lips(albedo, style)
        albedo = self._eye_region(albedo, style)
        albedo = self._hair(albedo, style, self.fuzz[pick.roll(2)], self.strokes[pick.roll(3)])
        return self._mouth(albedo, style)

    def _pigment(self, style: SkinStyle, mottle: Tensor, dots: Tensor) -> Tensor:
        m = self.measured
        n = slice(None), None, None
        blood = style.haemoglobin[n] + style.redness[n] * (0.6 * m.cheek + 0.6 * m.nose_tip)
        blood = blood + style.dark_circles[n] * 0.5 * m.under_eye + mottle * style.mottling[n]
        melanin = style.melanin[n] * (
            1 + 0.25 * style.dark_circles[n] * m.under_eye + 0.5 * style.mottling[n] * mottle
        )
        melanin = melanin + style.freckles[n] * 0.45 * dots * (0.3 + m.cheek + m.nose_tip)
        creases = m.wrinkles.sum(0).clamp(0, 1)
        tone = skin_tone(melanin.clamp_min(0), blood.clamp_min(0)) * style.tint[:, None, None]
        return tone.permute(0, 3, 1, 2) * (1 - 0.45 * style.wrinkles[n] * creases)[:, None]

    def _lips(self, albedo: Tensor, style: SkinStyle) -> Tensor:
        m = self.measured
        on_lips = smooth_step(m.lips, -0.015, 0.02) * style.lip_strength[:, None, None].clamp(0, 1)
        # Lip colour darkens with the skin: dark skin has darker lips.
        colour = style.lip_colour * torch.exp(-0.7 * style.melanin)[:, None]
        albedo = torch.lerp(albedo, colour[:, :, None, None].expand_as(albedo), on_lips[:, None])
        return albedo * (1 - 0.75 * bump(m.mouth_line, 0.018))

    def _eye_region(self, albedo: Tensor, style: SkinStyle) -> Tensor:
        m = self.measured
        shade = style.eye_shadow[:, None, None] * m.above_eye * bump(m.lid.clamp_max(0), 0.16) * (m.lid > -1)
        albedo = torch.lerp(
            albedo, style.eye_shadow_colour[:, :, None, None].expand_as(albedo), 0.8 * shade[:, None]
        )
        line = bump(m.lid + 0.012, 0.022) * (0.35 + 0.65 * m.above_eye) * style.lash[:, None, None]
        return albedo * (1 - 0.85 * line[:, None])

    def _hair(self, albedo: Tensor, style: SkinStyle, fuzz: Tensor, strokes: Tensor) -> Tensor:
        m = self.measured
        n = slice(None), None, None
        across = m.brow_across - style.brow_raise[n]
        taper = style.brow_width[n] * (1.1 - 0.65 * m.brow_along)
        brow = smooth_step(taper - across.abs(), -0.02, 0.03) * (
            1
            - smooth_step(
                m.brow_end,
                style.brow_length[n].clamp_min(0.01) * 0.5,
                style.brow_length[n].clamp_min(0.01) + 0.04,
            )
        )
        brow = (brow * style.brow_density[n] * (0.85 + 0.35 * strokes)).clamp(0, 1)
        area = torch.maximum(
            torch.maximum(style.moustache[n] * m.moustache, style.chin_beard[n] * m.chin_beard),
            style.jaw_beard[n] * m.jaw_beard,
        )
        area = torch.maximum(
            area,
            style.stubble[n] * 0.6 * torch.maximum(torch.maximum(m.moustache, m.chin_beard), m.jaw_beard),
        )
        beard = (area * (0.8 + 0.2 * fuzz) * (1 - smooth_step(m.lips, -0.03, 0.01))).clamp(0, 1)
        scalp = (m.scalp * style.scalp_hair[n] * (0.92 + 0.1 * fuzz)).clamp(0, 1)
        for cover, colour in (
            (scalp, style.scalp_colour),
            (beard, style.beard_colour),
            (brow, style.brow_colour),
        ):
            albedo = torch.lerp(albedo, colour[:, :, None, None].expand_as(albedo), cover[:, None])
        return albedo

    def _mouth(self, albedo: Tensor, style: SkinStyle) -> Tensor:
        inside = constant((0.20, 0.045, 0.04), albedo.device)[:, None, None]
        albedo = torch.lerp(albedo, inside.expand_as(albedo), self.measured.mouth_inside)
        return torch.lerp(albedo, style.teeth[:, :, None, None].expand_as(albedo), self.measured.teeth)
