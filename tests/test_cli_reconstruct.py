"""`deca reconstruct` as a person meets it, with a stand-in model."""

import errno
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NoReturn

import cv2
import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

import stand_in
from deca_cli import __version__
from deca_cli.cli.app import app
from deca_cli.photo.face import Face
from deca_cli.pipeline import batch, fit

BOX = (150.0, 80.0, 250.0, 200.0)


@pytest.fixture(scope="module")
def pack(tmp_path_factory):
    return stand_in.make_pack(tmp_path_factory.mktemp("packs") / "pack")


@pytest.fixture(autouse=True)
def one_face_everywhere(monkeypatch):
    """Find one face in coloured photos and none in black ones, without the time that looking takes."""

    def find(photo, **_: object) -> object:
        return [Face(BOX, 0.9, None, "test")] if photo.pixels.any() else []

    monkeypatch.setattr(fit, "find_faces", find)


@pytest.fixture
def run(pack, tmp_path):
    def invoke(*arguments: object, output="out", model=pack) -> object:
        words = [
            "reconstruct",
            *map(str, arguments),
            "--model",
            str(model),
            "--threads",
            "1",
            "--device",
            "cpu",
        ]
        result = CliRunner().invoke(app, [*words, "-o", str(tmp_path / output)])
        assert "Traceback" not in result.output
        return result

    return invoke


def make_photo(path, value=120, size=(320, 280)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (value, value // 2, 60)).save(path)
    return path


def black_photo(path):
    Image.new("RGB", (200, 200)).save(path)
    return path


def files_below(folder):
    return {file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()}


def params_of(folder):
    return json.loads((folder / "params.json").read_text("utf-8"))


def summary_of(output):
    return json.loads((output / "summary.json").read_text("utf-8"))


def message_of(result):
    """What was said on stderr, on one line (terminals wrap it)."""
    return re.sub(r"\s+", " ", result.stderr)


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
    assert run(tmp_path / "photos", "--recursive", output="photos/results").exit_code == 0


def test_several_faces_lie_in_folders_of_their_own_the_largest_first(run, tmp_path, monkeypatch):
    boxes = [(20.0, 20.0, 60.0, 70.0), (100.0, 60.0, 200.0, 180.0), (230.0, 20.0, 290.0, 95.0)]
    monkeypatch.setattr(fit, "find_faces", lambda _, **__: [Face(box, 0.5, None, "test") for box in boxes])
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


def test_a_photo_without_a_face_is_reported_and_skipped(run, tmp_path):
    photos = [black_photo(tmp_path / "dark.png"), make_photo(tmp_path / "a.png")]
    result = run(*photos)
    assert result.exit_code == 0
    assert "dark.png shows no face" in message_of(result)
    summary = summary_of(tmp_path / "out")
    assert [photo["status"] for photo in summary["photos"]] == ["no face", "done"]
    assert summary["counts"] == {"photos": 2, "faces": 1, "skipped": 1}
    assert run(*photos, "--strict", output="strict").exit_code == 1


def test_it_is_an_error_if_nothing_could_be_reconstructed(run, tmp_path):
    result = run(black_photo(tmp_path / "dark.png"))
    assert result.exit_code == 1
    assert "nothing could be reconstructed" in message_of(result)


def not_an_image(path):
    path.write_text("these are words, not pixels")


def truncated(path):
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 255, (64, 64, 3), dtype=np.uint8)).save(path, "JPEG")
    path.write_bytes(path.read_bytes()[:900])


def one_pixel(path):
    Image.new("RGB", (1, 1)).save(path, "PNG")


def huge(path):
    Image.new("1", (20_000, 20_000)).save(path, "PNG")


def empty(path):
    path.write_bytes(b"")


@pytest.mark.parametrize("spoil", [not_an_image, truncated, one_pixel, huge, empty])
def test_a_bad_photo_is_told_in_a_sentence_and_does_not_stop_the_others(run, tmp_path, spoil):
    bad = tmp_path / "bad.jpg"
    spoil(bad)
    result = run(bad, make_photo(tmp_path / "good.jpg"))
    assert result.exit_code == 0
    assert "bad.jpg" in message_of(result)
    assert files_below(tmp_path / "out") == {
        "summary.json", "good/overlay.jpg", "good/params.npz", "good/params.json"
    }  # fmt: skip
    failed = summary_of(tmp_path / "out")["photos"][0]
    assert failed["status"] == "failed"
    assert "bad.jpg" in failed["reason"]


