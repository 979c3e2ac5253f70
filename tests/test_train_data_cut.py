"""How training crops are cut and labelled: against hand-computed numbers and scikit-image."""

import numpy as np
import pytest
import torch
from skimage.transform import AffineTransform, warp

from deca_cli.errors import InputError
from deca_cli.train.data.cut import MIRRORED, Draw, canvas_size, cut, draw, square
from deca_cli.train.data.sampling import generator
from deca_cli.train.data.settings import Augmentation, DataSettings
from deca_cli.train.data.source import Picture
from deca_cli.train.data.warp import warp as warp_crops
from small_dataset import face_points, smooth_picture

PLAIN = (1.0, 1.0, 1.0)
SIZE = 64


def settings(**changes: object) -> DataSettings:
    return DataSettings(training_data=("x",), image_size=SIZE, **changes)  # type: ignore[arg-type]


def box_points(left, top, right, bottom):
    """68 points whose box is known: two corners, and the rest in the middle."""
    points = np.full((68, 2), ((left + right) / 2, (top + bottom) / 2))
    points[0], points[8] = (left, top), (right, bottom)
    return points


def render(picture, drawn, rule):
    """One cut through both halves -> image [3, S, S], mask [S, S], label [68, 3]."""
    one = cut(picture, drawn, rule)
    colours = None if drawn.colour == PLAIN else torch.from_numpy(one.colour)[None]
    images, masks = warp_crops(
        torch.from_numpy(one.canvas)[None], torch.from_numpy(one.place)[None], colours, rule.image_size
    )
    return images[0].numpy(), masks[0].numpy(), one.landmarks


def reference(picture, left, top, side, channels):
    """The same crop by scikit-image (specification 2.3), corner pixel centres on the square's corners."""
    step = side / (SIZE - 1)
    to_source = AffineTransform(np.array([[step, 0, left], [0, step, top], [0, 0, 1]]))
    return warp(channels, to_source, output_shape=(SIZE, SIZE), order=1, mode="constant", cval=0)


def test_the_square_follows_the_official_recipe_by_hand():
    points = box_points(100, 200, 180, 300)  # sides 80 and 100: 90 on average
    drawn = Draw(1.55, (0.1, -0.2), False, PLAIN)
    # side floor(90 * 1.55 = 139.5) = 139; centre (140 + 9, 250 - 18)
    assert square(points, drawn, settings()) == pytest.approx((149 - 69.5, 232 - 69.5, 139))


def test_packs_with_exact_pixels_get_the_exact_side():
    points = box_points(100, 200, 180, 300)
    rule = settings(pixel_offset=-0.5, box_side="max")
    assert square(points, Draw(1.555, (0, 0), False, PLAIN), rule)[2] == pytest.approx(155.5)


def test_labels_are_what_one_computes_by_hand():
    picture = Picture(np.zeros((400, 400, 3), np.uint8), box_points(100, 200, 180, 280), None)
    drawn = Draw(1.575, (0, 0), False, PLAIN)  # side 126 = 63 steps of two pixels, from (77, 177)
    label = render(picture, drawn, settings())[2]
    # point 0 at (100, 200): crop index (23 / 2, 23 / 2), label 2 * 11.5 / 64 - 1
    assert label[0] == pytest.approx([2 * 11.5 / 64 - 1, 2 * 11.5 / 64 - 1, 1])
    exact = render(picture, drawn, settings(pixel_offset=-0.5))[2]
    assert exact[0] == pytest.approx([2 * 12 / 64 - 1, 2 * 12 / 64 - 1, 1])


@pytest.mark.parametrize("centre", [(150.3, 120.8), (20.5, 140.2), (295.0, 5.0)])
def test_pixels_equal_scikit_image_also_beyond_the_border(centre):
    pixels = smooth_picture(1, 240, 300)
    mask = (smooth_picture(2, 240, 300)[..., 0] > 128).astype(np.uint8) * 255
    points = face_points(centre, 30)
    rule = settings()
    drawn = Draw(1.7, (0.05, -0.03), False, PLAIN)
    left, top, side = square(points, drawn, rule)
    assert side < canvas_size(SIZE)
    images, masks, _ = render(Picture(pixels, points, mask), drawn, rule)
    expected = reference(pixels, left, top, side, pixels / 255)
    np.testing.assert_allclose(images.transpose(1, 2, 0), expected, atol=3e-5)
    expected = reference(pixels, left, top, side, (mask > 0).astype(float))
    np.testing.assert_allclose(masks, expected, atol=3e-5)


def test_without_a_mask_the_picture_counts_and_what_is_outside_does_not():
    points = face_points((10, 100), 30)
    _, masks, _ = render(
        Picture(smooth_picture(1, 200, 200), points, None), Draw(1.6, (0, 0), False, PLAIN), settings()
    )
    assert masks[:, 0].max() == 0
    assert masks[:, -1].min() == pytest.approx(1)


