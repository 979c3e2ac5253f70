"""The worker's half of a crop: draw where it lies, copy the pixels under it into a canvas of fixed size.

The canvas keeps the source's own pixels wherever they fit, so that the only interpolation is the one on the device
(`warp.py`). A larger part is averaged down first.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from deca_cli.errors import InputError

if TYPE_CHECKING:
    from deca_cli.train.data.settings import DataSettings
    from deca_cli.train.data.source import Picture

CANVAS_OVER_CROP = 10 / 7  # 320 pixels for a crop of 224
LEAST_SIDE = 8.0  # pixels of the landmark box below which a label is taken for damaged
LARGEST_SIDE = 20_000.0

# iBUG numbers of the 68 points in a mirrored picture.
MIRRORED = np.array(
    [
        *range(16, -1, -1), *range(26, 16, -1), *range(27, 31), *range(35, 30, -1),
        45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40,
        *range(54, 47, -1), *range(59, 54, -1), *range(64, 59, -1), *range(67, 64, -1),
    ]
)  # fmt: skip


@dataclass(frozen=True)
class Draw:
    """What chance decides about one shown picture."""

    scale: float  # side of the crop over the side of the landmark box
    shift: tuple[float, float]  # of its centre, in sides of that box
    is_flipped: bool
    colour: tuple[float, float, float]  # factors of brightness, contrast and saturation


@dataclass(frozen=True, eq=False)
class Cut:
    """Pixels on their way to the device."""

    canvas: np.ndarray  # uint8 [C, C, 4], RGB and mask, zero outside the source
    place: (
        np.ndarray
    )  # float32 [4]: canvas pixels per crop pixel, canvas x and y of the first crop pixel, mirrored or not
    landmarks: np.ndarray  # float32 [68, 3], the label
    colour: np.ndarray  # float32 [3]


def canvas_size(image_size: int) -> int:
    """Side C of the canvas for crops of that side; a multiple of 16."""
    return 16 * math.ceil(image_size * CANVAS_OVER_CROP / 16)


def draw(settings: DataSettings, random: np.random.Generator) -> Draw:
    """Draw scale and shift (specification 8.7) and the changes of colour.

    Always the same number of random numbers, so that switching one effect on leaves the others as they are.
    """
    change = settings.augmentation
    scale = random.uniform(settings.scale_min, settings.scale_max)
    x, y, brightness, contrast, saturation = random.uniform(-1, 1, 5)
    flip, grey = random.uniform(0, 1, 2)
    return Draw(
        scale=scale,
        shift=(x * settings.trans_scale, y * settings.trans_scale),
        is_flipped=bool(flip < change.flip),
        colour=(
            1 + brightness * change.brightness,
            1 + contrast * change.contrast,
            0.0 if grey < change.grey else 1 + saturation * change.saturation,
        ),
    )


def square(landmarks: np.ndarray, drawn: Draw, settings: DataSettings) -> tuple[float, float, float]:
    """Left, top and side, in source pixels, of the square whose corners are the centres of the crop's corner pixels.

    Raises:
        InputError: the landmarks are no 68 finite points, or lie nearly on one spot.
    """
    if landmarks.shape != (68, 2) or not np.isfinite(landmarks).all():
        raise InputError(f"its landmarks are not 68 finite points but {landmarks.shape}")
    (left, top), (right, bottom) = landmarks.min(axis=0), landmarks.max(axis=0)
    width, height = float(right - left), float(bottom - top)
    old = max(width, height) if settings.box_side == "max" else (width + height) / 2
    if not LEAST_SIDE <= old <= LARGEST_SIDE:
        raise InputError(f"its landmarks span {width:.0f} x {height:.0f} pixels, which is no face")
    side = old * drawn.scale
    if settings.pixel_offset == 0.0:
        side = float(math.floor(side))  # official numbers (specification 8.7)
    middle = (left + right) / 2 + drawn.shift[0] * old, (top + bottom) / 2 + drawn.shift[1] * old
    return float(middle[0]) - side / 2, float(middle[1]) - side / 2, side


def cut(picture: Picture, drawn: Draw, settings: DataSettings) -> Cut:
    """Cut one picture.

    Raises:
        InputError: the labels make no sense.
    """
    size = settings.image_size
    left, top, side = square(picture.landmarks, drawn, settings)
    canvas, scale, (x0, y0) = _canvas(picture, (left, top, side), canvas_size(size))
    step = side / (size - 1)  # source pixels per crop pixel
    first_x, first_y = (left - x0 + 0.5) * scale - 0.5, (top - y0 + 0.5) * scale - 0.5
    points = (picture.landmarks - (left, top)) / step
    if drawn.is_flipped:
        points = np.stack([size - 1 - points[:, 0], points[:, 1]], axis=1)[MIRRORED]
    label = 2 * (points - settings.pixel_offset) / size - 1
    ones = np.ones((68, 1))
    return Cut(
        canvas=canvas,
        place=np.array([step * scale, first_x, first_y, drawn.is_flipped], np.float32),
        landmarks=np.concatenate([label, ones], axis=1).astype(np.float32),
        colour=np.array(drawn.colour, np.float32),
    )


def _canvas(
    picture: Picture, window: tuple[float, float, float], size: int
) -> tuple[np.ndarray, float, tuple[int, int]]:
    """The pixels under the square with their neighbours -> uint8 [C, C, 4], canvas pixels per source pixel, corner."""
    left, top, side = window
    x0, y0 = math.floor(left), math.floor(top)
    span = max(math.floor(left + side) - x0, math.floor(top + side) - y0) + 2
    if span > size:  # the outermost samples need the averages beyond them
        more = math.ceil(span / size) + 1
        x0, y0, span = x0 - more, y0 - more, span + 2 * more
    canvas = np.zeros((max(span, size), max(span, size), 4), np.uint8)
    height, width = picture.pixels.shape[:2]
    x_from, y_from = max(x0, 0), max(y0, 0)
    x_to, y_to = min(x0 + span, width), min(y0 + span, height)
    if x_from < x_to and y_from < y_to:
        source = slice(y_from, y_to), slice(x_from, x_to)
        target = canvas[y_from - y0 : y_to - y0, x_from - x0 : x_to - x0]
        target[..., :3] = picture.pixels[source]
        target[..., 3] = 255 if picture.mask is None else picture.mask[source]
    if span <= size:
        return canvas, 1.0, (x0, y0)
    return cv2.resize(canvas, (size, size), interpolation=cv2.INTER_AREA), size / span, (x0, y0)
