"""Hair, hats and scarves as one parametric shell around the head, drawn as a second layer with soft edges.

The shell is a grid in azimuth (0 = front, positive = subject's left) and a height coordinate ``e``: elevation in rad on
the dome, and below it a curtain that falls straight down (0.1 m per unit of ``e``). A style is a lower edge of the
hair as a function of azimuth, a thickness, a texture and a colour; everything above the edge is hair.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from deca_cli.synthetic.constants import constant
from deca_cli.synthetic.skin_fields import bump, smooth_step
from deca_cli.synthetic.skin_style import HAIR_COLOURS, HAIR_WEIGHTS

if TYPE_CHECKING:
    from deca_cli.synthetic.draws import Draws

DOME_END = -0.15  # rad: below this elevation the shell falls straight down
CURTAIN_METRES_PER_UNIT = 0.1
BALD, SHORT, LONG, HAT, SCARF = range(5)
KIND_WEIGHTS = (0.16, 0.36, 0.36, 0.07, 0.05)


@dataclass(frozen=True)
class HairStyle:
    """One style per face; fields are [N] unless said otherwise."""

    kind: Tensor  # int64: BALD, SHORT, LONG, HAT or SCARF
    front_edge: Tensor  # elevation of the hairline over the forehead, rad
    side_edge: Tensor  # lower edge beside the face
    back_edge: Tensor  # lower edge at the back
    opening: Tensor  # half width of the face opening, rad
    softness: Tensor
    parting: Tensor  # azimuth of the middle of the opening, rad
    peak: Tensor
    thickness: Tensor  # m
    volume: Tensor  # m, more at the top
    flare: Tensor
    jag: Tensor
    strand_frequency: Tensor
    strand_contrast: Tensor
    wave: Tensor
    colour: Tensor  # [N, 3] linear RGB
    tip_colour: Tensor  # [N, 3]
    brim: Tensor  # m
    shine: Tensor
    pattern: Tensor  # int64, which noise pattern
    fade: Tensor  # rad over which single hairs end at the edge

    @property
    def cloth(self) -> Tensor:
        """[N] 1 where the shell is a hat or a scarf."""
        return (self.kind >= HAT).float()


def sample_hair(
    draws: Draws, count: int, natural_colour: Tensor, patterns: int, fringe_share: float = 0.32
) -> HairStyle:
    """Draw ``count`` styles.

    Args:
        natural_colour: [N, 3] colour of the brows and beard; most hair is close to it, some is dyed.
        patterns: number of strand patterns to choose from.
        fringe_share: share of the heads whose hair falls over the forehead, down to the lids at most.
    """
    kind = draws.choice(KIND_WEIGHTS, count)

    def by_kind(*ranges: tuple[float, float]) -> Tensor:
        low, high = constant(ranges, draws.device).T
        return draws.uniform(count) * (high - low)[kind] + low[kind]

    dyed = constant(HAIR_COLOURS, draws.device)[draws.choice(HAIR_WEIGHTS, count)]
    hair = torch.where(draws.chance(0.3, count)[:, None], dyed, natural_colour)
    hair = torch.where(draws.chance(0.02, count)[:, None], draws.uniform(count, 3, low=0.01, high=0.6), hair)
    vivid, grey = (
        draws.uniform(count, 3),
        draws.uniform(count, 1) * torch.exp(draws.normal(count, 3, std=0.12)),
    )
    cloth = torch.where(draws.chance(0.3, count)[:, None], vivid, grey) ** 2 * 0.8 + 0.004
    colour = torch.where((kind >= HAT)[:, None], cloth, hair)
    fringe = draws.chance(fringe_share, count) & (kind < HAT)
    front = by_kind((1.2, 1.3), (0.62, 1.0), (0.62, 0.95), (0.30, 0.62), (0.45, 0.7))
    front = torch.where(fringe, draws.uniform(count, low=-0.04, high=0.5), front)
    return HairStyle(
        kind=kind,
        front_edge=front,
        side_edge=by_kind((0.5, 0.6), (-0.25, 0.35), (-3.0, -0.6), (0.15, 0.45), (-2.5, -1.5)),
        back_edge=by_kind((0.0, 0.1), (-1.1, -0.4), (-4.5, -1.5), (-0.1, 0.25), (-3.0, -2.0)),
        opening=by_kind((1.3, 1.4), (0.85, 1.25), (0.55, 1.35), (0.9, 1.2), (0.6, 0.95)),
        softness=by_kind((0.1, 0.2), (0.08, 0.3), (0.08, 0.35), (0.2, 0.4), (0.15, 0.3)),
        parting=draws.normal(count, std=0.16).clamp(-0.4, 0.4) * (kind < HAT),
        peak=draws.normal(count, std=0.08) * (kind < HAT),
        thickness=by_kind((0.001, 0.002), (0.003, 0.018), (0.004, 0.022), (0.006, 0.014), (0.004, 0.012)),
        volume=by_kind((0.0, 0.0), (0.0, 0.045), (0.0, 0.03), (0.0, 0.05), (0.0, 0.02)),
        flare=by_kind((0.0, 0.0), (-0.05, 0.05), (-0.08, 0.2), (0.0, 0.0), (-0.1, 0.1)),
        jag=by_kind((0.1, 0.2), (0.03, 0.3), (0.03, 0.3), (0.0, 0.01), (0.0, 0.03)),
        strand_frequency=draws.uniform(count, low=0.6, high=2.5),
        strand_contrast=draws.uniform(count, low=0.2, high=0.9) * torch.where(kind < HAT, 1.0, 0.35),
        wave=draws.uniform(count, low=0.0, high=0.25) * draws.chance(0.5, count),
        colour=colour,
        tip_colour=colour * torch.exp(draws.normal(count, 1, std=0.35)),
        brim=(kind == HAT) * draws.chance(0.6, count) * draws.uniform(count, low=0.02, high=0.07),
        shine=draws.uniform(count, low=0.0, high=0.35),
        pattern=draws.integers(patterns, count),
        fade=draws.log_uniform(count, low=0.05, high=0.3) * torch.where(kind < HAT, 1.0, 0.2),
    )


def lower_edge(style: HairStyle, azimuth: Tensor) -> Tensor:
    """Height coordinate of the lower end of the hair, same shape as ``azimuth`` [N, ...], rad."""
    extra = (1,) * (azimuth.dim() - 1)

    def spread(value: Tensor) -> Tensor:
        return value.view(-1, *extra)

    turn = (azimuth - spread(style.parting)).abs()
    front = spread(style.front_edge) + spread(style.peak) * torch.cos(5 * (azimuth - spread(style.parting)))
    beside = smooth_step(
        turn, spread(style.opening) - spread(style.softness), spread(style.opening) + spread(style.softness)
    )
    behind = smooth_step(turn, spread(style.opening) + 0.35, spread(style.opening) + 0.9)
    edge = torch.lerp(front, spread(style.side_edge), beside)
    return torch.lerp(edge, spread(style.back_edge), behind)


class HairShell:
    """The shell's grid and its fit to a template head.

    Args:
        scalp_vertices: [P, 3] vertices of the template's skin, metres.
        eye_height: y of the eyes, metres.
        draws: source of the strand patterns.
    """

    def __init__(
        self,
        scalp_vertices: Tensor,
        eye_height: float,
        draws: Draws,
        columns: int = 64,
        dome_rows: int = 20,
        curtain_rows: int = 10,
    ) -> None:
        device = scalp_vertices.device
        low, high = scalp_vertices.amin(0), scalp_vertices.amax(0)
        self.centre = torch.stack(
            [
                torch.zeros((), device=device),
                torch.tensor(eye_height + 0.015, device=device),
                (low[2] + high[2]) / 2 - 0.01,
            ]
        )
        self.template_size = _upper_size(scalp_vertices, self.centre)
        azimuth = torch.linspace(-math.pi, math.pi, columns + 1, device=device)
        dome = torch.linspace(math.pi / 2 - 0.02, DOME_END, dome_rows, device=device)
        curtain = DOME_END - torch.linspace(0.25, 4.6, curtain_rows, device=device)
        height = torch.cat([dome, curtain])
        self.height, self.azimuth = (
            grid.reshape(-1) for grid in torch.meshgrid(height, azimuth, indexing="ij")
        )
        self.faces = _grid_faces(len(height), columns + 1).to(device)
        elevation = self.height.clamp_min(DOME_END)
        self.direction = torch.stack(
            [elevation.cos() * self.azimuth.sin(), elevation.sin(), elevation.cos() * self.azimuth.cos()],
            dim=1,
        )
        self.radius = _radial_extent(self.direction, scalp_vertices - self.centre)
        self.patterns = draws.cloud_noise(16, 1, 128, (12, 40, 90), 0.9)[:, 0]

    def vertices(self, style: HairStyle, scalp_vertices: Tensor) -> tuple[Tensor, Tensor]:
        """The shell around each head.

        Args:
            style: N styles.
            scalp_vertices: [N, P, 3] skin of each head.

        Returns:
            [N, G, 3] points in the head frame, metres; [N, G] true where there is surely no hair.
        """
        stretch = _upper_size(scalp_vertices, self.centre) / self.template_size
        azimuth, height = self.azimuth.expand(len(stretch), -1), self.height.expand(len(stretch), -1)
        above = height - lower_edge(style, azimuth)
        lift = style.thickness[:, None] * smooth_step(above, -0.1, 0.3) + style.volume[:, None] * smooth_step(
            height, 0.1, 1.2
        )
        brim_front = smooth_step(torch.cos(azimuth), 0.1, 0.7)
        lift = lift + style.brim[:, None] * bump(above - 0.03, 0.07) * brim_front
        drop = (DOME_END - height).clamp_min(0)
        widen = 1 + style.flare[:, None] * drop
        reach = (self.radius + lift) * torch.where(drop > 0, widen, torch.ones_like(widen))
        points = self.direction * reach[..., None] * stretch[:, None]
        fall = torch.stack(
            [torch.zeros_like(drop), -drop * CURTAIN_METRES_PER_UNIT, torch.zeros_like(drop)], -1
        )
        points = points + fall + self.centre
        return points, (above < -0.3) | (style.kind == BALD)[:, None]

    def shade(self, style: HairStyle, azimuth: Tensor, height: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Colour, coverage and gloss of shell pixels.

        Args:
            azimuth, height: [N, H, W] shell coordinates of each pixel.

        Returns:
            linear RGB [N, 3, H, W], alpha [N, 1, H, W], gloss [N, 1, H, W].
        """
        n = slice(None), None, None
        bend = style.wave[n] * torch.sin(height * 7)
        across = torch.remainder((azimuth + bend) * style.strand_frequency[n] * 0.7, 2) - 1
        along = (height * 0.22).clamp(-1, 1)
        strands = F.grid_sample(
            self.patterns[style.pattern][:, None],
            torch.stack([across, along], -1),
            padding_mode="reflection",
            align_corners=False,
        )
        above = height - lower_edge(style, azimuth) + style.jag[n] * strands[:, 0]
        alpha = smooth_step(above, -0.4 * style.fade[n], 0.6 * style.fade[n])
        along_hair = smooth_step(height, -2.0, 0.8)[:, None]
        colour = torch.lerp(style.tip_colour[:, :, None, None], style.colour[:, :, None, None], along_hair)
        colour = colour * torch.exp(style.strand_contrast[:, None, None, None] * strands * 0.6)
        return colour, alpha[:, None], (style.shine[n] * (1 + strands[:, 0]).clamp_min(0))[:, None]


def _upper_size(vertices: Tensor, centre: Tensor) -> Tensor:
    """[..., 3] extents of the head above the centre: what a hat feels."""
    above = vertices[..., 1:2] > centre[1] - 0.02
    away = (vertices - centre).abs() * above
    return away.amax(-2)


def _radial_extent(directions: Tensor, offsets: Tensor, cone: float = 0.97) -> Tensor:
    """[G] distance from the centre to the outermost vertex within a narrow cone around each direction."""
    length = offsets.norm(dim=1)
    cosine = directions @ (offsets / length[:, None]).T
    weight = torch.exp((cosine - 1) / (1 - cone) * 2) * torch.exp(length * 60)
    return (weight * length).sum(1) / weight.sum(1)


def _grid_faces(rows: int, columns: int) -> Tensor:
    """[2 (rows-1) (columns-1), 3] triangles of a grid, facing outwards for rows that go down and columns that go left."""
    index = torch.arange(rows * columns).reshape(rows, columns)
    a, b, c, d = index[:-1, :-1], index[:-1, 1:], index[1:, :-1], index[1:, 1:]
    return torch.cat([torch.stack([a, c, b], -1).reshape(-1, 3), torch.stack([b, c, d], -1).reshape(-1, 3)])
