"""What `deca reconstruct` writes, with a stand-in model."""
# ruff: noqa: F811 - fixtures are imported by their names

import os
import re
import shutil
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

import stand_in
from deca_cli import __version__
from deca_cli.cli.app import app
from deca_cli.photo import sighting
from deca_cli.photo.face import Face
from reconstruct_runs import (  # noqa: F401 - fixtures
    black_photo,
    files_below,
    make_photo,
    message_of,
    one_face_everywhere,
    pack,
    params_of,
    run,
    summary_of,
)


def test_a_photo_gets_an_overlay_and_parameters(run, tmp_path):
    photo = make_photo(tmp_path / "anna.jpg")
    result = run(photo)
    assert result.exit_code == 0
    expected = {"summary.json", "anna/overlay.jpg", "anna/params.npz", "anna/params.json"}
    assert files_below(tmp_path / "out") == expected
    assert "Faces 1" in re.sub(r" +", " ", result.stdout)
    params = params_of(tmp_path / "out" / "anna")
    assert params["photo"] == str(photo)
    assert params["model"] == "stand-in"
    assert params["version"] == __version__
    assert list(params["arkit"]) == list(stand_in.EXPRESSIONS)
    assert np.shape(params["landmarks_2d_px"]) == (68, 2)
    assert np.shape(params["landmarks_3d_px"]) == (68, 3)
    assert params["head_pose_deg"] == pytest.approx({"yaw": 0, "pitch": 0, "roll": 0}, abs=1)
    assert params["face_score"] > 0.9


def test_both_parameter_files_hold_the_same_numbers(run, tmp_path):
    run(make_photo(tmp_path / "anna.jpg"))
    params = params_of(tmp_path / "out" / "anna")
    with np.load(tmp_path / "out" / "anna" / "params.npz") as arrays:
        for name in ("landmarks_2d_px", "landmarks_3d_px", "crop_to_photo", "face_box_px", "photo_size"):
            np.testing.assert_allclose(arrays[name], params[name], rtol=1e-6)
        for name, values in params["codes"].items():
            np.testing.assert_allclose(arrays[name], values, rtol=1e-6)
        assert arrays["arkit_names"].tolist() == list(params["arkit"])
        assert arrays["photo"] == params["photo"]


def test_all_formats_are_written_on_request(run, tmp_path):
    result = run(make_photo(tmp_path / "a.png"), "--obj", "--depth", "--landmarks", "--normals", "--images")
    assert result.exit_code == 0
    expected = {
        "overlay.jpg", "params.npz", "params.json", "head.obj", "head.mtl", "texture.png", "depth.png", "depth.npy",
        "depth_mask.png", "depth_preview.jpg", "landmarks_2d.txt", "landmarks_3d.txt", "landmarks.json",
        "landmarks.csv", "normals.png", "input.jpg", "landmarks.jpg", "shape.jpg",
    }  # fmt: skip
    assert files_below(tmp_path / "out" / "a") == expected
    assert summary_of(tmp_path / "out")["photos"][0]["faces"][0]["files"][-1] == "params.json"


def test_a_pack_with_detail_networks_gives_detail_pictures_and_meshes(run, tmp_path):
    detailed = stand_in.make_pack(tmp_path / "detailed", detail=8)
    photo = make_photo(tmp_path / "a.png")
    assert run(photo, "--obj", "--images").exit_code == 0
    assert run(photo, "--obj", "--images", model=detailed, output="fine").exit_code == 0
    assert files_below(tmp_path / "fine" / "a") - files_below(tmp_path / "out" / "a") == {
        "head_detail.obj",
        "detail.jpg",
    }
    widths = [cv2.imread(str(tmp_path / output / "a" / "overlay.jpg")).shape[1] for output in ("out", "fine")]
    assert widths[1] - widths[0] > 320
    lines = (tmp_path / "fine" / "a" / "head_detail.obj").read_text().splitlines()
    assert (
        sum(line.startswith("v ") for line in lines) == sum(line.startswith("vt ") for line in lines) > 10_000
    )


def test_a_run_says_which_model_it_uses_and_that_detail_is_left_out(run, tmp_path):
    said = message_of(run(make_photo(tmp_path / "a.png")))
    assert "Model stand-in on cpu" in said
    assert "no detail networks" in said


