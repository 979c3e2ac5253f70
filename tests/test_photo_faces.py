import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import skimage.data
from skimage.feature import Cascade as Reference

from deca_cli.photo import lbp
from deca_cli.photo.cascade import (
    HEAD_START,
    ROUNDING,
    Cascade,
    all_spans,
    cascade_file,
    compile_kernel,
    frontal_face_cascade,
    reordered,
    scan,
)
from deca_cli.photo.cascade_kernel import is_compiled
from deca_cli.photo.find_faces import Face, find_faces
from deca_cli.photo.lbp import group_hits
from deca_cli.photo.read import Photo, read_photo
from deca_cli.photo.sweeps import Pass, leaving_out

FACE = np.array([181.0, 88.0, 266.0, 177.0])
"""Brows to chin of the portrait, read off by eye."""


def portrait() -> np.ndarray:
    return skimage.data.astronaut()


def photo_of(pixels: np.ndarray) -> Photo:
    return Photo(np.ascontiguousarray(pixels, dtype=np.uint8), Path("test.png"), "test")


def overlap(face: Face, box: np.ndarray) -> float:
    """Intersection over union."""
    one = np.array(face.box_px)
    sides = np.clip(np.minimum(one[2:], box[2:]) - np.maximum(one[:2], box[:2]), 0, None)
    shared = sides.prod()
    return shared / ((one[2:] - one[:2]).prod() + (box[2:] - box[:2]).prod() - shared)


def is_found(faces: list[Face], box: np.ndarray) -> bool:
    return any(overlap(face, np.asarray(box, dtype=float)) >= 0.4 for face in faces)


@pytest.mark.parametrize("corner", [(60, 120), (0, 0), (300, 300)])
def test_the_windows_that_pass_are_those_of_scikit_image(corner):
    grey = cv2.cvtColor(portrait(), cv2.COLOR_RGB2GRAY)[
        corner[0] : corner[0] + 200, corner[1] : corner[1] + 200
    ]
    for picture in (grey, cv2.resize(grey, (68, 68), interpolation=cv2.INTER_AREA)):
        reference = Reference(skimage.data.lbp_frontal_face_cascade_filename()).detect_multi_scale(
            picture / 256.0,
            1.2,
            1,
            (24, 24),
            (25, 25),
            min_neighbor_number=1,
            intersection_score_threshold=2.0,
        )
        cascade = frontal_face_cascade()
        # scikit-image leaves out the last row and column of windows.
        spans = all_spans(cascade, *picture.shape)[:-1] - [0, 1]
        spans = np.vstack([spans, [[1, 0]]]).astype(np.int32)
        corners, _ = scan(cascade, np.ascontiguousarray(picture), spans, 1, 0.0)
        assert sorted(map(tuple, corners.tolist())) == sorted((hit["c"], hit["r"]) for hit in reference)


def test_a_wider_stride_tests_every_second_window_and_spans_limit_the_windows():
    grey = cv2.resize(cv2.cvtColor(portrait(), cv2.COLOR_RGB2GRAY), (160, 160), interpolation=cv2.INTER_AREA)
    cascade = frontal_face_cascade()
    spans = all_spans(cascade, 160, 160)
    every = {tuple(corner) for corner in scan(cascade, grey, spans, 1, 2.0)[0].tolist()}
    second = {tuple(corner) for corner in scan(cascade, grey, spans, 2, 2.0)[0].tolist()}
    assert len(second) > 5
    assert second == {(x, y) for x, y in every if x % 2 == y % 2 == 0}
    narrow = np.tile(np.array([20, 30], np.int32), (len(spans), 1))
    inside = {tuple(corner) for corner in scan(cascade, grey, narrow, 1, 2.0)[0].tolist()}
    assert inside == {(x, y) for x, y in every if 20 <= x <= 30}
    assert 0 < len(inside) < len(every)


def plain_scores(cascade: Cascade, grey: np.ndarray, corner: tuple[int, int], slack: float) -> list[float]:
    """Every stage's sum over its lowered threshold of one window, straight from the definition."""
    margins = []
    for stage, threshold in enumerate(cascade.stage_thresholds):
        total = np.float32(0)
        for stump in range(cascade.stage_starts[stage], cascade.stage_starts[stage + 1]):
            left, top, width, height = cascade.cells[stump]
            block = grey[corner[1] + top :, corner[0] + left :][: 3 * height, : 3 * width].astype(int)
            cell = block.reshape(3, height, 3, width).sum(axis=(1, 3))
            ring = [cell[at] for at in ((0, 0), (0, 1), (0, 2), (1, 2), (2, 2), (2, 1), (2, 0), (1, 0))]
            pattern = sum(int(one >= cell[1, 1]) << (7 - bit) for bit, one in enumerate(ring))
            total += cascade.leaves[stump, pattern]
        margins.append(float(total - (threshold - np.float32(slack + ROUNDING))))
    return margins