def test_a_large_face_is_averaged_down_in_the_right_place():
    pixels = np.zeros((1200, 1200, 3), np.uint8)
    pixels[:, :, 0] = np.linspace(0, 255, 1200, dtype=np.uint8)[None]
    pixels[::2, :, 1] = 255  # alternating rows: grey when averaged
    rule = settings(pixel_offset=-0.5)
    points = face_points((600, 600), 300)
    drawn = Draw(1.6, (0, 0), False, PLAIN)
    left, _, side = square(points, drawn, rule)
    images, _, label = render(Picture(pixels, points, None), drawn, rule)
    columns = left + side / (SIZE - 1) * np.arange(SIZE)
    np.testing.assert_allclose(images[0, 30], columns / 1199, atol=0.006)
    assert np.abs(images[1] - 0.5).max() < 0.1
    crop_index = (label[:, 0] + 1) / 2 * SIZE - 0.5
    np.testing.assert_allclose(left + crop_index * side / (SIZE - 1), points[:, 0], atol=1e-3)


def test_a_flip_mirrors_picture_mask_and_points():
    pixels = smooth_picture(3, 200, 200)
    mask = np.zeros((200, 200), np.uint8)
    mask[:, :100] = 255
    picture = Picture(pixels, face_points((100, 100), 35), mask)
    rule = settings(pixel_offset=-0.5)
    plain = render(picture, Draw(1.5, (0.1, 0), False, PLAIN), rule)
    flipped = render(picture, Draw(1.5, (0.1, 0), True, PLAIN), rule)
    np.testing.assert_allclose(flipped[0], plain[0][:, :, ::-1], atol=1e-4)
    np.testing.assert_allclose(flipped[1], plain[1][:, ::-1], atol=1e-4)
    np.testing.assert_allclose(flipped[2][MIRRORED] * [-1, 1, 1], plain[2], atol=1e-5)


def test_the_mirrored_order_fits_a_symmetric_face():
    points = face_points((0, 0), 1)
    np.testing.assert_allclose(points[MIRRORED] * [-1, 1], points, atol=1e-9)


def test_chance_stays_in_its_limits_and_reaches_them():
    rule = settings(trans_scale=0.1)
    draws = [draw(rule, generator(0, index)) for index in range(500)]
    scales = [one.scale for one in draws]
    shifts = np.array([one.shift for one in draws])
    assert 1.4 <= min(scales) < 1.41
    assert 1.79 < max(scales) <= 1.8
    assert 0.099 < np.abs(shifts).max() <= 0.1
    assert all(not one.is_flipped and one.colour == PLAIN for one in draws)


def test_switching_colours_on_leaves_the_cuts_as_they_are():
    plain, colourful = settings(), settings(augmentation=Augmentation(0.5, 0.3, 0.2, 0.2, 0.2))
    for index in range(50):
        one, other = draw(plain, generator(0, index)), draw(colourful, generator(0, index))
        assert (one.scale, one.shift) == (other.scale, other.shift)
    drawn = [draw(colourful, generator(0, index)) for index in range(400)]
    assert 0.4 < np.mean([one.is_flipped for one in drawn]) < 0.6
    assert 0.2 < np.mean([one.colour[2] == 0 for one in drawn]) < 0.4


def test_colours_change_as_described():
    picture = Picture(smooth_picture(4, 200, 200), face_points((100, 100), 35), None)
    plain = render(picture, Draw(1.5, (0, 0), False, PLAIN), settings())[0]
    grey = render(picture, Draw(1.5, (0, 0), False, (1.0, 1.0, 0.0)), settings())[0]
    np.testing.assert_allclose(grey[0], plain.transpose(1, 2, 0) @ [0.299, 0.587, 0.114], atol=1e-5)
    assert np.abs(grey - grey[:1]).max() < 1e-6
    dark = render(picture, Draw(1.5, (0, 0), False, (0.5, 1.0, 1.0)), settings())[0]
    np.testing.assert_allclose(dark, plain / 2, atol=1e-6)
    flat = render(picture, Draw(1.5, (0, 0), False, (1.0, 0.0, 1.0)), settings())[0]
    assert np.ptp(flat) < 1e-5


@pytest.mark.parametrize(
    "points", [np.zeros((68, 2)), np.full((68, 2), np.nan), np.zeros((5, 2)), box_points(0, 0, 1e6, 1e6)]
)
def test_labels_that_are_no_face_are_refused(points):
    with pytest.raises(InputError, match="landmarks"):
        square(points, Draw(1.5, (0, 0), False, PLAIN), settings())