def test_photos_of_one_name_never_overwrite_each_other(run, tmp_path):
    photos = [
        make_photo(tmp_path / name) for name in ("left/a.jpg", "right/a.jpg", "right/a.png", "right/A.bmp")
    ]
    assert run(*photos).exit_code == 0
    owners = {
        folder.name: params_of(folder)["photo"] for folder in (tmp_path / "out").iterdir() if folder.is_dir()
    }
    assert sorted(owners.values()) == sorted(map(str, photos))
    assert len({name.casefold() for name in owners}) == 4


def test_a_later_run_does_not_overwrite_another_photo_of_the_same_name(run, tmp_path):
    first, second = make_photo(tmp_path / "left/a.jpg"), make_photo(tmp_path / "right/a.jpg")
    run(first)
    run(second)
    owners = {params_of(folder)["photo"] for folder in (tmp_path / "out").iterdir() if folder.is_dir()}
    assert owners == {str(first), str(second)}


def test_results_beside_the_photos_leave_the_photos_alone(run, tmp_path):
    photo = make_photo(tmp_path / "photos" / "a.jpg")
    before = photo.read_bytes()
    assert run(tmp_path / "photos", output="photos").exit_code == 0
    assert photo.read_bytes() == before
    for _ in range(2):
        assert run(tmp_path / "photos", "--recursive", output="photos").exit_code == 0
    assert [Path(row["photo"]) for row in summary_of(tmp_path / "photos")["photos"]] == [photo]


def test_a_pattern_finds_the_photos_beside_the_results_and_not_the_results(run, tmp_path, monkeypatch):
    make_photo(tmp_path / "a.jpg")
    monkeypatch.chdir(tmp_path)
    for pattern in ("*.jpg", "**/*.jpg"):
        assert run(pattern, output=".").exit_code == 0
        assert summary_of(tmp_path)["inputs_found"] == 1


def test_results_of_an_earlier_run_elsewhere_are_not_taken_for_photos(run, tmp_path):
    make_photo(tmp_path / "a.jpg")
    run(tmp_path, output="deca-out")
    run(tmp_path, "-r", output="heads")
    assert summary_of(tmp_path / "heads")["inputs_found"] == 1


def test_a_folder_of_ones_own_beside_the_photo_is_not_touched(run, tmp_path):
    own = tmp_path / "bob" / "head.obj"
    own.parent.mkdir()
    own.write_text("mine")
    assert run(make_photo(tmp_path / "bob.jpg"), "--obj", output=".").exit_code == 0
    assert own.read_text() == "mine"
    assert files_below(own.parent) == {"head.obj"}
    assert (tmp_path / "bob_jpg" / "head.obj").is_file()


def test_a_photo_keeps_its_folder_when_another_of_its_name_comes(run, tmp_path):
    run(make_photo(tmp_path / "IMG_1.jpg"))
    make_photo(tmp_path / "IMG_1.png")
    run(tmp_path, "--resume")
    folders = [row["faces"][0]["folder"] for row in summary_of(tmp_path / "out")["photos"]]
    assert folders == ["IMG_1", "IMG_1_png"]


@pytest.mark.skipif(sys.platform != "linux", reason="file names are text there")
def test_a_file_name_that_is_no_text_is_reconstructed_and_found_again(run, tmp_path):
    photo = make_photo(tmp_path / os.fsdecode(b"caf\xe9.png"))
    for status in ("done", "resumed"):
        result = run(photo, "--obj", "--resume")
        assert result.exit_code == 0
        [row] = summary_of(tmp_path / "out")["photos"]
        assert (row["status"], row["photo"]) == (status, str(photo))
    assert params_of(tmp_path / "out" / "caf")["photo"] == str(photo)
    with np.load(tmp_path / "out" / "caf" / "params.npz") as arrays:
        assert Path(str(arrays["photo"])) == photo


def test_a_long_name_in_another_script_is_cut(run, tmp_path):
    assert run(make_photo(tmp_path / ("名" * 60 + ".jpg"))).exit_code == 0
    assert params_of(tmp_path / "out" / ("名" * 40))["faces"] == 1


