import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from deca_cli.errors import InputError
from deca_cli.photo.crop import crop_face, crop_whole, cut_square, square_around, whole_box
from deca_cli.photo.read import Photo, read_photo


@dataclass(frozen=True)
class Rule:
    image_size: int = 224
    crop_factor: float = 1.375
    box_side: str = "mean"
    pixel_offset: float = 0.0


OFFICIAL = Rule()
OPEN = Rule(crop_factor=1.5, box_side="max", pixel_offset=-0.5)


def photo_of(pixels: np.ndarray) -> Photo:
    return Photo(np.ascontiguousarray(pixels), Path("test.png"), "test")


def ramp(height: int, width: int) -> Photo:
    """Red counts columns and green rows, so that a crop's colours say where its pixels came from."""
    rows, columns = np.mgrid[0:height, 0:width]
    return photo_of(np.stack([columns, rows, np.full_like(rows, 200)], axis=2).astype(np.uint8))


def cases() -> list[int]:
    return list(range(10))


@pytest.mark.parametrize("index", cases())
def test_official_crops_equal_the_release(parity_dir, index):
    case = json.loads((parity_dir / "preprocess.json").read_text())[index]
    arrays = np.load(parity_dir / "preprocess.npz")
    file = parity_dir / "photos" / case["photo"]
    photo = read_photo(file if file.exists() else parity_dir / case["photo"])
    if case["mode"] == "nocrop":
        crop = crop_whole(photo, OFFICIAL)
    else:
        box = (case["box_left"], case["box_top"], case["box_right"], case["box_bottom"])
        kind = "detector" if case["box_type"] == "bbox" else "landmarks"
        crop = crop_face(photo, box, OFFICIAL, box_kind=kind)
        assert crop.box[2] - crop.box[0] == case["size"]
    assert np.abs(crop.image - arrays[f"crop_u16_{index}"] / 65535).max() < 2e-5
    expected = arrays[f"tform_{index}"].astype(np.float64)
    assert np.linalg.inv(crop.to_photo) == pytest.approx(expected, rel=1e-5, abs=1e-5)


def test_the_whole_box_of_a_photo_that_is_not_square_keeps_width_and_height_apart():
    # Specification B4: the official release swaps them when no face is found.
    assert whole_box(ramp(200, 150)) == (0.0, 0.0, 149.0, 199.0)


def test_the_square_of_a_landmark_box_and_of_a_detector_box_follow_the_rules():
    box = (46.705, 50.103, 169.996, 171.713)
    left, top, side = square_around(box, OFFICIAL, "detector")
    assert (left + side / 2, top + side / 2, side) == pytest.approx((108.3505, 125.60206, 153))
    left, top, side = square_around(box, OFFICIAL, "landmarks")
    assert (left + side / 2, top + side / 2, side) == pytest.approx((108.3505, 110.908, 168))


def test_other_packs_get_the_exact_side_of_the_mean_or_the_longer_side():
    box = (10.0, 20.0, 50.5, 50.0)
    assert square_around(box, OPEN)[2] == pytest.approx(1.5 * 40.5)
    assert square_around(box, Rule(224, 1.5, "mean", -0.5))[2] == pytest.approx(1.5 * 35.25)


@pytest.mark.parametrize("rule", [OFFICIAL, OPEN])
def test_to_photo_says_where_every_crop_pixel_came_from(rule):
    photo = ramp(240, 250)
    crop = crop_face(photo, (80.3, 90.1, 170.7, 171.9), rule)
    index = np.array([0, 57, 223])
    x = crop.to_photo[0, 0] * index + crop.to_photo[0, 2]
    y = crop.to_photo[1, 1] * index + crop.to_photo[1, 2]
    assert crop.image[0, 100, index] * 255 == pytest.approx(x, abs=1e-3)
    assert crop.image[1, index, 100] * 255 == pytest.approx(y, abs=1e-3)
    corners = (*(crop.to_photo @ [0, 0, 1])[:2], *(crop.to_photo @ [223, 223, 1])[:2])
    assert crop.box == pytest.approx(corners)


def test_outside_the_photo_is_black_and_the_rim_fades_over_one_pixel():
    crop = crop_face(photo_of(np.full((100, 100, 3), 255)), (-20, 20, 40, 80), OFFICIAL)
    x = crop.to_photo[0, 0] * np.arange(224) + crop.to_photo[0, 2]
    expected = np.clip(x + 1, 0, 1)
    assert crop.image[:, 112] == pytest.approx(np.broadcast_to(expected, (3, 224)), abs=1e-5)


