"""`deca evaluate landmarks`: every format, every normalisation, by hand-made numbers."""

import json

import numpy as np
import pytest
from scipy.io import savemat
from typer.testing import CliRunner

from deca_cli.cli.evaluate import evaluate
from deca_cli.errors import InputError
from deca_cli.evaluate.landmark_predictions import read_predictions
from deca_cli.evaluate.landmark_sets import TrueFace, as_points, read_truth, tight_box
from deca_cli.evaluate.landmarks import MEASURES, pose_table, score_face

# A face in a box of 80 by 45 pixels, so that the square root of its area is 60; eye corners 30 pixels apart.
POINTS = np.random.default_rng(0).uniform((10, 20), (90, 65), (68, 2))
POINTS[0], POINTS[8], POINTS[36], POINTS[45] = (10, 20), (90, 65), (30, 40), (60, 40)


def face(name="a", yaw=None, valid=None):
    valid = np.ones(68, bool) if valid is None else valid
    return TrueFace(name, POINTS, valid, tight_box(POINTS), yaw)


def call(*arguments: object):
    return CliRunner().invoke(evaluate, [str(a) for a in arguments])


def test_errors_by_box_and_by_eyes_of_points_three_pixels_off():
    errors = score_face(face(), POINTS + np.array([3.0, 0])).errors
    assert [errors[m] for m in MEASURES] == pytest.approx([5.0, 5.0, 10.0, 10.0])


def test_inner_points_do_not_see_the_jaw():
    predicted = POINTS.copy()
    predicted[:17] += [0, 6.0]
    errors = score_face(face(), predicted).errors
    assert errors["51 / box"] == 0
    assert errors["68 / box"] == pytest.approx(10 * 17 / 68)


def test_points_marked_not_valid_do_not_count():
    valid = np.ones(68, bool)
    valid[:18] = False
    predicted = POINTS.copy()
    predicted[17] += 100
    errors = score_face(face(valid=valid), predicted).errors
    assert errors["51 / box"] == 0
    assert np.isnan(errors["68 / box"])  # the jaw is not annotated


def test_pose_table_averages_buckets_alike():
    scores = [score_face(face(str(i), yaw), POINTS + np.array([off, 0])) for i, (yaw, off) in enumerate(
        [(0, 0.6), (-29, 0.6), (30, 1.2), (-75, 6.0)]
    )]  # fmt: skip
    table = pose_table(scores)
    assert {name: row.faces for name, row in table.items()} == {
        "all": 4, "0-30°": 2, "30-60°": 1, "60-90°": 1, "mean of poses": 4
    }  # fmt: skip
    assert table["all"].means["51 / box"] == pytest.approx((1 + 1 + 2 + 10) / 4)
    assert table["mean of poses"].means["51 / box"] == pytest.approx((1 + 2 + 10) / 3)
    assert table["all"].failures == 25
    assert table["all"].area == pytest.approx(100 * (7 / 8 + 7 / 8 + 6 / 8) / 4)


def write_pts(path, points):
    rows = "\n".join(f"{x + 1:.4f} {y + 1:.4f}" for x, y in points)
    path.write_text(f"version: 1\nn_points: 68\n{{\n{rows}\n}}\n")


def test_truth_of_every_format_gives_the_same_points(tmp_path):
    for kind in ("mat", "pts", "json"):
        (tmp_path / kind).mkdir()
    solid = np.vstack([POINTS.T, np.zeros(68)])
    savemat(
        tmp_path / "mat" / "a.mat", {"pt3d_68": solid, "Pose_Para": [[0.1, -np.radians(40), 0, 0, 0, 0, 1]]}
    )
    write_pts(tmp_path / "pts" / "a.pts", POINTS)
    entry = {"landmarks": POINTS.tolist(), "yaw_deg": -40.0, "bbox": [10, 20, 90, 65]}
    (tmp_path / "json" / "landmarks.json").write_text(json.dumps({"a.jpg": entry}))
    truths = {kind: read_truth(tmp_path / kind)[0] for kind in ("mat", "pts", "json")}
    for truth in truths.values():
        assert truth.landmarks == pytest.approx(POINTS, abs=1e-4)
        assert truth.box == pytest.approx((10, 20, 90, 65), abs=1e-4)
    assert [truths[k].yaw_degrees for k in ("mat", "json")] == pytest.approx([-40, -40])
    assert truths["pts"].yaw_degrees is None


@pytest.mark.parametrize(
    "file", ["a/a_kpt2d.txt", "a_kpt2d.txt", "a.txt", "a.npy", "a.pts", "a.json", "a/landmarks_2d.txt"]
)
def test_predictions_are_found_in_every_format(tmp_path, file):
    path = tmp_path / file
    path.parent.mkdir(exist_ok=True)
    if path.suffix == ".npy":
        np.save(path, np.column_stack([POINTS, np.zeros(68)]))
    elif path.suffix == ".pts":
        write_pts(path, POINTS)
    elif path.suffix == ".json":
        path.write_text(json.dumps({"landmarks_2d_px": POINTS.tolist()}))
    else:
        np.savetxt(path, np.column_stack([POINTS, np.zeros(68)]))
    assert read_predictions(tmp_path, [face("a.jpg"), face("b.jpg")])["a.jpg"] == pytest.approx(
        POINTS, abs=1e-4
    )


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ([[1, 2]] * 51, r"found an array of shape \(51, 2\)"),
        ("text", "expected 68 rows"),
        ([[np.nan, 1]] * 68, "NaN"),
    ],
)
def test_what_is_no_68_points_is_named(entry, message):
    with pytest.raises(InputError, match=message):
        as_points(entry, "photo.jpg")