@pytest.mark.parametrize("spoil", [not_an_image, truncated, one_pixel, huge, empty])
def test_a_bad_photo_alone_is_an_error(run, tmp_path, spoil):
    spoil(tmp_path / "bad.jpg")
    result = run(tmp_path / "bad.jpg")
    assert result.exit_code == 1
    assert files_below(tmp_path / "out") == {"summary.json"}


def test_an_empty_folder_and_a_missing_photo_are_errors_that_create_nothing(run, tmp_path):
    (tmp_path / "empty").mkdir()
    for wrong in ("empty", "missing.jpg"):
        result = run(tmp_path / wrong)
        assert result.exit_code == 1
        assert wrong in message_of(result)
        assert not (tmp_path / "out").exists()


def test_an_output_folder_that_cannot_be_made_is_refused_before_the_work(run, tmp_path, monkeypatch):
    monkeypatch.setattr(batch, "read_photo", pytest.fail)
    (tmp_path / "file").write_text("in the way")
    for output in ("file", "file/below"):
        result = run(make_photo(tmp_path / "a.png"), output=output)
        assert result.exit_code == 1
        assert "cannot write" in message_of(result)
        assert "--output" in message_of(result)
    assert (tmp_path / "file").read_text() == "in the way"


def test_a_read_only_output_folder_is_refused_before_the_work(run, tmp_path, monkeypatch):
    def refuse(path, *_: object) -> NoReturn:
        raise OSError(errno.EROFS, "Read-only file system", str(path))

    monkeypatch.setattr(batch, "read_photo", pytest.fail)
    monkeypatch.setattr(Path, "open", refuse)
    result = run(make_photo(tmp_path / "a.png"))
    assert result.exit_code == 1
    assert "the disk is read-only" in message_of(result)


def test_a_full_disk_ends_the_run_and_leaves_no_half_file(run, tmp_path, monkeypatch):
    photos = [make_photo(tmp_path / name) for name in ("a.png", "b.png", "c.png")]
    real = np.savez
    calls = []

    def savez(stream, **arrays: object) -> None:
        calls.append(1)
        if len(calls) == 2:
            stream.write(b"half of it")
            raise OSError(errno.ENOSPC, "No space left on device")
        real(stream, **arrays)

    monkeypatch.setattr(np, "savez", savez)
    result = run(*photos)
    assert result.exit_code == 1
    assert "the disk is full" in message_of(result)
    assert len(calls) == 2  # the third photo was not tried
    written = files_below(tmp_path / "out")
    assert {"a/overlay.jpg", "a/params.npz", "a/params.json"} <= written
    assert not [name for name in written if name.endswith(".part") or name.startswith(("b/params", "c/"))]