def test_the_home_folder_is_meant_by_a_tilde(pack, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    make_photo(tmp_path / "~foo.jpg")  # and by no tilde that no user stands behind
    words = ["reconstruct", "~foo.jpg", "--model", str(pack), "--device", "cpu", "--output=~/heads"]
    assert CliRunner().invoke(app, words).exit_code == 0
    assert (tmp_path / "home" / "heads" / "foo" / "params.json").is_file()
    assert not (tmp_path / "~").exists()


def test_the_closing_lines_hold_whole_paths_whatever_is_in_them(run, tmp_path):
    photo = make_photo(tmp_path / "a.png")
    output = "heads[new]/" + "long" * 30
    assert str(tmp_path / output / "summary.json") in run(photo, output=output).stdout.splitlines()[-1]
    result = run(photo, output="日本", charset="cp1252")
    assert result.exit_code == 0
    assert "\\u65e5\\u672c" in result.stdout


def test_pictures_that_are_passed_over_are_told(run, tmp_path):
    make_photo(tmp_path / "a.png")
    for name in ("b.HEIC", "c.avif"):
        (tmp_path / name).write_bytes(b"x")
    assert "2 of kinds that cannot be read (.avif, .heic)" in message_of(run(tmp_path))
    passed_over = summary_of(tmp_path / "out")["passed_over"]
    assert [Path(path).name for path in passed_over] == ["b.HEIC", "c.avif"]


def test_a_result_that_the_model_does_not_take_for_a_face_is_doubted(run, tmp_path, pack):
    strict = shutil.copytree(pack, tmp_path / "strict")
    manifest = (strict / "manifest.toml").read_text()
    changed = manifest.replace("least_face_score = 0.5", "least_face_score = 0.999")
    assert changed != manifest
    (strict / "manifest.toml").write_text(changed)
    photo = make_photo(tmp_path / "a.png")
    result = run(photo, "--bbox", "150,80,250,200", model=strict)
    assert result.exit_code == 0
    assert "hardly takes this for a face" in message_of(result)
    assert "(score 0.9" in summary_of(tmp_path / "out")["photos"][0]["warning"]
    assert summary_of(tmp_path / "out")["counts"]["skipped"] == 0


def test_several_faces_lie_in_folders_of_their_own_the_largest_first(run, tmp_path, monkeypatch):
    boxes = [(20.0, 20.0, 60.0, 70.0), (100.0, 60.0, 200.0, 180.0), (230.0, 20.0, 290.0, 95.0)]
    monkeypatch.setattr(
        sighting, "find_faces", lambda _, **__: [Face(box, 0.5, None, "test") for box in boxes]
    )
    photo = make_photo(tmp_path / "group.jpg")
    assert run(photo).exit_code == 0
    folders = [tmp_path / "out" / "group" / name for name in (".", "face2", "face3")]
    widths = [np.ptp(params_of(folder)["landmarks_2d_px"], axis=0)[0] for folder in folders]
    assert widths == sorted(widths, reverse=True)
    for faces, count in (("largest", 1), ("2", 2), ("all", 3)):
        run(photo, "--faces", faces, output=faces)
        assert summary_of(tmp_path / faces)["counts"]["faces"] == count


def test_a_box_is_used_in_place_of_a_finder(run, tmp_path):
    photo = black_photo(tmp_path / "a.png")
    assert run(photo, "--bbox", "60,50,120,120").exit_code == 0
    params = params_of(tmp_path / "out" / "a")
    low, high = np.min(params["landmarks_2d_px"], axis=0), np.max(params["landmarks_2d_px"], axis=0)
    assert (low + high) / 2 == pytest.approx((90, 85), abs=3)
    assert params["found_by"] == "given box"


def test_an_aligned_crop_is_used_whole(run, tmp_path):
    assert run(black_photo(tmp_path / "a.png"), "--no-crop").exit_code == 0
    params = params_of(tmp_path / "out" / "a")
    corners = np.array(params["crop_to_photo"]) @ [[0, 63], [0, 63], [1, 1]]
    np.testing.assert_allclose(corners[:2], [[0, 199], [0, 199]], atol=1e-4)