def test_the_kernel_gives_the_scores_of_the_definition_and_looks_closer_where_early_stages_pass():
    grey = cv2.resize(cv2.cvtColor(portrait(), cv2.COLOR_RGB2GRAY), (67, 58), interpolation=cv2.INTER_AREA)
    cascade, slack, stages = frontal_face_cascade(), 1.6, 3
    margins = {(x, y): plain_scores(cascade, grey, (x, y), slack) for y in range(35) for x in range(44)}
    passing = {corner: np.mean(own) for corner, own in margins.items() if min(own) >= 0}
    early = {corner for corner, own in margins.items() if min(own[:stages]) >= 0}
    even = {(x, y) for x, y in margins if x % 2 == y % 2 == 0}
    near = {(x, y) for x, y in margins if (x - x % 2, y - y % 2) in early}
    spans = all_spans(cascade, *grey.shape)
    for stride, fine_after, tested in ((1, 0, set(margins)), (2, 0, even), (2, stages, near)):
        expected = {corner: score for corner, score in passing.items() if corner in tested}
        corners, scores = scan(cascade, grey, spans, stride, slack, fine_after=fine_after)
        assert len(corners) == len(expected) > 3
        assert dict(zip(map(tuple, corners.tolist()), scores.tolist(), strict=True)) == pytest.approx(
            expected, rel=1e-4
        )
    assert len(even & set(passing)) < len(near & set(passing)) < len(passing)


def test_a_window_that_falls_behind_the_pace_is_left():
    grey = cv2.resize(cv2.cvtColor(portrait(), cv2.COLOR_RGB2GRAY), (67, 58), interpolation=cv2.INTER_AREA)
    cascade, slack, pace = frontal_face_cascade(), 1.6, 1.8
    behind = pace * np.arange(1, 21) - HEAD_START
    corners, scores = scan(cascade, grey, all_spans(cascade, *grey.shape), 1, slack)
    expected = {
        corner: score
        for corner, score in zip(map(tuple, corners.tolist()), scores.tolist(), strict=True)
        if (np.cumsum(plain_scores(cascade, grey, corner, slack)) >= behind).all()
    }
    assert 3 < len(expected) < len(scores) - 3
    corners, scores = scan(cascade, grey, all_spans(cascade, *grey.shape), 1, slack, pace=pace)
    assert dict(zip(map(tuple, corners.tolist()), scores.tolist(), strict=True)) == expected


def test_candidates_without_the_least_support_are_left_out():
    hits = np.array([[100, 100, 50, 2.4], [400, 300, 60, 1.7], [700, 300, 60, 2.0]])
    groups = group_hits(hits, 1000)
    least = groups[1, 3]
    assert len(groups) == 3
    assert np.array_equal(group_hits(hits, 1000, least), groups[:2])


def test_the_order_of_stages_changes_no_window():
    grey = cv2.resize(cv2.cvtColor(portrait(), cv2.COLOR_RGB2GRAY), (160, 160), interpolation=cv2.INTER_AREA)
    cascade = frontal_face_cascade()
    turned = reordered(cascade, (7, 3, 19))
    assert turned.stage_thresholds[0] == cascade.stage_thresholds[7]
    spans = all_spans(cascade, 160, 160)
    (corners, scores), (others, their) = (scan(one, grey, spans, 1, 0.3) for one in (cascade, turned))
    assert np.array_equal(corners, others)
    assert len(corners) > 5
    assert their == pytest.approx(scores, rel=1e-4)


def test_the_kernel_counts_as_compiled_once_it_was_used():
    compile_kernel()
    assert is_compiled()


def test_slack_only_adds_windows_and_a_picture_smaller_than_the_window_has_none():
    grey = cv2.resize(cv2.cvtColor(portrait(), cv2.COLOR_RGB2GRAY), (160, 160), interpolation=cv2.INTER_AREA)
    cascade = frontal_face_cascade()
    spans = all_spans(cascade, 160, 160)
    strict, loose = (
        {tuple(corner) for corner in scan(cascade, grey, spans, 1, slack)[0].tolist()} for slack in (0.0, 0.3)
    )
    assert strict < loose
    assert len(scan(cascade, grey[:23], all_spans(cascade, 23, 160), 1, 0.3)[0]) == 0


def test_the_face_of_the_portrait_comes_first_with_a_tight_box():
    faces = find_faces(photo_of(portrait()), detector="lbp")
    assert overlap(faces[0], FACE) > 0.85
    assert faces[0].score > 0.8
    assert faces[0].source == "lbp"
    assert faces[0].landmarks_px is None
    assert [face.score for face in faces] == sorted((face.score for face in faces), reverse=True)


