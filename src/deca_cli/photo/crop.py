"""Cut the square that the networks look at out of a photo (specification, section 2)."""

import math
from dataclasses import dataclass, replace
from typing import Literal, Protocol

import cv2
import numpy as np

from deca_cli.errors import InputError
from deca_cli.photo.read import Photo

PixelBox = tuple[float, float, float, float]
"""Left, top, right, bottom in photo pixels, the centre of the top left pixel at (0, 0)."""

Square = tuple[float, float, float]
"""Left, top and side in photo pixels."""

# Section 2.2: a box around 68 landmarks is widened by 1.1 before the zoom of 1.25, the box of a detector is not;
# but a detector's box starts above the brows, so its centre moves down by 0.12 of its side.
LANDMARK_BOX_GROWTH = 1.1
DETECTOR_BOX_DROP = 0.12

ANTIALIAS_FROM = 2.0
"""Photo pixels per crop pixel from which on a photo is averaged before it is sampled (not in the official crop)."""

LEAST_INSIDE = 0.25
"""Share of a face's box that must lie inside the photo; so the box cannot be much larger than the photo either."""

LEAST_SIDE = 2.0
"""Mean side of a face's box in pixels; nothing can be cut from less."""

TAPS = 3
"""Evenly spaced samples a side that make up the mean of a large block of photo pixels."""


class CropRule(Protocol):
    """What a model pack says about its crops (`Preprocessing` of its manifest has these fields)."""

    @property
    def image_size(self) -> int:
        """Side S of the crop in pixels."""

    @property
    def crop_factor(self) -> float:
        """Side of the crop over the side of the landmark box; 1.375 = 1.1 * 1.25 in the official release."""

    @property
    def box_side(self) -> str:
        """`mean`: half of width plus height of the box; `max`: the longer of the two."""

    @property
    def pixel_offset(self) -> float:
        """From NDC to crop pixel indices; 0 marks the conventions of the official release (quirk K10)."""


@dataclass(frozen=True, eq=False)
class Crop:
    """A square cut from a photo.

    Attributes:
        image: float32 [3, S, S], RGB in 0..1, zero outside the photo.
        to_photo: float64 [3, 3], crop pixel indices (columns x, y, 1) to photo pixel indices.
        box: the square in the photo whose corners are the centres of the crop's corner pixels.
    """

    image: np.ndarray
    to_photo: np.ndarray
    box: PixelBox


def crop_face(
    photo: Photo,
    box_px: PixelBox,
    preprocessing: CropRule,
    *,
    box_kind: Literal["landmarks", "detector"] = "landmarks",
) -> Crop:
    """Cut the square around a face.

    A pack with the official conventions gets the official numbers: a side of whole pixels and plain bilinear
    samples. Every other pack gets the exact side, and a photo much larger than the crop is averaged first.

    Args:
        photo: the photo.
        box_px: box of the face in photo pixels.
        preprocessing: size and zoom of the crop.
        box_kind: `landmarks` for the tight box of the 68 landmarks (what `find_faces` returns), `detector` for
            the raw box of a detector.

    Raises:
        InputError: the box is empty, not finite, or covers less than a few pixels.
    """
    return cut_square(photo, square_around(box_px, preprocessing, box_kind), preprocessing)


def crop_whole(photo: Photo, preprocessing: CropRule) -> Crop:
    """Use the whole photo as the crop, for photos that are aligned already (`--no-crop`).

    The longer side fills the crop, first pixel centre to last; a photo that is not square gets black bars of
    equal width (the official release would turn it, specification B23).
    """
    return cut_square(photo, square_of_whole(photo), preprocessing)


def square_of_whole(photo: Photo) -> Square:
    """Left, top and side in photo pixels of the square that `crop_whole` cuts."""
    width, height = photo.width, photo.height
    side = float(max(width, height) - 1)
    return (width - 1 - side) / 2, (height - 1 - side) / 2, side


