"""How `deca reconstruct` meets bad photos, full disks and Ctrl-C."""
# ruff: noqa: F811 - fixtures are imported by their names

import errno
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import BinaryIO, NoReturn

import numpy as np
import pytest
from PIL import Image

from deca_cli.atomic import write_file
from deca_cli.export import params
from deca_cli.photo import sighting
from deca_cli.pipeline import bench
from reconstruct_runs import (  # noqa: F401 - fixtures
    black_photo,
    files_below,
    make_photo,
    message_of,
    one_face_everywhere,
    pack,
    run,
    summary_of,
)


def test_a_photo_without_a_face_is_reported_and_skipped(run, tmp_path):
    photos = [black_photo(tmp_path / "dark.png"), make_photo(tmp_path / "a.png")]
    result = run(*photos)
    assert result.exit_code == 0
    assert "dark.png shows no face" in message_of(result)
    summary = summary_of(tmp_path / "out")
    assert [photo["status"] for photo in summary["photos"]] == ["no face", "done"]
    assert summary["counts"] == {"photos": 2, "faces": 1, "skipped": 1}
    assert (summary["rasterizer"], summary["rasterizer_of_formats"]) == ("cpu", "cpu")
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
    monkeypatch.setattr(sighting, "read_photo", pytest.fail)
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

    monkeypatch.setattr(sighting, "read_photo", pytest.fail)
    monkeypatch.setattr(Path, "open", refuse)
    result = run(make_photo(tmp_path / "a.png"))
    assert result.exit_code == 1
    assert "the disk is read-only" in message_of(result)


def test_a_full_disk_ends_the_run_and_leaves_no_half_file(run, tmp_path, monkeypatch):
    photos = [make_photo(tmp_path / name) for name in ("a.png", "b.png", "c.png")]
    calls = []

    def half(stream: BinaryIO) -> None:
        stream.write(b"half of it")
        raise OSError(errno.ENOSPC, "No space left on device")

    write = params.write_arrays

    def write_arrays(path: Path, arrays: dict[str, np.ndarray]) -> Path:
        calls.append(1)
        return write_file(path, half) if len(calls) == 2 else write(path, arrays)

    monkeypatch.setattr(params, "write_arrays", write_arrays)
    result = run(*photos)
    assert result.exit_code == 1
    assert "the disk is full" in message_of(result)
    assert len(calls) == 2  # the third photo was not tried
    written = files_below(tmp_path / "out")
    assert {"a/overlay.jpg", "a/params.npz", "a/params.json"} <= written
    assert not [name for name in written if name.endswith(".part") or name.startswith(("b/params", "c/"))]
    rows = summary_of(tmp_path / "out")["photos"]
    assert [row["status"] for row in rows] == ["done", "ended the run"]
    assert "b/params.npz: the disk is full" in rows[1]["reason"]


def test_the_first_error_is_told_where_the_summary_fails_as_well(run, tmp_path, monkeypatch):
    real = Path.open

    def no_room(path, *arguments: object, **named: object) -> object:
        if path.name.startswith((".params.npz", ".summary.json")):
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(path, *arguments, **named)

    monkeypatch.setattr(Path, "open", no_room)
    result = run(make_photo(tmp_path / "a.png"))
    assert result.exit_code == 1
    assert "a/params.npz: the disk is full" in message_of(result)
    assert "summary" not in message_of(result)


def test_a_result_that_may_not_be_replaced_is_told_in_a_sentence(run, tmp_path, monkeypatch):
    photo = make_photo(tmp_path / "a.png")
    run(photo)
    real = Path.unlink

    def refuse(path, *arguments: object, **named: object) -> None:
        if path.name == "params.json":
            raise PermissionError(errno.EACCES, "Permission denied")
        real(path, *arguments, **named)

    monkeypatch.setattr(Path, "unlink", refuse)
    result = run(photo)
    assert result.exit_code == 1
    assert "cannot write" in message_of(result)
    assert "permission is denied" in message_of(result)


def test_a_result_folder_that_cannot_be_made_is_told_in_a_sentence(run, tmp_path, monkeypatch):
    real = Path.mkdir

    def refuse(path, *arguments: object, **named: object) -> None:
        if path.name == "a":
            raise PermissionError(errno.EACCES, "Permission denied")
        real(path, *arguments, **named)

    monkeypatch.setattr(Path, "mkdir", refuse)
    result = run(make_photo(tmp_path / "a.png"))
    assert result.exit_code == 1
    assert "out/a: permission is denied" in message_of(result)


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
    real = bench.save

    def fail_on_a(capture, *rest: object) -> object:
        if capture.photo.name == "a":
            raise ZeroDivisionError("no such luck")
        return real(capture, *rest)

    monkeypatch.setattr(bench, "save", fail_on_a)
    photos = [make_photo(tmp_path / "a.png"), make_photo(tmp_path / "b.png")]
    result = run(*photos)
    assert result.exit_code == 0
    assert "unexpected ZeroDivisionError: no such luck" in message_of(result)
    with_traceback = run(*photos, "--debug", output="debug")
    assert isinstance(with_traceback.exception, ZeroDivisionError)
