"""From found boxes to faces of the photo."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import stand_in
from deca_cli.networks.codes import Codes
from deca_cli.packs.store import load_pack
from deca_cli.photo.crop import Crop
from deca_cli.photo.face import Face
from deca_cli.photo.read import Photo
from deca_cli.pipeline import fit
from deca_cli.pipeline.captures import Decoder
from deca_cli.pipeline.clock import Clock
from deca_cli.pipeline.fit import Fit, fit_faces, merge_duplicates, overlap
from deca_cli.pipeline.settings import Settings


@pytest.fixture(scope="module")
def pack(tmp_path_factory):
    return load_pack(stand_in.make_pack(tmp_path_factory.mktemp("packs") / "pack"))


@pytest.fixture
def photo(tmp_path):
    return Photo(np.full((240, 320, 3), 120, np.uint8), tmp_path / "a.png", "a")


def find(*boxes: object, landmarks=None):
    return lambda _, **__: [
        Face(box, 0.5 + 0.01 * number, landmarks, "test") for number, box in enumerate(boxes)
    ]


def fake_fit(box, score, detection=0.5):
    nothing = torch.zeros(1, 0)
    codes = Codes(*[nothing] * 7)
    crop = Crop(np.zeros((3, 4, 4), np.float32), np.eye(3), box)
    return Fit(Face(box, detection, None, "test"), crop, codes, score, box, box)


def test_overlap_is_intersection_over_union():
    assert overlap((0, 0, 2, 2), (1, 0, 3, 2)) == pytest.approx(1 / 3)
    assert overlap((0, 0, 2, 2), (0, 0, 2, 2)) == 1
    assert overlap((0, 0, 2, 2), (2, 0, 4, 2)) == 0
    assert overlap((0, 0, 2, 2), (5, 5, 6, 6)) == 0


def test_of_two_fits_of_one_face_the_better_stays():
    weak, strong = fake_fit((0, 0, 10, 10), 0.6), fake_fit((1, 0, 11, 10), 0.9)
    other = fake_fit((20, 0, 30, 10), 0.7)
    assert merge_duplicates([weak, strong, other]) == [strong, other]


def test_without_face_scores_the_finder_decides_between_duplicates():
    weak, strong = fake_fit((0, 0, 10, 10), None, 0.2), fake_fit((1, 0, 11, 10), None, 0.8)
    assert merge_duplicates([weak, strong]) == [strong]


def test_a_rough_box_is_replaced_by_the_one_around_the_models_own_landmarks(pack, photo, monkeypatch):
    rough = (100.0, 60.0, 200.0, 180.0)
    monkeypatch.setattr(fit, "find_faces", find(rough))
    [found] = fit_faces(photo, pack, Settings(), Clock())
    # The stand-in always answers with a face that fills the crop as a face should, so nothing moves.
    assert (found.box_px[0] + found.box_px[2]) / 2 == pytest.approx(150, abs=1.5)
    assert found.crop.box != rough
    assert found.size == pytest.approx(110, rel=0.03)


def test_a_box_from_landmarks_is_not_cut_again(pack, photo, monkeypatch):
    box = (100.0, 60.0, 200.0, 180.0)
    monkeypatch.setattr(fit, "find_faces", find(box, landmarks=np.zeros((68, 2), np.float32)))
    [found] = fit_faces(photo, pack, Settings(), Clock())
    side = found.crop.box[2] - found.crop.box[0]
    assert side == pytest.approx(stand_in.CROP_FACTOR * 110)


def test_the_search_goes_on_thoroughly_where_a_quick_one_found_no_face(pack, photo, monkeypatch):
    asked = []

    def find_only_thoroughly(_, *, detector, thorough) -> object:
        asked.append((detector, thorough))
        return find((100, 60, 200, 180))(None) if thorough else []

    monkeypatch.setattr(fit, "find_faces", find_only_thoroughly)
    assert len(fit_faces(photo, pack, Settings(detector="lbp"), Clock())) == 1
    assert asked == [("lbp", False), ("lbp", True)]


def test_two_finds_of_one_face_become_one(pack, photo, monkeypatch):
    monkeypatch.setattr(fit, "find_faces", find((100, 60, 200, 180), (106, 62, 204, 178), (10, 10, 60, 70)))
    assert len(fit_faces(photo, pack, Settings(), Clock())) == 2


def test_finds_that_the_model_does_not_take_for_faces_are_dropped_but_a_given_box_is_not(
    pack, photo, monkeypatch
):
    monkeypatch.setattr(fit, "find_faces", find((100, 60, 200, 180)))
    strict = replace(pack, manifest=replace(pack.manifest, least_face_score=0.99))
    assert fit_faces(photo, strict, Settings(), Clock()) == []
    assert len(fit_faces(photo, strict, Settings(box_px=(100, 60, 200, 180)), Clock())) == 1


def test_many_faces_go_through_in_parts_and_come_back_in_order_of_size(pack, photo, monkeypatch):
    boxes = [
        (5.0 + 40 * (i % 7), 5.0 + 40 * (i // 7), 20.0 + 41 * (i % 7), 25.0 + 41 * (i // 7))
        for i in range(12)
    ]
    monkeypatch.setattr(fit, "find_faces", find(*boxes))
    monkeypatch.setattr(fit, "BATCH", 5)
    found = fit_faces(photo, pack, Settings(), Clock())
    sizes = [one.size for one in found]
    assert len(found) == 12
    assert sizes == sorted(sizes, reverse=True)
    assert fit_faces(photo, pack, Settings(max_faces=3), Clock())[0].size == pytest.approx(sizes[0], rel=1e-3)


def test_captures_are_in_the_photos_own_pixels(pack, photo):
    clock = Clock()
    fits = fit_faces(photo, pack, Settings(box_px=(100, 60, 200, 180)), clock)
    [capture] = Decoder.of(pack).decode(photo, fits)
    np.testing.assert_allclose(capture.landmarks_2d_px.min(axis=0), fits[0].box_px[:2], atol=1e-3)
    np.testing.assert_allclose(capture.landmarks_2d_px.max(axis=0), fits[0].box_px[2:], atol=1e-3)
    # Weak perspective: metres times one number are pixels, along all three axes.
    spread = np.ptp(capture.vertices, axis=0) * capture.pixels_per_metre
    np.testing.assert_allclose(np.ptp(capture.vertices_px, axis=0), spread, rtol=1e-4)
    nearest = np.argmin(capture.vertices_px[:, 2])
    assert nearest == np.argmax(capture.vertices[:, 2])
    assert set(clock.seconds) == {"crop", "encode"}
