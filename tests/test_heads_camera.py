import pytest
import torch

from deca_cli.heads import camera


def test_the_camera_shifts_then_scales_then_turns_y_and_z_round():
    points = torch.tensor([[[0.5, 0.25, 1.0], [-1.0, 0.0, -2.0]]])
    ndc = camera.project(points, torch.tensor([[2.0, 0.5, -0.25]]))
    torch.testing.assert_close(ndc, torch.tensor([[[2.0, 0.0, -2.0], [-1.0, 0.5, 4.0]]]), rtol=0, atol=0)


def test_every_face_of_a_batch_has_its_own_camera():
    points = torch.ones(2, 1, 3)
    ndc = camera.project(points, torch.tensor([[1.0, 0, 0], [3.0, 1, 0]]))
    torch.testing.assert_close(ndc, torch.tensor([[[1.0, -1, -1]], [[6.0, -3, -3]]]), rtol=0, atol=0)


def test_the_nearer_point_has_the_smaller_depth():
    nose_and_ear = torch.tensor([[[0.0, 0.0, 0.1], [0.07, 0.0, 0.0]]])
    ndc = camera.project(nose_and_ear, torch.tensor([[8.0, 0, 0]]))
    assert ndc[0, 0, 2] < ndc[0, 1, 2]


@pytest.mark.parametrize("size", [4, 160, 224])
def test_pixel_centres_are_whole_numbers_with_the_exact_offset(size: int):
    pixels = torch.arange(size)
    centres = (2 * pixels + 1) / size - 1
    ndc = torch.stack([centres, centres], dim=1)
    expected = torch.stack([pixels, pixels], dim=1).float()
    torch.testing.assert_close(camera.ndc_to_pixels(ndc, size, -0.5), expected, atol=1e-4, rtol=0)
    torch.testing.assert_close(camera.ndc_to_pixels(ndc, size, 0.0), expected + 0.5, atol=1e-4, rtol=0)


def test_height_and_width_are_not_mixed_up():
    corner = torch.tensor([[1.0, 1.0]])
    assert camera.ndc_to_pixels(corner, (100, 300), 0.0).tolist() == [[300.0, 100.0]]


@pytest.mark.parametrize("offset", [0.0, -0.5])
def test_pixels_lead_back_to_ndc(offset: float):
    ndc = torch.rand(5, 2, generator=torch.Generator().manual_seed(0)) * 2 - 1
    pixels = camera.ndc_to_pixels(ndc, (90, 160), offset)
    torch.testing.assert_close(camera.pixels_to_ndc(pixels, (90, 160), offset), ndc)


def test_crop_pixels_are_carried_into_the_photo_by_their_matrix():
    to_photo = torch.tensor([[[2.0, 0, 10], [0, 2, 20], [0, 0, 1]]], dtype=torch.float64)
    centre_of_first_pixel = torch.full((1, 1, 2), 1 / 4 - 1)  # of a crop of four pixels
    photo = camera.ndc_to_photo_pixels(centre_of_first_pixel, to_photo, 4, -0.5)
    torch.testing.assert_close(photo, torch.tensor([[[10.0, 20.0]]]))
    shifted = camera.ndc_to_photo_pixels(centre_of_first_pixel, to_photo, 4, 0.0)
    torch.testing.assert_close(
        shifted, torch.tensor([[[11.0, 21.0]]])
    )  # the official half-pixel, in photo pixels


@pytest.mark.parametrize("offset", [0.0, -0.5])
def test_a_crop_that_is_the_whole_photo_changes_nothing(offset: float):
    ndc = torch.rand(2, 7, 3, generator=torch.Generator().manual_seed(0)) * 2 - 1
    mapped = camera.ndc_to_photo(ndc, torch.eye(3).expand(2, 3, 3), 50, offset, (50, 50))
    torch.testing.assert_close(mapped, ndc)


def test_the_corner_of_the_photo_stays_a_corner_when_the_crop_covers_its_left_half():
    # Photo 20 high, 40 wide; the crop is its left half, 10 x 10 pixels: crop index i lies at photo index 2 i + 0.5.
    to_photo = torch.tensor([[[2.0, 0, 0.5], [0, 2, 0.5], [0, 0, 1]]])
    corners = torch.tensor([[[-1.0, -1.0, 5.0], [1.0, 1.0, 6.0]]])
    mapped = camera.ndc_to_photo(corners, to_photo, 10, -0.5, (20, 40))
    torch.testing.assert_close(mapped, torch.tensor([[[-1.0, -1.0, 5.0], [0.0, 1.0, 6.0]]]))
