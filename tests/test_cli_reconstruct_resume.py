"""`deca reconstruct --resume`."""
# ruff: noqa: F811 - fixtures are imported by their names

import os
import shutil
import time

import pytest
from rich.progress import Progress

from deca_cli.photo import sighting
from deca_cli.pipeline.crew import Crew
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


@pytest.mark.parametrize("change", ["more formats", "other faces", "newer photo", "missing file", "damaged"])
def test_resume_does_again_what_is_no_longer_true(run, tmp_path, change):
    photo = make_photo(tmp_path / "a.png")
    run(photo)
    arguments = {"more formats": ["--landmarks"], "other faces": ["--faces", "largest"]}.get(change, [])
    if change == "newer photo":
        os.utime(photo, (time.time() + 60,) * 2)
    if change == "missing file":
        (tmp_path / "out" / "a" / "overlay.jpg").unlink()
    if change == "damaged":
        params = tmp_path / "out" / "a" / "params.json"
        params.write_text(params.read_text().replace('"faces": 1', '"faces": null'))
    run(photo, "--resume", *arguments)
    assert summary_of(tmp_path / "out")["photos"][0]["status"] == "done"


def test_other_weights_of_the_same_name_are_another_model(run, tmp_path, pack):
    copy = shutil.copytree(pack, tmp_path / "pack")
    photo = make_photo(tmp_path / "a.png")
    run(photo, model=copy)
    assert status_of(run, tmp_path, photo, model=copy) == "resumed"
    weights = bytearray((copy / "encoder.safetensors").read_bytes())
    weights[-1] ^= 1
    (copy / "encoder.safetensors").write_bytes(weights)
    assert status_of(run, tmp_path, photo, model=copy) == "done"


def status_of(run, tmp_path, photo, *arguments: object, **named: object):
    run(photo, "--resume", *arguments, **named)
    return summary_of(tmp_path / "out")["photos"][0]["status"]


def test_a_box_with_many_digits_is_recognised(run, tmp_path):
    photo, box = make_photo(tmp_path / "a.png"), ("--bbox", "60.123456789,50,133.33333333,120")
    assert status_of(run, tmp_path, photo, *box) == "done"
    assert status_of(run, tmp_path, photo, *box) == "resumed"
    assert status_of(run, tmp_path, photo, "--bbox", "61,50,133.33333333,120") == "done"


def test_a_photo_without_a_face_is_not_searched_again(run, tmp_path, monkeypatch):
    photos = [black_photo(tmp_path / "dark.png"), make_photo(tmp_path / "a.png")]
    run(*photos)
    monkeypatch.setattr(sighting, "find_faces", pytest.fail)
    for _ in range(2):
        result = run(*photos, "--resume")
        assert result.exit_code == 0
        assert "dark.png shows no face" in message_of(result)
    os.utime(photos[0], (time.time() + 60,) * 2)
    monkeypatch.undo()
    make_photo(photos[0])
    assert status_of(run, tmp_path, photos[0]) == "done"


def test_an_interrupted_run_keeps_what_is_done_and_can_be_resumed(run, tmp_path, monkeypatch):
    photos = [make_photo(tmp_path / f"{name}.png") for name in "abcdefghijkl"]
    take, interrupted = Crew.take, []

    def interrupt_after_a(crew, *, wait) -> bool:
        if (tmp_path / "out/a/params.json").exists() and not interrupted:
            interrupted.append(1)
            raise KeyboardInterrupt
        return take(crew, wait=wait)

    with monkeypatch.context() as patch:
        patch.setattr(Crew, "take", interrupt_after_a)
        result = run(*photos, "--batch-size", 1)
    assert result.exit_code == 130
    done = len(summary_of(tmp_path / "out")["photos"])
    assert f"after {done} of 12 photos" in message_of(result)
    assert "--resume" in message_of(result)
    assert summary_of(tmp_path / "out")["interrupted"] is True
    assert run(*photos, "--resume").exit_code == 0
    statuses = [photo["status"] for photo in summary_of(tmp_path / "out")["photos"]]
    assert 0 < done < 12
    assert statuses == ["resumed"] * done + ["done"] * (12 - done)


def test_ctrl_c_while_an_outcome_is_told_loses_none_that_is_written(run, tmp_path, monkeypatch):
    photos = [make_photo(tmp_path / f"{name}.png") for name in "abcd"]
    real, told = Progress.update, []

    def update(self, *given: object, **named: object) -> None:
        told.append(1)
        if len(told) == 1:
            for _ in range(1000):
                if len(list((tmp_path / "out").glob("*/params.json"))) == len(photos):
                    break
                time.sleep(0.01)
            raise KeyboardInterrupt
        real(self, *given, **named)

    monkeypatch.setattr(Progress, "update", update)
    result = run(*photos)
    assert result.exit_code == 130
    assert "interrupted after 4 of 4" in message_of(result)
    summary = summary_of(tmp_path / "out")
    assert summary["interrupted"] is True
    assert [photo["status"] for photo in summary["photos"]] == ["done"] * 4
