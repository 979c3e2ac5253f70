"""Wrinkles, folds and skin grain as a displacement of the head that depends on the expression.

Each zone of the face (``wrinkle_table.py``) has a bank of relief maps of unit depth in several variants, drawn once
with a fixed seed. A person has one variant in each zone, a depth at rest that comes with age, a gain, and a softness;
an expression adds depth to the zones whose muscles it uses, left and right on their own:

    displacement = sum over zones of relief[variant] * sum over parts of part mask * (rest + gain * activation)
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from deca_cli.synthetic.skin_fields import smooth_step
from deca_cli.synthetic.wrinkle_sheet import FaceSheet, measure_sheet
from deca_cli.synthetic.wrinkle_table import FOREHEAD, SIDES, ZONES, Zone
from deca_cli.synthetic.wrinkle_zones import RandomShapes, relief

if TYPE_CHECKING:
    from collections.abc import Sequence

    from deca_cli.heads.model import HeadModel
    from deca_cli.synthetic.draws import Draws
    from deca_cli.synthetic.parts import HeadParts

VARIANTS = 8
PATTERN_SEED = 20
COMMON_SHARE = 0.5  # of the people, beside those who have it by chance
SHARP, SOFT = 0.85, 1.7  # factors on the width of the lines; people lie between
LIMIT = 0.002  # metres, no displacement is larger
GRAIN = (0.00001, 0.00005)  # metres, standard deviation of the skin's grain


@dataclass(frozen=True)
class WrinkleStyle:
    """Who has which lines (N faces, Z zones in the order of ``ZONES``)."""

    age: Tensor  # [N] 0 ... 1, young to old skin
    variant: Tensor  # int64 [N, Z]
    rest: Tensor  # [N, Z] metres, depth at rest
    gain: Tensor  # [N, Z] metres, depth that the full expression adds
    softness: Tensor  # [N] 0 ... 1
    grain: Tensor  # [N] metres, of the pores; no part of the displacement

    def index(self, rows: Tensor) -> WrinkleStyle:
        """The styles of some faces."""
        return WrinkleStyle(**{field.name: getattr(self, field.name)[rows] for field in fields(self)})


@dataclass(frozen=True)
class _Bank:
    """One zone on the device."""

    rows: slice  # of the chart
    columns: slice
    reliefs: Tensor  # [2, variants, h, w] sharp and soft, unit depth
    parts: Tensor  # [parts, h, w] which part of the zone a texel belongs to, 0 ... 1


class Wrinkles:
    """The wrinkles of one head.

    Args:
        head: the head model with ARKit coefficients, on the device.
        parts: its parts; their ``detail_mask`` says where wrinkles may be and gives the size of the maps.
        draws: source of the people's styles. The patterns themselves do not depend on it.
    """

    def __init__(self, head: HeadModel, parts: HeadParts, draws: Draws) -> None:
        self.draws, self.size = draws, len(parts.detail_mask)
        sheet = measure_sheet(head, parts.detail_mask)
        with torch.no_grad():
            self.banks = [
                _make_bank(zone, sheet, RandomShapes(PATTERN_SEED + row, VARIANTS))
                for row, zone in enumerate(ZONES.values())
            ]
        self.banks = [_to_device(bank, draws.device) for bank in self.banks]
        drives = [_drive_weights(zone, head.expression_names) for zone in ZONES.values()]
        self.drives = torch.cat(drives, 1).to(draws.device)  # [E, parts of all zones]
        widths = torch.tensor([drive.shape[1] for drive in drives])
        self.zone_of_part = torch.arange(len(drives)).repeat_interleave(widths).to(draws.device)
        self.rest = torch.tensor([zone.at_rest for zone in ZONES.values()], device=draws.device) * 1e-3
        self.gain = torch.tensor([zone.gain for zone in ZONES.values()], device=draws.device) * 1e-3
        self.common = torch.tensor([zone.common for zone in ZONES.values()], device=draws.device)
        self.pores = _pores(self.size, parts.detail_mask)

    def sample(self, count: int, per_person: int = 1, share: float = 1.0) -> WrinkleStyle:
        """Draw the skins of ``count`` faces.

        Args:
            count: number of faces.
            per_person: so many consecutive faces are one person.
            share: of the people whose skin wrinkles at all; the others' is smooth under any expression.
        """
        draws, people = self.draws, -(-count // per_person)
        age = draws.uniform(people)
        zones = len(self.banks)
        shown = draws.chance(share, people, 1)

        def individually() -> Tensor:
            return torch.exp(draws.normal(people, zones, std=0.5)).clamp(0.25, 2.0) * shown

        # Half of the people share one pattern, so that a face at rest, which tells nothing about its lines, has a most
        # likely one and not a blur of all.
        plain = draws.chance(COMMON_SHARE, people, zones)
        style = WrinkleStyle(
            age=age,
            variant=torch.where(plain, self.common, draws.integers(VARIANTS, people, zones)),
            rest=self.rest * individually() * (0.02 + 0.98 * smooth_step(age, 0.15, 0.95))[:, None],
            gain=self.gain * individually() * (0.25 + 0.75 * age)[:, None],
            softness=draws.uniform(people),
            grain=draws.uniform(people, low=GRAIN[0], high=GRAIN[1]) * shown[:, 0],
        )
        return style.index(torch.arange(count, device=draws.device) // per_person)

    def displacement(self, style: WrinkleStyle, expression: Tensor) -> Tensor:
        """What the skin's lines and folds add to the coarse head.

        Args:
            style: N skins.
            expression: [N, E] coefficients in 0..1.

        Returns:
            [N, 1, U, U] metres along the normals over the chart (row 0 is v = 1), at most ``LIMIT`` either way; a
            smooth function of the expression.
        """
        total = torch.zeros(len(expression), self.size, self.size, device=expression.device)
        soft = style.softness[:, None, None]
        rest, gain = style.rest[:, self.zone_of_part], style.gain[:, self.zone_of_part]
        depths = (rest + gain * activation(expression @ self.drives)).split(
            [len(bank.parts) for bank in self.banks], 1
        )
        for column, bank in enumerate(self.banks):
            sharp, wide = bank.reliefs
            chosen = style.variant[:, column]
            lines = torch.lerp(sharp[chosen], wide[chosen], soft)
            depth = torch.einsum("np,phw->nhw", depths[column], bank.parts)
            total[:, bank.rows, bank.columns] += lines * depth
        return total.clamp(-LIMIT, LIMIT)[:, None]

    def grain(self, style: WrinkleStyle) -> Tensor:
        """[N, 1, U, U] metres: pores, seen in the pictures but too fine to be learned from them."""
        return (style.grain[:, None, None] * self.pores)[:, None]


def activation(drive: Tensor) -> Tensor:
    """How far a zone is folded, 0 at rest, 1 at a drive of 1, at most 1.35: drives add up and saturate."""
    square = drive.clamp_min(0) ** 2
    return 1.35 * square / (square + 0.35)


def _to_device(bank: _Bank, device: torch.device) -> _Bank:
    return _Bank(bank.rows, bank.columns, bank.reliefs.to(device), bank.parts.to(device))


def _make_bank(zone: Zone, sheet: FaceSheet, shapes: RandomShapes) -> _Bank:
    """Draw the patterns of a zone and cut out the part of the chart that they need."""
    lines = zone.pattern(sheet, shapes)
    room = sheet.mask * smooth_step(-sheet.lips, 1.0, 2.5) * smooth_step(-sheet.lid, 1.5, 3.0)
    reliefs = torch.stack([relief(lines, width) for width in (SHARP, SOFT)]) * room
    used = reliefs.abs().amax((0, 1)) > 1e-3
    top, bottom = (int(used.any(1).nonzero()[end]) for end in (0, -1))
    left, right = (int(used.any(0).nonzero()[end]) for end in (0, -1))
    crop = (slice(top, bottom + 1), slice(left, right + 1))
    return _Bank(
        rows=slice(sheet.rows.start + top, sheet.rows.start + bottom + 1),
        columns=slice(sheet.columns.start + left, sheet.columns.start + right + 1),
        reliefs=reliefs[..., crop[0], crop[1]].clone(),
        parts=_part_masks(zone, sheet)[:, crop[0], crop[1]].clone(),
    )


def _part_masks(zone: Zone, sheet: FaceSheet) -> Tensor:
    """[parts, h, w], adding up to 1: left, right (and middle), or all."""
    if zone.parts == SIDES:
        left = smooth_step(sheet.x, -1.5, 1.5)
        return torch.stack([left, 1 - left])
    if zone.parts == FOREHEAD:
        middle = 1 - smooth_step(sheet.folded, 6.0, 26.0)
        return torch.stack([(1 - middle) * (sheet.x > 0), (1 - middle) * (sheet.x <= 0), middle])
    return torch.ones_like(sheet.x)[None]


def _drive_weights(zone: Zone, names: Sequence[str]) -> Tensor:
    """[E, parts]; what is in the middle follows the mean of both sides."""
    parts = {SIDES: ("Left", "Right"), FOREHEAD: ("Left", "Right", "")}.get(zone.parts, ("",))
    weights = torch.zeros(len(names), len(parts))
    for column, side in enumerate(parts):
        for pattern, amount in zone.driven_by.items():
            if not pattern.endswith("*"):
                weights[names.index(pattern), column] = amount
                continue
            sides = (side,) if side else ("Left", "Right")
            for one in sides:
                weights[names.index(pattern[:-1] + one), column] = amount / len(sides)
    return weights


def _pores(size: int, mask: Tensor) -> Tensor:
    """[U, U] one fixed grain of unit variance, softly blurred so that it survives sampling."""
    noise = torch.randn(1, 1, size, size, generator=torch.Generator().manual_seed(PATTERN_SEED))
    kernel = torch.tensor([0.25, 0.5, 0.25])
    blurred = torch.nn.functional.conv2d(noise, (kernel[:, None] * kernel)[None, None], padding=1)[0, 0]
    return (blurred / blurred.std()).to(mask.device) * mask