def whole_box(photo: Photo) -> PixelBox:
    """The box of the whole photo, first pixel centre to last (specification B4)."""
    return (0.0, 0.0, float(photo.width - 1), float(photo.height - 1))


def check_box(photo: Photo, box_px: PixelBox) -> None:
    """Refuse a box, given by a person, in which this photo cannot show a face.

    Raises:
        InputError: it is empty or tiny, or most of it lies outside the photo.
    """
    left, top, right, bottom = box_px
    width, height = right - left, bottom - top
    across = min(right, photo.width) - max(left, 0)
    down = min(bottom, photo.height) - max(top, 0)
    if not (min(width, height) > 0 and (width + height) / 2 >= LEAST_SIDE):
        fault = f"is {width:g} x {height:g} pixels, too small to be a face"
    elif not max(across, 0) * max(down, 0) >= LEAST_INSIDE * width * height:
        fault = "lies mostly outside it"
    else:
        return
    raise InputError(
        f"{photo.path} has {photo.width} x {photo.height} pixels, and the face box "
        f"{left:g},{top:g},{right:g},{bottom:g} {fault}. Give x0,y0,x1,y1 in pixels of this photo as a viewer shows it."
    )


def square_around(
    box_px: PixelBox, rule: CropRule, box_kind: Literal["landmarks", "detector"] = "landmarks"
) -> Square:
    """Left, top and side in photo pixels of the square to cut around a face (specification, section 2.2).

    Raises:
        InputError: the box is empty or not finite, or the square would be under two pixels wide.
    """
    left, top, right, bottom = (float(value) for value in box_px)
    width, height = right - left, bottom - top
    if not all(map(math.isfinite, (left, top, right, bottom))) or width <= 0 or height <= 0:
        raise InputError(
            f"The face box {left:g},{top:g},{right:g},{bottom:g} is empty. "
            "Give it as x0,y0,x1,y1 in pixels with x0 < x1 and y0 < y1."
        )
    size = max(width, height) if rule.box_side == "max" else (width + height) / 2
    centre_x, centre_y = (left + right) / 2, (top + bottom) / 2
    if box_kind == "detector":
        centre_y += DETECTOR_BOX_DROP * size
    else:
        size *= LANDMARK_BOX_GROWTH
    side = size * (rule.crop_factor / LANDMARK_BOX_GROWTH)
    if _official(rule):
        side = float(math.floor(side))
    if side < 2:
        raise InputError(f"The face box is {width:g} x {height:g} pixels, too small to be a face.")
    return centre_x - side / 2, centre_y - side / 2, side


def _official(rule: CropRule) -> bool:
    return rule.pixel_offset == 0.0


def cut_square(photo: Photo, square: Square, rule: CropRule, into: np.ndarray | None = None) -> Crop:
    """Sample the square; the official span of S - 1 pixels puts corner pixel centres on the square's corners.

    Args:
        photo: the photo.
        square: what to sample.
        rule: size of the crop, and which conventions it follows.
        into: float32 [3, S, S], contiguous, where the image shall lie; memory of its own if left out.
    """
    left, top, side = square
    image = np.empty((3, rule.image_size, rule.image_size), np.float32) if into is None else into
    step = side / (rule.image_size - 1)
    indices = np.arange(rule.image_size, dtype=np.float64)
    columns, rows = left + step * indices, top + step * indices
    if step >= ANTIALIAS_FROM and not _official(rule):
        _sample_averaged(photo.pixels, rows, columns, int(step), image)
    else:
        _sample(photo.pixels, rows, columns, image)
    return replace(uncut(square, rule), image=image)


def uncut(square: Square, rule: CropRule) -> Crop:
    """What `cut_square` gives, but for the image, which is empty: [3, 0, 0]."""
    left, top, side = square
    step = side / (rule.image_size - 1)
    to_photo = np.array([[step, 0.0, left], [0.0, step, top], [0.0, 0.0, 1.0]])
    return Crop(np.empty((3, 0, 0), np.float32), to_photo, (left, top, left + side, top + side))


