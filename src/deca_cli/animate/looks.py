"""How a head is shown: the kinds of rendering, and the light."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from deca_cli.errors import UsageError
from deca_cli.render.passes import SHAPE_GREY, SHAPE_LIGHTS

SHAPE, DETAIL, TEXTURED, ALBEDO, NORMALS = "shape", "detail", "textured", "albedo", "normals"
RENDERINGS = (SHAPE, DETAIL, TEXTURED, ALBEDO, NORMALS)
SIDE_BY_SIDE = "side-by-side"

KEY, FILL, SKY = (
    0.85,
    0.2,
    0.28,
)  # brightness of a named light, of its fill from the viewer, and from everywhere
NAMED_LIGHTS = {  # azimuth and elevation in degrees; positive azimuth is image right
    "front": (0.0, 15.0),
    "left": (-60.0, 20.0),
    "right": (60.0, 20.0),
    "top": (0.0, 70.0),
    "below": (0.0, -50.0),
}


@dataclass(frozen=True, eq=False)
class Light:
    """Parallel lights that stay with the camera: brightness = ambient + sum of clamp(n . l, 0, 1) * intensity."""

    lights: (
        np.ndarray
    )  # float32 [L, 4]: unit direction towards the light (head frame of a head looking ahead), intensity
    ambient: float
    on_texture: (
        bool  # whether it also falls on photos and albedo; the light of a photo is in its texture already
    )


def studio() -> Light:
    """The five lights of the official pictures (specification 6.6); textures keep the light of their photo."""
    table = np.array(SHAPE_LIGHTS, np.float32)
    direction = table[:, :3] / np.linalg.norm(table[:, :3], axis=1, keepdims=True)
    intensity = table[:, 3:4] / len(table)
    return Light(np.hstack([direction, intensity]).astype(np.float32), 0.0, on_texture=False)


def parse_light(text: str) -> Light:
    """`studio`, a name in `NAMED_LIGHTS`, or AZIMUTH,ELEVATION in degrees.

    Raises:
        UsageError: it is none of these.
    """
    if text == "studio":
        return studio()
    if text in NAMED_LIGHTS:
        azimuth, elevation = NAMED_LIGHTS[text]
    else:
        try:
            azimuth, elevation = (float(number) for number in text.split(","))
        except ValueError:
            names = ", ".join(("studio", *NAMED_LIGHTS))
            raise UsageError(f"--light {text}: say {names}, or AZIMUTH,ELEVATION in degrees.") from None
    turn, rise = math.radians(azimuth), math.radians(elevation)
    key = (math.sin(turn) * math.cos(rise), math.sin(rise), math.cos(turn) * math.cos(rise), KEY)
    return Light(np.array([key, (0.0, 0.0, 1.0, FILL)], np.float32), SKY, on_texture=True)


def parse_rendering(text: str) -> tuple[str, ...]:
    """One kind, several joined by `+`, or `side-by-side`, which is left empty here: it depends on the source.

    Raises:
        UsageError: an unknown kind.
    """
    if text == SIDE_BY_SIDE:
        return ()
    kinds = tuple(text.split("+"))
    unknown = [kind for kind in kinds if kind not in RENDERINGS]
    if unknown:
        raise UsageError(
            f"--rendering {unknown[0]}: say {', '.join(RENDERINGS)}, several joined by +, or {SIDE_BY_SIDE}."
        )
    return kinds


GREY = SHAPE_GREY