def test_the_same_photo_gives_the_same_faces_and_is_left_as_it_was():
    photo = photo_of(portrait())
    one, two = (find_faces(photo, detector="lbp") for _ in range(2))
    assert [(face.box_px, face.score) for face in one] == [(face.box_px, face.score) for face in two]
    assert np.array_equal(photo.pixels, portrait())
    assert len(find_faces(photo, detector="lbp", limit=2)) == 2


@pytest.mark.parametrize("degrees", [-30, 25])
def test_a_tilted_face_is_found(degrees):
    turn = cv2.getRotationMatrix2D((256, 256), degrees, 1)
    x, y = turn @ [(FACE[0] + FACE[2]) / 2, (FACE[1] + FACE[3]) / 2, 1]
    turned = cv2.warpAffine(portrait(), turn, (512, 512), borderMode=cv2.BORDER_REFLECT)
    half = (FACE[2] - FACE[0]) / 2
    faces = find_faces(photo_of(turned), detector="lbp")
    assert is_found(faces[:1], [x - half, y - half, x + half, y + half])


def test_beside_a_plain_face_only_turned_ones_of_less_than_half_its_size_are_passed_over(monkeypatch):
    photo = photo_of(portrait())
    reach = max(photo.width, photo.height)
    quick = lbp._usual_hits(photo, reach, complete=False)
    complete = lbp._usual_hits(photo, reach, complete=True)
    face, other = (lbp.group_hits(hits, reach)[0] for hits in (quick, complete))
    np.testing.assert_allclose(face, other, rtol=0.05)
    upright = {tuple(hit) for hit in quick} & {tuple(hit) for hit in complete}
    turned = np.array([hit for hit in quick if tuple(hit) not in upright])
    least = lbp.COMPANY * 0.9 * face[2]
    assert turned[:, 2].min() >= least > complete[:, 2].min()
    assert (
        {tuple(hit) for hit in complete if hit[2] < least}
        > {hit for hit in upright if hit[2] < least}
        > set()
    )
    monkeypatch.setattr(lbp, "PLAIN", 0.9999)
    assert len(lbp._usual_hits(photo, reach, complete=False)) == len(complete)


def test_a_sweep_without_small_windows_looks_at_a_smaller_copy_with_the_same_windows():
    one = Pass(400, smallest=30.0, dense_from=40.0, growth=1.2, angle_deg=15.0)
    assert leaving_out(one, 0.0, 512) == leaving_out(one, 0.075, 512) == one
    left = leaving_out(one, 0.1, 512)
    assert (left.smallest, left.long_side, left.angle_deg) == (pytest.approx(30), 278, 15)
    assert (left.dense_from, left.largest) == (pytest.approx(40 / 1.2**2), np.inf)
    assert left.smallest / left.long_side == pytest.approx(30 * 1.2**2 / 400, rel=2e-3)
    assert leaving_out(one, 0.1, 399) == replace(one, smallest=pytest.approx(30 * 1.2**2))
    bounded = replace(one, largest=60.0)
    assert leaving_out(bounded, 0.1, 512).largest == pytest.approx(60 / 1.2**2)
    assert leaving_out(bounded, 0.2, 512) is None


def test_a_lying_face_is_found_by_the_thorough_search():
    size = portrait().shape[1]
    box = [FACE[1], size - 1 - FACE[2], FACE[3], size - 1 - FACE[0]]
    assert is_found(find_faces(photo_of(np.rot90(portrait())), detector="lbp", thorough=True)[:3], box)


def test_a_dark_noisy_and_a_pale_photo_still_show_their_face():
    noise = np.random.default_rng(0).normal(0, 4, portrait().shape)
    dark = np.clip(portrait() * 0.12 + noise, 0, 255).astype(np.uint8)
    pale = (190 + portrait() * 0.25).astype(np.uint8)
    assert is_found(find_faces(photo_of(dark), detector="lbp")[:1], FACE)
    assert is_found(find_faces(photo_of(pale), detector="lbp")[:1], FACE)


@pytest.mark.parametrize("scale", [0.25, 6.0])
def test_small_and_large_photos_give_the_same_face(scale):
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    scaled = cv2.resize(portrait(), None, fx=scale, fy=scale, interpolation=how)
    faces = find_faces(photo_of(scaled), detector="lbp")
    assert overlap(faces[0], (FACE + 0.5) * scale - 0.5) > 0.75


def test_a_face_that_fills_the_photo_is_found():
    tight = portrait()[78:185, 172:276]
    assert is_found(find_faces(photo_of(tight), detector="lbp")[:1], FACE - [172, 78, 172, 78])