def _sample(pixels: np.ndarray, rows: np.ndarray, columns: np.ndarray, out: np.ndarray) -> None:
    """Bilinear samples of uint8 [H, W, 3] on the grid rows x columns, zero outside, to float32 [3, S, S] in 0..1.

    A neighbour outside the picture counts as zero, as in scikit-image's `warp(order=1, mode="constant")`.
    Rows and columns are separate, because the similarity has no rotation; so only the two neighbouring rows and
    columns of each sample are ever touched.
    """
    from deca_cli.photo import sample_kernel  # loads numba, which a process whose workers cut does without

    row_index, row_weight = _neighbours(rows, pixels.shape[0])
    column_index, column_weight = _neighbours(columns, pixels.shape[1])
    sample_kernel.sample(
        np.ascontiguousarray(pixels),
        row_index,
        row_weight / np.float32(255),
        column_index,
        column_weight,
        out,
    )


def _neighbours(positions: np.ndarray, length: int) -> tuple[np.ndarray, np.ndarray]:
    """Indices and float32 weights [2S] of the lower (first half) and upper neighbours; weight 0 outside.

    Places are found in float64; only the weights, numbers in 0..1, are rounded to float32.
    """
    lower = np.floor(positions)
    weight = positions - lower
    index = np.concatenate([lower, lower + 1])
    weights = np.concatenate([1.0 - weight, weight])
    inside = (index >= 0) & (index <= length - 1)
    return np.clip(index, 0, length - 1).astype(np.intp), np.where(inside, weights, 0.0).astype(np.float32)


def _sample_averaged(
    pixels: np.ndarray, rows: np.ndarray, columns: np.ndarray, block: int, out: np.ndarray
) -> None:
    """As `_sample`, on means over blocks of photo pixels, which keeps fine texture from aliasing.

    A mean takes every pixel of its block up to 2 * `TAPS` - 1 pixels a side, beyond that `TAPS` x `TAPS` evenly
    spaced ones, so that the time does not grow with the photo. Only the part of the photo under the grid is read;
    pixels outside the photo count as zero.
    """
    spacing = max(block // TAPS, 1)
    taps = max(block // spacing, 1)
    block = taps * spacing
    tapped_rows = _taps(rows, pixels.shape[0], block, spacing)
    tapped_columns = _taps(columns, pixels.shape[1], block, spacing)
    tapped = np.zeros((tapped_rows.count, tapped_columns.count, 3), dtype=np.uint8)
    tapped[tapped_rows.inside, tapped_columns.inside] = pixels[tapped_rows.source, tapped_columns.source]
    size = (tapped_columns.count // taps, tapped_rows.count // taps)
    means = cv2.resize(tapped, size, interpolation=cv2.INTER_AREA)
    middle = spacing * (taps - 1) / 2  # mean place of a block's taps, from the block's first pixel
    across, down = columns - tapped_columns.first - middle, rows - tapped_rows.first - middle
    _sample(means, down / block, across / block, out)


@dataclass(frozen=True)
class _Taps:
    """Evenly spaced pixel indices along one axis: the first, their number, and which of them lie in the photo."""

    first: int
    count: int
    inside: slice
    source: slice


def _taps(positions: np.ndarray, length: int, block: int, spacing: int) -> _Taps:
    """Taps of whole blocks under the sampled positions with a block around, as far as they can touch the photo."""
    first = max(math.floor(positions[0]) - block, -block)
    last = min(math.ceil(positions[-1]) + block, length + block)
    count = max(math.ceil((last - first) / block), 1) * (block // spacing)
    start = max(-(first // spacing), 0)  # first tap at or after pixel 0
    stop = max(min((length - 1 - first) // spacing + 1, count), start)
    source = slice(first + start * spacing, first + stop * spacing, spacing)
    return _Taps(first, count, slice(start, stop), slice(source.start, min(source.stop, length), spacing))