@pytest.mark.parametrize(
    "wrong", [{"bbox": [1, 2, 3]}, {"bbox": [9, 9, 1, 1]}, {"bbox": 3}, {"valid": [1]}, {"yaw_deg": "left"}]
)
def test_truth_that_does_not_parse_is_named(tmp_path, wrong):
    (tmp_path / "truth.json").write_text(json.dumps({"a.jpg": {"landmarks": POINTS.tolist()} | wrong}))
    with pytest.raises(InputError, match=r"truth.json: a.jpg: expected bbox"):
        read_truth(tmp_path / "truth.json")


def test_folders_without_landmarks_are_answered_with_the_formats(tmp_path):
    with pytest.raises(InputError, match=r"expected a folder of AFLW2000-3D .mat or 300-W .pts files"):
        read_truth(tmp_path)
    (tmp_path / "a.mat").write_bytes(b"no matlab")
    with pytest.raises(InputError, match="not an AFLW2000-3D file"):
        read_truth(tmp_path)


def test_command_scores_writes_and_lists_missing(tmp_path):
    truth = {name: POINTS.tolist() for name in ("a.jpg", "b.jpg", "c.jpg")}
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    predictions = {name: (POINTS + np.array([0, off])).tolist() for name, off in (("a.jpg", 0.6), ("b", 1.8))}
    (tmp_path / "mine.json").write_text(json.dumps(predictions))
    done = call(
        "landmarks", tmp_path / "mine.json", "--truth", tmp_path / "truth.json", "-o", tmp_path / "out"
    )
    assert done.exit_code == 0, done.output
    assert "| all | 2 | 2.00 | 2.00 | 4.00 | 4.00 | 2.00 |" in done.output
    assert "1 images have no prediction and are left out: c.jpg" in done.output
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert [e["state"] for e in results["images"]] == ["measured", "measured", "missing"]
    assert (tmp_path / "out" / "cumulative.png").stat().st_size > 1000
    (tmp_path / "none.json").write_text("{}")
    done = call("landmarks", tmp_path / "none.json", "--truth", tmp_path / "truth.json")
    assert "none of the 3 annotated images has a prediction" in done.output


def test_real_photos_get_the_numbers_of_the_shared_script(photos_dir, tmp_path):
    truth = json.loads((photos_dir / "landmarks.json").read_text())
    random = np.random.default_rng(0)
    noisy = {n: (np.array(t["landmarks"]) + random.normal(0, 3, (68, 2))) for n, t in truth.items()}
    faces = {f.name: f for f in read_truth(photos_dir)}
    for name, entry in truth.items():
        use = [i for i in range(17, 68) if entry["valid"][i]]
        off = np.linalg.norm(noisy[name][use] - np.array(entry["landmarks"])[use], axis=1).mean()
        x0, y0, x1, y1 = entry["bbox"]
        expected = 100 * off / np.sqrt((x1 - x0) * (y1 - y0))
        assert score_face(faces[name], noisy[name]).errors["51 / box"] == pytest.approx(expected)


def test_the_sheet_shows_the_worst_faces_first(tmp_path):
    from PIL import Image

    rng = np.random.default_rng(1)
    (tmp_path / "photos").mkdir()
    truth, predicted = {}, {}
    for name, off in (("good.png", 0.0), ("bad.png", 9.0), ("middling.png", 3.0)):
        pixels = rng.integers(0, 40, (90, 110, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(tmp_path / "photos" / name)
        truth[name] = POINTS.tolist()
        predicted[name] = (POINTS + np.array([off, 0])).tolist()
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    (tmp_path / "predicted.json").write_text(json.dumps(predicted))
    common = (tmp_path / "predicted.json", "--gt", tmp_path / "truth.json", "--no-plots", "-o")
    arguments = ("--photos", tmp_path / "photos", "--worst", 2)
    done = call("landmarks", *common, tmp_path / "out", *arguments)
    assert done.exit_code == 0, done.output
    with Image.open(tmp_path / "out" / "worst.jpg") as sheet:
        assert sheet.size == (640, 320)  # two tiles
        left, right = np.asarray(sheet)[:, :320].astype(int), np.asarray(sheet)[:, 320:].astype(int)
    red = [(tile[..., 0] > 180) & (tile[..., 1] < 120) for tile in (left, right)]
    green = [(tile[..., 1] > 150) & (tile[..., 0] < 130) for tile in (left, right)]
    assert all(mask.sum() > 100 for mask in (*red, *green))

    def shift(index: int) -> float:
        return float(np.median(np.nonzero(red[index])[1]) - np.median(np.nonzero(green[index])[1]))

    assert shift(0) > shift(1) > 0  # "bad" stands before "middling"
    assert "worst.jpg" in (tmp_path / "out" / "report.md").read_text()
    elsewhere = call("landmarks", *common, tmp_path / "out2", "--photos", tmp_path / "out")
    assert elsewhere.exit_code != 0
    assert "--photos" in elsewhere.output
