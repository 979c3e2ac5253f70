"""Procedural skin: albedo maps of many people, painted from fields over the UV chart.

The tone model mixes two pigments in the logarithm of linear reflectance, as light absorption does (Beer-Lambert):
melanin, which absorbs blue most, and haemoglobin, which absorbs green most (Jimenez et al. 2010, "A practical
appearance model for dynamic facial color", uses the same two axes). The absorption numbers here were set by eye so
that melanin 0.05 to 1.3 spans very light to very dark skin.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from deca_cli.synthetic.constants import constant
from deca_cli.synthetic.skin_fields import SkinFields, bump, smooth_step

if TYPE_CHECKING:
    from deca_cli.synthetic.draws import Draws
    from deca_cli.synthetic.skin_style import SkinStyle

BLOODLESS_SKIN = (0.79, 0.61, 0.455)  # linear RGB reflectance without pigment
MELANIN_ABSORPTION = (1.80, 2.06, 2.28)
HAEMOGLOBIN_ABSORPTION = (0.06, 0.50, 0.38)
INSIDE_MOUTH = (0.24, 0.065, 0.055)  # linear RGB of tongue, gums and cheeks
BROW_ABOVE_LINE = 0.3  # share of the brow's height above the landmark line


def to_display(linear: Tensor) -> Tensor:
    """Linear light to display values in [0, 1] (gamma 2.2)."""
    return linear.clamp(1e-5, 1).pow(1 / 2.2)


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
            pick: [4, N] int64, which of the ``variants`` patterns of mottling, freckles, beard and brow each face has.
        """
        mottle, dots = self.mottle[pick[0]], self.dots[pick[1]]
        albedo = self._pigment(style, mottle, dots)
        albedo = self._lips(albedo, style)
        albedo = self._eye_region(albedo, style)
        albedo = self._hair(albedo, style, self.fuzz[pick[2]], self.strokes[pick[3]])
        return self._mouth(albedo, style)

    def _pigment(self, style: SkinStyle, mottle: Tensor, dots: Tensor) -> Tensor:
        m = self.measured
        n = slice(None), None, None
        blood = style.haemoglobin[n] + style.redness[n] * (0.6 * m.cheek + 0.6 * m.nose_tip)
        blood = blood + style.dark_circles[n] * 0.5 * m.under_eye + mottle * style.mottling[n]
        melanin = style.melanin[n] * (
            1 + 0.25 * style.dark_circles[n] * m.under_eye + 0.25 * style.mottling[n] * mottle
        )
        melanin = melanin + style.freckles[n] * 0.32 * dots * (0.3 + m.cheek + m.nose_tip)
        creases = m.wrinkles.sum(0).clamp(0, 1)
        tone = skin_tone(melanin.clamp_min(0), blood.clamp_min(0)) * style.tint[:, None, None]
        return tone.permute(0, 3, 1, 2) * (1 - 0.35 * style.wrinkles[n] * creases)[:, None]

    def _lips(self, albedo: Tensor, style: SkinStyle) -> Tensor:
        m = self.measured
        n = slice(None), None, None
        inside = m.lips + style.lip_border[n]
        on_lips = smooth_step(inside, -0.5 * style.lip_softness[n], 0.5 * style.lip_softness[n])
        cover = torch.maximum(style.lip_strength, style.lip_make_up)
        # The red of the lips is the skin's own colour with more blood shining through.
        natural = (
            skin_tone(style.melanin * style.lip_melanin, style.haemoglobin + style.lip_blood) * style.tint
        )
        colour = torch.lerp(natural, style.lip_paint, style.lip_make_up[:, None])[:, :, None, None]
        shade = torch.lerp(style.lower_lip[n], style.upper_lip[n], m.upper_lip)[:, None]
        albedo = torch.lerp(albedo, colour * shade, (on_lips * cover[n])[:, None])
        line = 0.6 * bump(m.mouth_line, 0.014)
        dark = 1 - style.corner[n] * bump(m.mouth_corner, 0.05)
        dark = dark * (1 - line) * (1 - style.nostril[n] * m.nostril)
        return albedo * dark[:, None]

    def _eye_region(self, albedo: Tensor, style: SkinStyle) -> Tensor:
        m = self.measured
        shade = style.eye_shadow[:, None, None] * m.above_eye * bump(m.lid.clamp_max(0), 0.16) * (m.lid > -1)
        albedo = torch.lerp(
            albedo, style.eye_shadow_colour[:, :, None, None].expand_as(albedo), 0.8 * shade[:, None]
        )
        n = slice(None), None, None
        line = bump(m.lid + 0.012, 0.022) * (0.35 + 0.65 * m.above_eye) * style.lash[n]
        crease = bump(m.lid + style.crease_height[n], 0.016) * m.above_eye * style.crease[n]
        return albedo * ((1 - 0.85 * line) * (1 - crease))[:, None]

    def _hair(self, albedo: Tensor, style: SkinStyle, fuzz: Tensor, strokes: Tensor) -> Tensor:
        m = self.measured
        n = slice(None), None, None
        brow = self._brow(style, strokes)
        area = torch.maximum(
            torch.maximum(style.moustache[n] * m.moustache, style.chin_beard[n] * m.chin_beard),
            style.jaw_beard[n] * m.jaw_beard,
        )
        area = torch.maximum(
            area,
            style.stubble[n] * 0.6 * torch.maximum(torch.maximum(m.moustache, m.chin_beard), m.jaw_beard),
        )
        beard = (area * (0.85 + 0.12 * fuzz) * (1 - smooth_step(m.lips, -0.03, 0.01))).clamp(0, 1)
        scalp = (m.scalp * style.scalp_hair[n] * (0.92 + 0.1 * fuzz)).clamp(0, 1)
        for cover, colour in (
            (scalp, style.scalp_colour),
            (beard, style.beard_colour),
            (brow, style.brow_colour),
        ):
            albedo = torch.lerp(albedo, colour[:, :, None, None].expand_as(albedo), cover[:, None])
        return albedo

    def _brow(self, style: SkinStyle, strokes: Tensor) -> Tensor:
        """[N, U, U] cover of the brow's hair.

        People who mark the 68 points follow the upper part of the brow, so two thirds of the hair lie below the line
        through the points; the hair is highest in the inner half and runs out to a tail.
        """
        m = self.measured
        n = slice(None), None, None
        across = m.brow_across - style.brow_raise[n]
        height = style.brow_width[n] * (0.8 + 0.2 * smooth_step(m.brow_along, 0.0, 0.2))
        height = height * (1 - 0.68 * smooth_step(m.brow_along, 0.35, 1.0))
        cover = smooth_step(BROW_ABOVE_LINE * height - across, -0.02, 0.025)
        cover = cover * smooth_step(across + (1 - BROW_ABOVE_LINE) * height, -0.02, 0.035)
        cover = cover * smooth_step(m.brow_start - style.brow_start[n], -0.05, 0.08)  # thin at its beginning
        cover = cover * smooth_step(m.brow_stop - style.brow_stop[n], -0.03, 0.04)
        return (cover * style.brow_density[n] * (0.95 + style.brow_stroke[n] * strokes)).clamp(0, 1)

    def _mouth(self, albedo: Tensor, style: SkinStyle) -> Tensor:
        inside = constant(INSIDE_MOUTH, albedo.device)[:, None, None]
        albedo = torch.lerp(albedo, inside.expand_as(albedo), self.measured.mouth_inside)
        return torch.lerp(albedo, style.teeth[:, :, None, None].expand_as(albedo), self.measured.teeth)
