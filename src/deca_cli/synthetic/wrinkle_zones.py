"""Where faces crease and in which patterns: relief maps of unit depth for each zone, in several variants.

The lines and their names are those of Lemperle et al. 2001, "A classification of facial wrinkles"; which muscle folds
which line follows the Facial Action Coding System (Ekman and Friesen). All lengths are millimetres on a face whose
pupils are 63 mm apart. A line is a level function of the frontal plane; patterns differ in the number of lines,
their spacing, bend, length and strength.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from deca_cli.synthetic.skin_fields import bump, smooth_step

if TYPE_CHECKING:
    from deca_cli.synthetic.wrinkle_sheet import FaceSheet


class RandomShapes:
    """Seeded numbers for the patterns, always drawn on the CPU so that every machine has the same patterns."""

    def __init__(self, seed: int, variants: int) -> None:
        self.stream = torch.Generator().manual_seed(seed)
        self.variants = variants

    def uniform(self, low: float, high: float, lines: int = 1) -> Tensor:
        """[variants, lines, 1, 1]."""
        drawn = torch.rand(self.variants, lines, generator=self.stream)
        return (low + (high - low) * drawn)[..., None, None]

    def shown(self, least: int, most: int) -> Tensor:
        """[variants, most, 1, 1]: 1 for the first ``least`` ... ``most`` lines of each variant, 0 for the others."""
        count = torch.randint(least, most + 1, (self.variants, 1), generator=self.stream)
        return (torch.arange(most) < count).float()[..., None, None]

    def wobble(self, along: Tensor, height: float, length: float, lines: int = 1) -> Tensor:
        """[variants, lines, h, w]: a smooth random curve over a coordinate [h, w], about ``height`` high."""
        total = torch.zeros(())
        for octave in (1.0, 2.3):
            phase = self.uniform(0, 2 * math.pi, lines)
            size = self.uniform(0.3, 1.0, lines) * height / octave**2
            total = total + size * torch.sin(2 * math.pi * octave * along / length + phase)
        return total


@dataclass(frozen=True)
class Lines:
    """Lines of all variants of a zone."""

    distance: Tensor  # [variants, lines, h, w] across the line, mm; positive on the side that bulges
    strength: Tensor  # [variants, lines, h, w] 0 ... 1
    width: float  # of the valley, mm
    lean: float = 0.0  # how much the positive side bulges, as a share of the depth


def relief(lines: Lines, width: float) -> Tensor:
    """[variants, h, w]: a narrow valley of depth 1 with slight bulges beside it along every line.

    Args:
        lines: where.
        width: factor on the width of the valleys.
    """
    share = lines.distance / (lines.width * width)
    square = share**2
    profile = (0.85 * square - 1) * torch.exp(-0.8 * square)
    if lines.lean:
        profile = profile + lines.lean * torch.exp(-(((share - 2.6) / 1.5) ** 2))
    return (profile * lines.strength).sum(1)


def _between(value: Tensor, low: Tensor | float, high: Tensor | float, fade: float) -> Tensor:
    """1 between two bounds, fading to 0 over ``fade`` outside them."""
    return smooth_step(value, low - fade, low) * (1 - smooth_step(value, high, high + fade))


def forehead(sheet: FaceSheet, shapes: RandomShapes) -> Lines:
    """Horizontal lines, mostly arched like the brows, some broken or dipping in the middle."""
    top = sheet.landmarks[17:27, 1].max()
    count = 5
    step = shapes.uniform(6.5, 9.5)
    start = top + shapes.uniform(4, 9)
    index = torch.arange(count)[None, :, None, None]
    x = sheet.x
    arch = shapes.uniform(-5, 1) * (x / 40) ** 2 + shapes.uniform(-2.0, 0.5) * bump(x, 12.0)
    level = sheet.y - start - index * step - arch
    level = level - shapes.wobble(x, 1.2, 60) - shapes.wobble(x, 0.8, 45, count)
    middle = shapes.uniform(-7, 7, count)
    reach = shapes.uniform(20, 42, count)
    strength = _between(x, middle - reach, middle + reach, 12.0) * shapes.shown(3, count)
    strength = strength * shapes.uniform(0.45, 1.0, count) * (0.8 + 0.2 * shapes.wobble(x, 1.0, 35, count))
    room = _between(sheet.y, top + 3, top + 50, 6.0) * (1 - smooth_step(sheet.folded, 42.0, 56.0))
    return Lines(sheet.along_skin(level), strength * room, 1.5)


def glabella(sheet: FaceSheet, shapes: RandomShapes) -> Lines:
    """One to three upright lines between the brows, leaning apart at the top."""
    count = 3
    root = sheet.landmarks[27, 1]
    height = sheet.y - root
    offset = torch.tensor([0.0, 4.5, -5.5])[None, :, None, None] + shapes.uniform(5.5, 8.0)
    lean = shapes.uniform(-0.02, 0.22, count)
    aside = torch.where(sheet.x > 0, shapes.uniform(-0.7, 0.7, count), shapes.uniform(-0.7, 0.7, count))
    level = sheet.folded - offset - lean * (height - 12) - aside - shapes.wobble(height, 0.6, 30, count)
    low, high = shapes.uniform(7, 11, count), shapes.uniform(16, 23, count)
    strength = _between(height, low, high, 6.0) * shapes.uniform(0.5, 1.0, count)
    kept = torch.cat([torch.ones_like(lean[:, :1]), (shapes.uniform(0, 1, 2) > 0.6).float()], 1)
    return Lines(sheet.along_skin(level), strength * kept * smooth_step(sheet.folded, 0.0, 2.0), 1.5)


def nose_root(sheet: FaceSheet, shapes: RandomShapes) -> Lines:
    """One or two lines across the root of the nose."""
    count = 2
    root = sheet.landmarks[27, 1]
    index = torch.arange(count)[None, :, None, None]
    arch = shapes.uniform(0.0, 0.02) * sheet.x**2
    level = (
        sheet.y - root - shapes.uniform(-1, 2) - 4.5 * index - arch - shapes.wobble(sheet.x, 0.5, 25, count)
    )
    strength = (
        (1 - smooth_step(sheet.folded, 4.0, 11.0)) * shapes.shown(1, count) * shapes.uniform(0.6, 1, count)
    )
    return Lines(sheet.along_skin(level), strength.expand(level.shape), 1.5)


def crows_feet(sheet: FaceSheet, shapes: RandomShapes) -> Lines:
    """A fan of lines from the outer corner of the eye; directions as on the chart, which keeps angles."""
    count = 5
    corner = sheet.pair(36, 45)
    away = (sheet.points - corner).norm(dim=-1)
    nearest = int(away.argmin())
    right, up = sheet.chart_x.abs(), sheet.chart_y
    right, up = right - right.flatten()[nearest], up - up.flatten()[nearest]
    per_texel = 0.5 * (sheet.metric[0] + sheet.metric[2]).flatten()[nearest].sqrt()
    radius = (right**2 + up**2).sqrt() * per_texel
    turn = torch.atan2(up, right)
    index = torch.tensor([0, 1, -1, 2, -2])[None, :, None, None]
    spread = shapes.uniform(0.24, 0.34)
    angle = shapes.uniform(-0.15, 0.1) + index * spread + shapes.uniform(-0.07, 0.07, count)
    bend = shapes.uniform(-0.010, 0.006, count)
    across = (turn - angle - bend * (radius - 8)) * radius
    across = across - shapes.wobble(radius, 0.4, 22, count)
    ends = shapes.uniform(13, 24, count)
    begins = shapes.uniform(5, 8, count)
    strength = _between(radius, begins, ends, 5.0) * shapes.shown(3, count) * shapes.uniform(0.5, 1, count)
    strength = strength * (turn.abs() < 1.4) * smooth_step(-sheet.lid, 3.0, 5.0)
    return Lines(across, strength, 1.15)


def under_eye(sheet: FaceSheet, shapes: RandomShapes) -> Lines:
    """Fine lines under the lower lid, falling outwards from the inner corner."""
    count = 3
    inner, outer = sheet.pair(39, 42), sheet.pair(36, 45)
    middle = (sheet.pair(40, 47) + sheet.pair(41, 46)) / 2
    share = (sheet.folded - inner[0]) / (outer[0] - inner[0])
    chord = inner[1] + (outer[1] - inner[1]) * share
    sag = (middle[1] - (inner[1] + outer[1]) / 2) * 4 * share * (1 - share)
    index = torch.arange(count)[None, :, None, None]
    offset = shapes.uniform(4.5, 6.0) + index * shapes.uniform(2.8, 3.8)
    slope = shapes.uniform(0.5, 4.0, count) * share * index
    level = sheet.y - chord - sag + offset + slope - shapes.wobble(sheet.folded, 0.4, 25, count)
    begins, ends = shapes.uniform(-0.05, 0.2, count), shapes.uniform(0.6, 1.05, count)
    strength = _between(share, begins, ends, 0.25) * shapes.shown(1, count) * shapes.uniform(0.5, 1, count)
    return Lines(sheet.along_skin(level), strength * smooth_step(-sheet.lid, 2.5, 4.5), 1.2)


def bunny(sheet: FaceSheet, shapes: RandomShapes) -> Lines:
    """Slanting lines on the sides of the nose, lower towards its back."""
    count = 4
    root = sheet.landmarks[27, 1]
    index = torch.arange(count)[None, :, None, None]
    slope = shapes.uniform(0.35, 0.75)
    level = sheet.y - root + shapes.uniform(7, 9.5) + index * shapes.uniform(3.6, 4.8)
    level = level - slope * (sheet.folded - 6) - shapes.wobble(sheet.folded, 0.5, 18, count)
    begins, ends = shapes.uniform(2.0, 4.0, count), shapes.uniform(8.5, 12.5, count)
    strength = (
        _between(sheet.folded, begins, ends, 3.0) * shapes.shown(2, count) * shapes.uniform(0.5, 1, count)
    )
    return Lines(sheet.along_skin(level), strength, 1.3)


def _beside_curve(
    sheet: FaceSheet, shapes: RandomShapes, knots: Tensor, spread: float
) -> tuple[Tensor, Tensor]:
    """Distance (positive outwards) and place (0 top, 1 bottom) along a cubic x(y) near knots [P, 2], moved at random."""
    top, bottom = knots[0, 1], knots[-1, 1]
    place = (sheet.y - top) / (bottom - top)
    powers = torch.arange(4)
    known = ((knots[:, 1] - top) / (bottom - top))[:, None] ** powers
    moved = knots[:, 0] + _moves(shapes, len(knots), spread)
    factors = torch.linalg.lstsq(known, moved.T).solution.T  # [variants, 4]
    curve = (factors[..., None, None] * place ** powers[:, None, None]).sum(1, keepdim=True)
    level = sheet.folded - curve - shapes.wobble(place, 0.35, 0.8)
    return sheet.along_skin(level), place


def _moves(shapes: RandomShapes, points: int, spread: float) -> Tensor:
    """[variants, points] sideways shifts of a curve: of all of it, and of its points among themselves, mm."""
    whole = torch.randn(shapes.variants, 1, generator=shapes.stream) * spread
    return whole + torch.randn(shapes.variants, points, generator=shapes.stream) * spread * 0.5


def nasolabial(sheet: FaceSheet, shapes: RandomShapes) -> Lines:
    """From above the wing of the nose to beside the corner of the mouth; the cheek bulges over it."""
    wing, corner = sheet.pair(31, 35), sheet.pair(48, 54)
    near_nose = wing + torch.tensor([[0.3, 7.5], [2.5, 1.5]])
    between = torch.lerp(wing, corner, 0.45) + torch.tensor([8.5, 2.0])
    beside = corner + torch.tensor([[8.0, 9.0], [12.0, 0.0], [13.0, -7.0]])
    knots = torch.cat([near_nose, between[None], beside])
    distance, place = _beside_curve(sheet, shapes, knots, 0.9)
    strength = _between(place, shapes.uniform(0.08, 0.2), shapes.uniform(0.6, 0.9), 0.18)
    return Lines(distance, strength.expand(distance.shape), 2.0, lean=0.32)


def brackets(sheet: FaceSheet, shapes: RandomShapes) -> Lines:
    """A short arc close to the corner of the mouth and in some faces a long one out on the cheek."""
    count = 2
    corner = sheet.pair(48, 54)
    away = sheet.points - corner - torch.tensor([-3.0, 0.0])
    radius, turn = away.norm(dim=-1), torch.atan2(away[..., 1], away[..., 0])
    near, far = shapes.uniform(7.0, 8.5), shapes.uniform(22.0, 26.0)
    level = radius - torch.cat([near, far], 1) - shapes.wobble(turn, 0.4, 2.0, count)
    middle = shapes.uniform(-0.15, 0.15, count)
    reach = torch.cat([shapes.uniform(0.2, 0.5), shapes.uniform(0.3, 0.5)], 1)
    amount = torch.cat([shapes.uniform(0.6, 1.0), 0.55 * (shapes.uniform(0, 1) > 0.6)], 1)
    strength = _between(turn, middle - reach, middle + reach, 0.4) * amount
    strength = strength * smooth_step(-sheet.lips, 1.5, 3.5)
    return Lines(sheet.along_skin(level), strength, 1.5, lean=0.15)


def marionette(sheet: FaceSheet, shapes: RandomShapes) -> Lines:
    """From the corner of the mouth downwards."""
    corner = sheet.pair(48, 54)
    knots = corner + torch.tensor([[1.0, -3.0], [3.0, -8.0], [5.0, -15.0], [5.5, -25.0]])
    distance, place = _beside_curve(sheet, shapes, knots, 0.8)
    strength = _between(place, 0.1, shapes.uniform(0.4, 0.8), 0.22) * smooth_step(-sheet.lips, 1.0, 3.0)
    return Lines(distance, strength.expand(distance.shape), 1.8, lean=0.22)


def tear_trough(sheet: FaceSheet, shapes: RandomShapes) -> Lines:
    """The soft furrow between lower lid and cheek, falling from the inner corner of the eye."""
    inner, outer = sheet.pair(39, 42), sheet.pair(36, 45)
    share = (sheet.folded - inner[0]) / (outer[0] - inner[0])
    fall = shapes.uniform(11, 15) * share - shapes.uniform(3, 6) * share**2
    level = sheet.y - inner[1] + shapes.uniform(5, 6.5) + fall
    strength = _between(share, 0.0, shapes.uniform(0.45, 0.8), 0.25) * smooth_step(-sheet.lid, 3.0, 5.0)
    return Lines(sheet.along_skin(level), strength.expand(level.shape), 3.0, lean=0.2)


def lip_lines(sheet: FaceSheet, shapes: RandomShapes) -> Lines:
    """Short upright lines around the lips, fanning out from them."""
    count = 9
    middle = sheet.landmarks[48:60, 1].mean()
    index = (torch.arange(count) - (count - 1) / 2)[None, :, None, None]
    place = index * shapes.uniform(4.2, 5.2) + shapes.uniform(-0.8, 0.8, count)
    fan = 1 + 0.022 * (-sheet.lips).clamp_min(0)
    upper = (sheet.y > middle).float()
    level = sheet.x / fan - torch.where(upper > 0, place, place.flip(1) * 1.05)
    level = level - shapes.wobble(sheet.y, 0.25, 15, count)
    ends = shapes.uniform(4.0, 8.5, count)
    strength = _between(-sheet.lips, 1.2, ends, 2.0) * shapes.uniform(0.3, 1.0, count)
    strength = strength * (1 - smooth_step(sheet.folded, 17.0, 23.0)) * (0.6 + 0.4 * upper)
    return Lines(sheet.along_skin(level), strength, 1.15)


def chin(sheet: FaceSheet, shapes: RandomShapes) -> Lines:
    """The crease under the lower lip, arched over the ball of the chin."""
    lip, chin_end = sheet.landmarks[57, 1], sheet.landmarks[8, 1]
    centre = lip + 0.42 * (chin_end - lip) + shapes.uniform(-1, 1)
    level = sheet.y - centre + shapes.uniform(0.005, 0.013) * sheet.x**2 - shapes.wobble(sheet.x, 0.5, 40)
    strength = 1 - smooth_step(sheet.folded, 7.0, shapes.uniform(15, 21))
    return Lines(sheet.along_skin(-level), strength.expand(level.shape), 2.4, lean=0.2)


def chin_dimples(sheet: FaceSheet, shapes: RandomShapes) -> Lines:
    """The cobbled skin over a tense chin: rings where a few waves of one length in random directions are low."""
    lip, chin_end = sheet.landmarks[57, 1], sheet.landmarks[8, 1]
    centre = lip + 0.66 * (chin_end - lip)
    total = torch.zeros(())
    for _ in range(6):
        turn, phase = shapes.uniform(0, math.pi), shapes.uniform(0, 2 * math.pi)
        wave = 2 * math.pi / shapes.uniform(6.0, 8.5)
        total = total + torch.cos(wave * (sheet.x * turn.cos() + sheet.y * turn.sin()) + phase)
    inside = bump(((sheet.x / 14) ** 2 + ((sheet.y - centre) / 9) ** 2).sqrt(), 1.0)
    return Lines(total + 3.0, inside.expand(total.shape), 1.6)
