"""What a pixel of a head, its clothes and its glasses looks like: chains of small operations, each worth one kernel.

Everything here can be compiled (`fusing.py`): no draws, no textures, pixels only depend on themselves.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from deca_cli.synthetic.light import eye_glint, illuminate
from deca_cli.synthetic.scene import covering
from deca_cli.synthetic.skin import eye_colour, to_display
from deca_cli.synthetic.skin_fields import smooth_step
from deca_cli.synthetic.wrinkle_shading import bend, cavity

if TYPE_CHECKING:
    from deca_cli.synthetic.accessories import GlassesStyle
    from deca_cli.synthetic.light import Lights
    from deca_cli.synthetic.skin_style import SkinStyle

LASH_WIDTH = 0.024  # pupil distances
LASH_SHADE = 0.92  # of the light that dense lashes swallow


@dataclass(frozen=True)
class BodyPixels:
    """What is known of the pixels of heads and clothed shoulders before there is light."""

    covered: Tensor  # [N, 1, S, S] bool
    on_head: Tensor  # [N, 1, S, S] bool
    skin: Tensor  # [N, 3, S, S] linear albedo from the chart
    cloth: Tensor  # [N, 3, S, S] linear albedo
    to_lash: Tensor  # [N, 1, S, S] distance from the roots of the lashes, pupil distances
    normals: Tensor  # [N, 3, S, S] unit, without wrinkles
    values: Tensor  # [N, 7 or 13, S, S] in the order of Studio.body_values, then the tangents of the chart
    relief: Tensor | None  # [N, 3, S, S] slopes and height of the wrinkles; None: smooth skin
    lit: Tensor  # [N, 1, S, S] share of the key light that is not cast in shadow


def facing(normals: Tensor) -> Tensor:
    """[N, 3, S, S] of any length -> unit normals towards the viewer: both sides of thin sheets are lit."""
    unit = F.normalize(normals, dim=1)
    return unit * torch.where(unit[:, 2:3] < 0, -1.0, 1.0)


def shade_body(picture: Tensor, seen: BodyPixels, skin: SkinStyle, lights: Lights) -> Tensor:
    """Lay heads and shoulders over the pictures [N, 4, S, S] (linear RGB, bareness)."""
    on_head, values = seen.on_head, seen.values
    albedo = torch.where(on_head, draw_lashes(seen.skin, seen.to_lash, skin), seen.cloth * 0.8)
    albedo, eyes = draw_eyes(albedo, values[:, 1:5], skin)
    gloss = torch.where(on_head, 1.0, 0.15) * (1 - 0.75 * eyes)  # what eyes mirror is the glint
    normals, open_sky, lit = seen.normals, values[:, :1], seen.lit
    if seen.relief is not None:
        relief = seen.relief * on_head
        normals = bend(normals, values[:, -6:], relief[:, :2])
        valleys = cavity(relief[:, 2:])
        open_sky, lit = open_sky * valleys, lit * valleys
    lid_shade = eyes * _lid_shade(values[:, 2:3])
    open_sky, lit = open_sky * (1 - lid_shade), lit * (1 - 0.6 * lid_shade)
    reach = torch.where(on_head, values[:, 6:7], 1.0)
    shaded = illuminate(albedo, normals, lights, open_sky, lit, gloss) * reach
    shaded = shaded + eye_glint(seen.normals, lights, eyes, lit)
    bare = (values[:, 5:6] > 0.5).float()
    return torch.where(seen.covered, torch.cat([shaded, bare], 1), picture)


def _lid_shade(upwards: Tensor) -> Tensor:
    """How much the upper lid and its lashes shade a point of the eyeball, by its direction upwards."""
    return 0.55 * smooth_step(upwards, 0.0, 0.45)


def shade_glasses(
    picture: Tensor,
    in_front: Tensor,
    lens: Tensor,
    normals: Tensor,
    positions: Tensor,
    style: GlassesStyle,
    lights: Lights,
) -> Tensor:
    """Frames cover, lenses tint and reflect.

    Args:
        picture: [N, 4, S, S] linear RGB, bareness.
        in_front: [N, 1, S, S] bool, where glasses are seen.
        lens: [N, 1, S, S] bool, where that is a lens.
        normals: [N, 3, S, S].
        positions: [N, 3, S, S] metres.
        style: one per picture.
        lights: one per picture.
    """
    n = (slice(None), slice(None), None, None)
    white, ones = torch.ones_like(picture[:, :3]), torch.ones_like(picture[:, :1])
    frame = illuminate(style.colour[n] * white, normals, lights, ones, ones, ones * 2)
    sweep = positions[:, 0] * 40 + positions[:, 1] * 60
    glare = torch.sigmoid(torch.sin(sweep) * 6 - 4)[:, None] * style.glare[:, None, None, None]
    tint = style.lens_colour[n] * lights.ambient[n] * white
    glass = torch.lerp(picture[:, :3], tint, style.lens_alpha[:, None, None, None])
    glass = glass + glare * (lights.ambient + 0.3 * lights.key)[n]
    return torch.where(in_front, covering(torch.where(lens, glass, frame)), picture)


def draw_eyes(albedo: Tensor, rest: Tensor, skin: SkinStyle) -> tuple[Tensor, Tensor]:
    """Paint iris, pupil and white over the albedo, from the direction of each eyeball point in the eye at rest.

    Args:
        albedo: [N, 3, S, S] linear.
        rest: [N, 4, S, S] direction from the centre of the eyeball, and 1 on eyeballs.
        skin: one appearance per face.

    Returns:
        the albedo with eyes, and where they are [N, 1, S, S].
    """
    direction = F.normalize(rest[:, :3], dim=1)
    eyes = (rest[:, 3:] > 0.99).float()
    angle = torch.acos(direction[:, 2].clamp(-0.9999, 0.9999))
    around = torch.atan2(direction[:, 1], direction[:, 0])
    spoke = torch.sin(around * 23 + 3 * torch.sin(around * 7)) * 0.6
    return torch.lerp(albedo, eye_colour(angle, spoke, skin), eyes), eyes


def draw_lashes(albedo: Tensor, distance: Tensor, skin: SkinStyle) -> Tensor:
    """Darken the roots of the lashes, where most photos have the darkest line of the eye.

    Args:
        albedo: [N, 3, S, S] linear.
        distance: [N, 1, S, S] from the roots, pupil distances.
        skin: one appearance per face.
    """
    cover = torch.exp(-((distance / LASH_WIDTH) ** 2)) * skin.lash[:, None, None, None]
    return albedo * (1 - LASH_SHADE * cover)


def draw_albedo(painted: Tensor, eyes_at_rest: Tensor, skin: SkinStyle) -> Tensor:
    """Display values [N, 3, U, U] of everything on the head's chart: the painted skin, and the eyes.

    Args:
        painted: [N, 3, U, U] linear.
        eyes_at_rest: [4, U, U] as ``draw_eyes`` takes it, over the chart.
        skin: one appearance per face.
    """
    return to_display(draw_eyes(painted, eyes_at_rest.expand(len(painted), -1, -1, -1), skin)[0])