def test_all_faces_of_a_group_are_found_in_a_wide_photo():
    head = portrait()[30:200, 130:310]
    canvas = np.full((1200, 1800, 3), 120, dtype=np.uint8)
    boxes = []
    for index in range(12):
        scale = 0.75 + 0.1 * (index % 5)
        small = cv2.resize(head, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        x, y = 60 + 440 * (index % 4), 50 + 380 * (index // 4)
        canvas[y : y + small.shape[0], x : x + small.shape[1]] = small
        boxes.append((FACE - [130, 30, 130, 30]) * scale + [x, y, x, y])
    faces = find_faces(photo_of(canvas), detector="lbp")
    assert all(is_found(faces, box) for box in boxes)
    assert all(any(overlap(face, box) > 0.3 for box in boxes) for face in faces[:12])


@pytest.mark.parametrize("name", ["horse", "moon", "hubble_deep_field"])
def test_a_picture_without_a_face_has_no_sure_candidate(name):
    pixels = getattr(skimage.data, name)()
    grey = pixels.astype(np.uint8) * 255 if pixels.dtype == bool else pixels
    colour = grey if grey.ndim == 3 else np.stack([grey] * 3, axis=2)
    assert all(face.score < 0.5 for face in find_faces(photo_of(colour), detector="lbp"))


def test_a_plain_picture_leaves_only_the_guess_that_all_of_it_is_a_face():
    faces = find_faces(photo_of(np.full((100, 120, 3), 90)), detector="lbp")
    assert [face.score for face in faces] == [0.02]
    assert faces[0].box_px == pytest.approx((59.5 - 36, 49.5 - 36, 59.5 + 36, 49.5 + 36))
    assert find_faces(photo_of(np.full((100, 300, 3), 90)), detector="lbp") == []


def test_hits_of_one_place_become_one_candidate_and_stronger_ones_come_first():
    together = [[100, 100, 50, 2.0], [102, 99, 52, 2.4], [99, 101, 48, 1.8]]
    apart = [[400, 300, 60, 1.7]]
    faint = [[700, 700, 60, 1.0]]
    groups = group_hits(np.array(apart + together + faint, dtype=float), 1000)
    weights = np.exp(3.0 * np.array([0.4, 0.8, 0.2]))
    centre = np.average(np.array(together)[:, :2], axis=0, weights=weights)
    assert groups[0, :2] == pytest.approx(centre)
    assert groups[0, 3] == pytest.approx(weights.sum() * 52 / 1000)
    assert groups[1] == pytest.approx([400, 300, 60, np.exp(0.3) * 0.06])
    assert len(groups) == 2
    assert group_hits(np.empty((0, 4)), 1000).shape == (0, 4)


def test_a_weak_hit_inside_a_strong_one_is_dropped_and_a_strong_one_is_kept():
    large = [100.0, 100.0, 200.0, 2.0]
    weak, strong = [105.0, 100.0, 60.0, 1.7], [105.0, 100.0, 60.0, 2.6]
    assert len(group_hits(np.array([large, weak]), 1000)) == 1
    assert len(group_hits(np.array([large, strong]), 1000)) == 2


def test_candidates_of_one_photo_do_not_lie_on_each_other():
    faces = find_faces(photo_of(portrait()), detector="lbp", thorough=True)
    for index, face in enumerate(faces[:-1]):  # the last one is the guess that the photo is a face
        assert all(overlap(other, np.array(face.box_px)) <= 0.36 for other in faces[:index])


def test_faces_are_found_in_nearly_all_real_photos(photos_dir):
    # Every third photo keeps the test quick; docs/benchmarks.md has the whole set.
    entries = list(json.loads((photos_dir / "landmarks.json").read_text()).items())[::3]
    found = sum(
        is_found(find_faces(read_photo(photos_dir / "images" / name), detector="lbp"), entry["bbox"])
        for name, entry in entries
    )
    assert found >= 0.95 * len(entries)


@pytest.mark.parametrize(("height", "width"), [(1, 3000), (3000, 1), (4, 3000), (10, 10000)])
def test_a_photo_as_slim_as_a_line_shows_no_face(height, width):
    noise = np.random.default_rng(0).integers(0, 255, (height, width, 3), np.uint8)
    assert lbp.find_with_cascade(Photo(noise, Path("line.png"), "line")) == []


def test_the_cascade_is_found_without_loading_what_fetches_data(monkeypatch, tmp_path):
    theirs = skimage.data.lbp_frontal_face_cascade_filename()
    monkeypatch.setattr(skimage.data, "lbp_frontal_face_cascade_filename", lambda: "asked")
    assert Path(cascade_file()).samefile(theirs)
    monkeypatch.setattr(skimage.__spec__, "submodule_search_locations", [str(tmp_path)])
    assert cascade_file() == "asked"
