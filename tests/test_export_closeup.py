"""Faces that are small in their photo: the overlay shows their surroundings, enlarged, at the right places."""

import cv2
import numpy as np
import pytest

from deca_cli.export.closeup import HIGH, LOW, cut_out, framed, overlay_cut
from deca_cli.export.formats import save
from deca_cli.export.overlay import Drawing, draw, write_overlay
from deca_cli.export.pictures import PANEL_MAX_SIDE
from test_export_pictures import capture_of


@pytest.fixture
def small():
    """An egg of 60 x 80 pixels at (700, 300) of a photo of 1200 x 800 whose columns and rows can be told apart."""
    down, right = np.indices((800, 1200))
    photo = np.stack([right * 255 // 1200, down * 255 // 800, np.full_like(down, 90)], axis=2).astype(
        np.uint8
    )
    return capture_of(photo, centre=(700.0, 300.0), scale=400.0)


def test_a_large_face_is_shown_with_its_whole_photo():
    points = np.stack([np.linspace(40, 160, 68), np.linspace(40, 160, 68)], axis=1)
    cut = overlay_cut(points, (200, 250))
    assert not cut.close
    assert cut.size == (200, 250)


def test_a_small_face_is_shown_alone_and_large(small):
    cut = overlay_cut(small.landmarks_2d_px, (1200, 800))
    assert cut.close
    assert cut.size[1] == LOW
    x, y = small.vertices_px[:, :2].T
    assert cut.region.left < x.min()
    assert x.max() < cut.region.right
    assert cut.region.top < y.min()
    assert y.max() < cut.region.bottom
    assert np.ptp(y) / cut.region.height > 0.35  # the egg's landmarks are wider than a head's


def test_surroundings_end_at_the_photos_edge_and_very_sharp_ones_are_not_larger_than_needed(small):
    corner = overlay_cut(small.landmarks_2d_px - (690, 290), (1200, 800))
    assert (corner.region.left, corner.region.top) == (0, 0)
    assert corner.close
    huge = overlay_cut(100 * small.landmarks_2d_px, (120_000, 80_000))
    assert huge.size[1] == HIGH
    outside = overlay_cut(small.landmarks_2d_px + 5000, (1200, 800))
    assert not outside.close


def test_the_enlarged_part_shows_photo_and_head_where_they_are(small):
    cut = overlay_cut(small.landmarks_2d_px, (1200, 800))
    near = cut_out(small, cut)
    scale = cut.size[1] / cut.region.height
    assert near.photo.pixels.shape == (cut.size[1], cut.size[0], 3)
    # The head's middle: the photo's own colours tell where a pixel of the part comes from.
    column, row = (round(float(value)) for value in near.vertices_px[:, :2].mean(axis=0))
    there = near.photo.pixels[row, column].astype(float)
    x, y = small.vertices_px[:, :2].mean(axis=0)
    assert there[:2] == pytest.approx([x * 255 / 1200, y * 255 / 800], abs=2)
    shape = draw(near).shape
    changed = (shape != near.photo.pixels).any(axis=2)
    rows, columns = np.flatnonzero(changed.any(axis=1)), np.flatnonzero(changed.any(axis=0))
    low, high = near.vertices_px[:, :2].min(axis=0), near.vertices_px[:, :2].max(axis=0)
    assert [columns[0], rows[0], columns[-1], rows[-1]] == pytest.approx([*low, *high], abs=0.06 * scale * 60)


def test_the_photo_beside_it_has_a_frame_around_that_part(small):
    cut = overlay_cut(small.landmarks_2d_px, (1200, 800))
    photo = framed(small.photo.pixels, cut)
    assert photo.shape == (cut.size[1], round(1200 * cut.size[1] / 800), 3)
    white = (photo == 255).all(axis=2)
    left, top = np.round(np.array([cut.region.left, cut.region.top]) * cut.size[1] / 800).astype(int)
    assert white[top, left:].sum() > 20
    assert white[top:, left].sum() > 20


def test_the_overlay_is_enlarged_and_the_single_pictures_are_not(small, tmp_path):
    save(small, tmp_path, ["images"], {})
    cut = Drawing(small).cut
    overlay = cv2.imread(str(tmp_path / "overlay.jpg"))
    assert overlay.shape[0] == cut.size[1]
    assert overlay.shape[1] == round(1200 * cut.size[1] / 800) + 3 * (cut.size[0] + overlay_gap(cut))
    assert cv2.imread(str(tmp_path / "shape.jpg")).shape == (800, 1200, 3)


@pytest.mark.parametrize("rows", [1, 20, 100])
def test_faces_of_which_the_photo_has_a_strip_only_are_shown_with_the_whole_photo(rows):
    points = np.random.default_rng(0).uniform(1000, 1500, (68, 2))
    region = overlay_cut(points, (4000, 3000)).region
    for right, bottom in ((region.right, rows), (rows, region.bottom)):
        cut = overlay_cut(points + np.array([right - region.right, bottom - region.bottom]), (4000, 3000))
        assert not cut.close
        assert max(cut.size) <= 4000


def test_beside_the_enlarged_part_a_panorama_is_shown_in_part_of_the_height(small):
    wide = np.zeros((80, 4000, 3), np.uint8)
    points = (small.landmarks_2d_px - (700, 300)) / 2 + (2000, 40)
    cut = overlay_cut(points, (4000, 80))
    assert cut.close
    photo = framed(wide, cut)
    assert photo.shape == (cut.size[1], 4 * cut.size[1], 3)
    assert (photo[0] == 255).all()
    assert (photo[-1] == 255).all()
    assert (photo[len(photo) // 2, :100] == 0).all()


@pytest.mark.parametrize("height", [800, 1100])
def test_a_face_taller_than_a_panorama_fills_a_panel_that_is_not_too_wide(height, tmp_path):
    """Wider ones would be shrunk when they are drawn, but not the photo beside them nor the GPU's drawing."""
    rows, columns = np.indices((height, 6 * height))
    wide = np.stack([columns // 26, rows // 5, np.full_like(rows, 90)], axis=2).astype(np.uint8)
    face = capture_of(wide, centre=(3.0 * height, 0.5 * height), scale=8.6 * height)
    drawing = Drawing(face)
    cut = drawing.cut
    assert cut.close
    assert cut.region.width > 2 * height
    assert 2040 < cut.size[0] <= PANEL_MAX_SIDE
    assert cut.size[0] / cut.size[1] == pytest.approx(cut.region.width / cut.region.height, rel=0.002)
    panels = drawing.overlay.panels().values()
    assert {panel.shape for panel in panels} == {(cut.size[1], cut.size[0], 3)}
    overlay = cv2.imread(str(write_overlay(drawing, tmp_path)))[..., ::-1]
    row = np.concatenate([framed(wide, cut), *(with_gap(panel, cut) for panel in panels)], axis=1)
    assert overlay.shape == row.shape
    assert np.abs(overlay.astype(int) - row).mean() < 3  # JPEG


def with_gap(panel, cut):
    """A panel after the white columns that part it from the one before."""
    return np.pad(panel, ((0, 0), (overlay_gap(cut), 0), (0, 0)), constant_values=255)


def overlay_gap(cut):
    return max(2, round(max(cut.size) / 128))