def test_a_crop_far_outside_the_photo_is_all_black():
    for rule in (OFFICIAL, OPEN):
        assert crop_face(ramp(100, 100), (5000, 5000, 6000, 6000), rule).image.max() == 0
        assert crop_face(ramp(100, 100), (-6000, 20, -5000, 900), rule).image.max() == 0


def test_a_whole_photo_that_is_not_square_gets_bars_and_is_not_turned():
    # Specification B23: the official release turns it.
    crop = crop_whole(photo_of(np.full((100, 200, 3), 255)), OFFICIAL)
    assert crop.to_photo[0, 1] == crop.to_photo[1, 0] == 0
    assert crop.to_photo @ [0, 111.5, 1] == pytest.approx([0, 49.5, 1])
    assert crop.to_photo @ [223, 111.5, 1] == pytest.approx([199, 49.5, 1])
    bright = crop.image[0] > 0.5
    assert bright.any(axis=1).sum() == pytest.approx(112, abs=1)
    assert np.array_equal(bright, bright[::-1])


def test_a_grey_photo_from_disk_can_be_cropped(tmp_path):
    # Specification B5: the official release stops here.
    from PIL import Image

    Image.fromarray(ramp(100, 100).pixels[..., 0]).save(tmp_path / "grey.png")
    crop = crop_whole(read_photo(tmp_path / "grey.png"), OFFICIAL)
    assert np.array_equal(crop.image[0], crop.image[2])


@pytest.mark.parametrize("shrink", [2.0, 3.7, 4.0, 9.3, 13.0])
def test_shrinking_averages_fine_texture_and_keeps_its_place(shrink):
    size = 32
    side = shrink * (size - 1)
    rows, columns = np.mgrid[0:600, 0:600]
    board = 127 + 100 * (-1.0) ** (rows + columns)
    slope = np.stack([board, columns * 0.4, rows * 0.4], axis=2).round().astype(np.uint8)
    rule = Rule(size, 1.1, "max", -0.5)
    box = (300 - side / 2.2, 290 - side / 2.2, 300 + side / 2.2, 290 + side / 2.2)
    crop = crop_face(photo_of(slope), tuple(value for value in box), rule)
    x = crop.to_photo[0, 0] * np.arange(size) + crop.to_photo[0, 2]
    y = crop.to_photo[1, 1] * np.arange(size) + crop.to_photo[1, 2]
    assert crop.image[1].mean(axis=0) * 255 == pytest.approx(0.4 * x, abs=0.6)
    assert crop.image[2].mean(axis=1) * 255 == pytest.approx(0.4 * y, abs=0.6)
    if shrink < 6:  # up to 5 pixels a side every pixel counts, so a checkerboard becomes flat
        assert np.ptp(crop.image[0]) * 255 < 60


def test_averaging_keeps_the_rim_of_the_photo_in_place():
    crop = crop_face(
        photo_of(np.full((400, 400, 3), 200)), (-250, -250, 250, 250), Rule(100, 1.1, "max", -0.5)
    )
    x = crop.to_photo[0, 0] * np.arange(100) + crop.to_photo[0, 2]
    assert crop.image[0, 75, x < -6].max() == 0
    assert crop.image[0, 75, x > 6] == pytest.approx(200 / 255, abs=0.01)


@pytest.mark.parametrize(
    "box", [(10, 10, 10, 50), (50, 10, 10, 50), (0, 0, math.nan, 5), (0, 0, math.inf, 5)]
)
def test_an_empty_or_endless_box_is_an_error_that_says_how_to_write_one(box):
    with pytest.raises(InputError, match="x0,y0,x1,y1"):
        crop_face(ramp(100, 100), box, OFFICIAL)


def test_a_box_of_a_pixel_is_too_small():
    with pytest.raises(InputError, match="too small to be a face"):
        crop_face(ramp(100, 100), (10, 10, 11, 11), OFFICIAL)


def test_cropping_leaves_the_photo_as_it_was():
    photo = ramp(120, 120)
    before = photo.pixels.copy()
    crop_face(photo, (-10, -10, 300, 300), OPEN)
    assert np.array_equal(photo.pixels, before)


@pytest.mark.parametrize("side", [90.0, 900.0])  # sampled, and averaged first
def test_a_crop_can_be_cut_into_memory_that_is_there(side):
    photo, square = ramp(400, 400), (-20.5, 10.25, side)
    there = np.full((2, 3, 224, 224), 7, np.float32)
    crop = cut_square(photo, square, OPEN, into=there[1])
    np.testing.assert_array_equal(there[1], cut_square(photo, square, OPEN).image)
    assert np.shares_memory(crop.image, there)
    assert (there[0] == 7).all()