def test_a_write_that_the_system_breaks_off_leaves_no_half_file(pack, tmp_path):
    script = (
        "import resource, sys\nresource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))\n"
        "from deca_cli.cli.app import app\napp(sys.argv[1:])"
    )
    photo = make_photo(tmp_path / "a.png", size=(640, 640))
    words = ["reconstruct", photo, "--model", pack, "--no-crop", "--depth", "-o", tmp_path / "out"]
    done = subprocess.run(
        [sys.executable, "-c", script, *map(str, words)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "larger than is allowed" in done.stderr
    assert not [name for name in files_below(tmp_path / "out") if ".part" in name or "params" in name]


def stamps(output):
    return {
        name: (output / name).stat().st_mtime_ns for name in files_below(output) if name != "summary.json"
    }


def test_resume_leaves_finished_results_alone(run, tmp_path):
    photos = [make_photo(tmp_path / "a.png"), make_photo(tmp_path / "b.png")]
    run(photos[0])
    before = stamps(tmp_path / "out")
    result = run(*photos, "--resume")
    assert result.exit_code == 0
    after = stamps(tmp_path / "out")
    assert {name: after[name] for name in before} == before
    assert "b/params.json" in after
    summary = summary_of(tmp_path / "out")
    assert [photo["status"] for photo in summary["photos"]] == ["resumed", "done"]
    assert summary["photos"][0]["faces"][0]["folder"] == "a"


def test_resume_without_anything_left_to_do_succeeds(run, tmp_path):
    run(make_photo(tmp_path / "a.png"))
    assert run(tmp_path / "a.png", "--resume", "--strict").exit_code == 0


@pytest.mark.parametrize("change", ["more formats", "other faces", "newer photo", "missing file"])
def test_resume_does_again_what_is_no_longer_true(run, tmp_path, change):
    photo = make_photo(tmp_path / "a.png")
    run(photo)
    arguments = {"more formats": ["--landmarks"], "other faces": ["--faces", "largest"]}.get(change, [])
    if change == "newer photo":
        os.utime(photo, (time.time() + 60,) * 2)
    if change == "missing file":
        (tmp_path / "out" / "a" / "overlay.jpg").unlink()
    run(photo, "--resume", *arguments)
    assert summary_of(tmp_path / "out")["photos"][0]["status"] == "done"


def test_an_interrupted_run_keeps_what_is_done_and_can_be_resumed(run, tmp_path, monkeypatch):
    photos = [make_photo(tmp_path / name) for name in ("a.png", "b.png", "c.png")]
    read = batch.read_photo

    def interrupt_at_b(path) -> object:
        if path.stem == "b":
            raise KeyboardInterrupt
        return read(path)

    with monkeypatch.context() as patch:
        patch.setattr(batch, "read_photo", interrupt_at_b)
        result = run(*photos)
    assert result.exit_code == 130
    assert "after 1 of 3 photos" in message_of(result)
    assert "--resume" in message_of(result)
    assert summary_of(tmp_path / "out")["interrupted"] is True
    assert run(*photos, "--resume").exit_code == 0
    statuses = [photo["status"] for photo in summary_of(tmp_path / "out")["photos"]]
    assert statuses == ["resumed", "done", "done"]


def test_ctrl_c_in_a_terminal_exits_with_130_and_whole_files(pack, tmp_path):
    photos = [make_photo(tmp_path / f"{number}.png", size=(900, 900)) for number in range(200)]
    words = ["reconstruct", *photos, "--model", pack, "--no-crop", "--obj", "-o", tmp_path / "out"]
    process = subprocess.Popen(
        [sys.executable, "-m", "deca_cli", *map(str, words)],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    until = time.monotonic() + 60
    while not (tmp_path / "out" / "0" / "params.json").exists() and time.monotonic() < until:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 130, said
    assert "Traceback" not in said
    assert not list((tmp_path / "out").rglob("*.part"))
    assert 0 < summary_of(tmp_path / "out")["counts"]["photos"] < 200


def test_an_unexpected_fault_in_one_photo_is_reported_without_a_traceback(run, tmp_path, monkeypatch):
    real = batch.save

    def fail_on_a(capture, *rest: object) -> object:
        if capture.photo.name == "a":
            raise ZeroDivisionError("no such luck")
        return real(capture, *rest)

    monkeypatch.setattr(batch, "save", fail_on_a)
    photos = [make_photo(tmp_path / "a.png"), make_photo(tmp_path / "b.png")]
    result = run(*photos)
    assert result.exit_code == 0
    assert "unexpected ZeroDivisionError: no such luck" in message_of(result)
    with_traceback = run(*photos, "--debug", output="debug")
    assert isinstance(with_traceback.exception, ZeroDivisionError)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--bbox", "1,2,3"], "four numbers"),
        (["--bbox", "9,2,3,8"], "empty"),
        (["--faces", "none"], "largest"),
        (["--faces", "0"], "largest"),
        (["--device", "tpu"], "tpu"),
        (["--threads", "0"], "greater"),
    ],
)
def test_wrong_options_are_refused_with_exit_code_2(run, tmp_path, arguments, complaint):
    words = ["reconstruct", str(make_photo(tmp_path / "a.png")), *arguments]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 2
    assert complaint in result.output


def test_a_box_and_no_crop_exclude_each_other(run, tmp_path):
    result = run(make_photo(tmp_path / "a.png"), "--no-crop", "--bbox", "1,2,30,40")
    assert result.exit_code == 1
    assert "exclude each other" in message_of(result)


def test_an_unknown_detector_is_refused(run, tmp_path):
    result = run(make_photo(tmp_path / "a.png"), "--detector", "eagle")
    assert result.exit_code == 1
    assert "no detector 'eagle'" in message_of(result)


def test_a_missing_model_is_named(tmp_path):
    photo = make_photo(tmp_path / "a.png")
    result = CliRunner().invoke(
        app, ["reconstruct", str(photo), "--model", "nowhere", "-o", str(tmp_path / "out")]
    )
    assert result.exit_code == 1
    assert "nowhere" in result.stderr


def test_cuda_without_a_gpu_is_an_error_and_not_a_silent_fallback(tmp_path, monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    photo = make_photo(tmp_path / "a.png")
    result = CliRunner().invoke(
        app, ["reconstruct", str(photo), "--device", "cuda", "-o", str(tmp_path / "out")]
    )
    assert result.exit_code == 1
    assert "--device cpu" in result.stderr
