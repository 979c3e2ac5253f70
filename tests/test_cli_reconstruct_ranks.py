"""One job in processes that torchrun or SLURM started together: who fails, and when."""
# ruff: noqa: F811 - fixtures are imported by their names

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from deca_cli.cli import reconstruct_run
from reconstruct_runs import (  # noqa: F401 - fixtures
    black_photo,
    make_photo,
    message_of,
    one_face_everywhere,
    pack,
    run,
    summary_of,
)

PORTRAIT = Path(__file__).parents[1] / "docs" / "portrait.jpg"
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "in").mkdir()
    return tmp_path / "in"


@pytest.fixture
def waits(monkeypatch):
    """The times for which a process waited before it failed, without the waiting."""
    times = []
    monkeypatch.setattr(reconstruct_run.time, "sleep", times.append)
    return times


@pytest.fixture
def as_rank(run, monkeypatch, waits, folder):
    """Run `deca reconstruct` on the folder `in` as one process of torchrun."""

    def invoke(rank: int, of: int, *arguments: object, start: str = "first") -> object:
        environment = {"RANK": rank, "WORLD_SIZE": of, "LOCAL_RANK": rank, "TORCHELASTIC_RUN_ID": start}
        with monkeypatch.context() as patch:
            for name, value in environment.items():
                patch.setenv(name, str(value))
            return run(folder, *arguments)

    return invoke


def test_a_rank_whose_photos_were_all_skipped_does_not_fail(as_rank, waits, folder, tmp_path):
    black_photo(folder / "a.png")
    make_photo(folder / "b.png")
    assert as_rank(0, 2).exit_code == 0
    assert as_rank(1, 2).exit_code == 0
    assert summary_of(tmp_path / "out")["counts"] == {"photos": 2, "faces": 1, "skipped": 1}
    assert waits == []


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0)])
def test_only_the_rank_that_completes_the_summary_fails_for_strict(as_rank, waits, order, folder, tmp_path):
    for name in "ab":
        black_photo(folder / f"{name}.png")
    make_photo(folder / "c.png")
    *first, last = [as_rank(rank, 3, "--strict") for rank in order]
    assert [result.exit_code for result in first] == [0, 0]
    assert last.exit_code == 1
    told = f"--strict: 2 of 3 photos skipped; {tmp_path / 'out' / 'summary.json'} tells why."
    assert told in message_of(last)
    assert waits == [reconstruct_run.LAST_WORDS_S]


def test_only_the_rank_that_completes_the_summary_fails_if_there_is_nothing(as_rank, waits, folder):
    for name in "ab":
        black_photo(folder / f"{name}.png")
    assert as_rank(1, 2).exit_code == 0
    last = as_rank(0, 2)
    assert last.exit_code == 1
    assert "nothing could be reconstructed from any of the 2 photos" in message_of(last)
    assert len(waits) == 1


def test_parts_of_an_earlier_start_do_not_make_a_rank_fail_while_others_work(as_rank, folder):
    for name in "ab":
        black_photo(folder / f"{name}.png")
    codes = [as_rank(rank, 2, start=start).exit_code for start in ("first", "second") for rank in (0, 1)]
    assert codes == [0, 1, 0, 1]


def test_a_rank_that_starts_takes_its_earlier_part_away(as_rank, monkeypatch, folder, tmp_path):
    for name in "ab":
        black_photo(folder / f"{name}.png")
    as_rank(0, 2)
    parts = tmp_path / "out" / ".deca-parts"
    assert len(list(parts.iterdir())) == 1
    seen = []
    monkeypatch.setattr(reconstruct_run, "prepare", lambda *_: seen.extend(parts.iterdir()) or sys.exit(9))
    assert as_rank(0, 2).exit_code == 9
    assert seen == []
    assert list(parts.iterdir()) == []


def test_a_shard_by_hand_that_cannot_start_leaves_its_earlier_part(run, folder, tmp_path):
    make_photo(folder / "a.png")
    assert run(folder, "--shard", "1/2").exit_code == 0
    assert run(folder, "--shard", "1/2", model=tmp_path / "missing").exit_code == 1
    assert run(folder, "--shard", "2/2").exit_code == 0
    assert summary_of(tmp_path / "out")["parts_done"] == [1, 2]


def test_a_summary_written_over_by_one_that_saw_less_is_written_again(as_rank, monkeypatch, folder, tmp_path):
    black_photo(folder / "a.png")
    make_photo(folder / "b.png")
    as_rank(0, 2, "--strict")
    summary = tmp_path / "out" / "summary.json"
    partial = summary.read_bytes()
    monkeypatch.setattr(reconstruct_run.time, "sleep", lambda _: summary.write_bytes(partial))
    assert as_rank(1, 2, "--strict").exit_code == 1
    assert summary_of(tmp_path / "out")["parts_done"] == [1, 2]


def test_shards_by_hand_tell_about_their_own_photos(run, waits, folder):
    black_photo(folder / "a.png")
    make_photo(folder / "b.png")
    assert run(folder, "--shard", "1/2").exit_code == 1
    assert run(folder, "--shard", "2/2", "--strict").exit_code == 0
    assert waits == []


def test_torchrun_ends_well_if_one_of_its_processes_finds_no_face(folder, tmp_path):
    Image.new("L", (320, 280), 128).save(folder / "a.png")
    shutil.copy(PORTRAIT, folder / "b.jpg")
    words = ["-m", "deca_cli", "reconstruct", folder, "-o", tmp_path / "out", "--model", "open"]
    command = [*TORCHRUN, *map(str, words), "--device", "cpu", "--threads", "1"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=240, env=os.environ)
    assert done.returncode == 0, done.stderr
    whole = summary_of(tmp_path / "out")
    assert whole["parts_done"] == [1, 2]
    assert [row["status"] for row in whole["photos"]] == ["no face", "done"]
    assert (tmp_path / "out" / "b" / "params.json").is_file()


def test_torchrun_hears_of_skipped_photos_when_every_process_is_done(pack, folder, tmp_path):
    photos = [make_photo(folder / f"{name}.png") for name in "abc"]
    photos[0].write_bytes(photos[0].read_bytes()[:60])  # damaged: its process is done first
    words = ["-m", "deca_cli", "reconstruct", *photos, "-o", tmp_path / "out", "--model", pack, "--no-crop"]
    command = [*TORCHRUN, *map(str, words), "--strict", "--device", "cpu", "--threads", "1"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=240, env=os.environ)
    assert done.returncode == 1
    assert "--strict: 1 of 3 photos skipped; " in done.stderr
    assert "SIGTERM" not in done.stderr
    whole = summary_of(tmp_path / "out")
    assert whole["parts_done"] == [1, 2]
    assert [row["status"] for row in whole["photos"]] == ["failed", "done", "done"]
