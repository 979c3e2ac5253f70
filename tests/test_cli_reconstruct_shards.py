"""One job in several processes: shares of the photos, one summary."""
# ruff: noqa: F811 - fixtures are imported by their names

import pytest

from deca_cli.errors import UsageError
from deca_cli.pipeline.share import Share, find_share
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


@pytest.fixture
def photos(tmp_path):
    made = [make_photo(tmp_path / "in" / f"{number}.png", value=60 + 10 * number) for number in range(4)]
    return [*made, black_photo(tmp_path / "in" / "dark.png")]


def test_shards_one_after_another_end_with_one_summary_in_order(run, photos, tmp_path):
    first = run(tmp_path / "in", "--shard", "1/2")
    assert first.exit_code == 0
    assert "Part 1 of 2 of the photos (--shard)." in message_of(first)
    half = summary_of(tmp_path / "out")
    assert (half["parts"], half["parts_done"], half["counts"]["photos"]) == (2, [1], 3)
    assert run(tmp_path / "in", "--shard", "2/2").exit_code == 0
    whole = summary_of(tmp_path / "out")
    assert whole["parts_done"] == [1, 2]
    assert whole["counts"] == {"photos": 5, "faces": 4, "skipped": 1}
    assert [row["photo"] for row in whole["photos"]] == [str(photo) for photo in photos]
    run(tmp_path / "in", output="plain")
    assert summary_of(tmp_path / "plain").keys() == whole.keys() - {"parts", "parts_done"}
    results = {name for name in files_below(tmp_path / "out") if not name.startswith(".deca-parts")}
    assert results == files_below(tmp_path / "plain")


def test_a_shard_that_is_done_again_takes_its_own_place(run, photos, tmp_path):
    for shard in ("1/2", "2/2", "1/2"):
        run(tmp_path / "in", "--shard", shard, "--resume")
    rows = summary_of(tmp_path / "out")["photos"]
    assert [row["status"] for row in rows] == ["resumed", "done", "resumed", "done", "no face"]


def test_parts_of_another_request_are_not_joined(run, photos, tmp_path):
    run(tmp_path / "in", "--shard", "1/2")
    run(tmp_path / "in", "--shard", "2/2", "--no-crop")
    assert summary_of(tmp_path / "out")["parts_done"] == [2]


def test_more_shards_than_photos_leave_some_with_nothing_to_do(run, tmp_path):
    photo = make_photo(tmp_path / "a.png")
    result = run(photo, "--shard", "2/2")
    assert result.exit_code == 0
    assert summary_of(tmp_path / "out")["counts"]["photos"] == 0


@pytest.mark.parametrize("wrong", ["0/2", "3/2", "1", "a/b", "1/0", "-1/2"])
def test_a_shard_that_makes_no_sense_is_refused(run, tmp_path, wrong):
    result = run(make_photo(tmp_path / "a.png"), f"--shard={wrong}")
    assert result.exit_code == 2
    assert "i/n" in message_of(result)


def test_torchrun_and_slurm_say_which_share_is_whose():
    torchrun = {"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "TORCHELASTIC_RUN_ID": "abc"}
    assert find_share(None, torchrun) == Share(5, 8, 1, "torchrun", "torchrun TORCHELASTIC_RUN_ID=abc")
    slurm = {"SLURM_PROCID": "2", "SLURM_NTASKS": "4", "SLURM_LOCALID": "1", "SLURM_JOB_ID": "77"}
    step = slurm | {"SLURM_STEP_NUM_TASKS": "3", "SLURM_STEP_ID": "0"}
    assert find_share(None, step) == Share(2, 3, 1, "SLURM", "SLURM SLURM_JOB_ID=77 SLURM_STEP_ID=0")
    assert find_share((1, 1), step) == Share(0, 1, 1, "--shard")
    assert find_share(None, {}) == Share()


def test_a_batch_script_of_slurm_without_srun_does_everything():
    batch = {"SLURM_PROCID": "0", "SLURM_NTASKS": "4", "SLURM_LOCALID": "0", "SLURM_JOB_ID": "77"}
    assert find_share(None, batch) == Share()


@pytest.mark.parametrize("environment", [{"RANK": "0"}, {"RANK": "0", "WORLD_SIZE": ""}])
def test_a_rank_without_the_number_of_ranks_is_refused(environment):
    with pytest.raises(
        UsageError, match=r"RANK=0 .* but WORLD_SIZE, .* is not\. .* --shard 1/1 for everything"
    ):
        find_share(None, environment)
    assert find_share((2, 3), environment) == Share(1, 3, 0, "--shard")


@pytest.mark.parametrize(
    "environment",
    [{"RANK": "4", "WORLD_SIZE": "4"}, {"SLURM_PROCID": "x", "SLURM_STEP_NUM_TASKS": "4"}],
)
def test_numbers_of_a_launcher_that_make_no_sense_are_refused(environment):
    with pytest.raises(UsageError, match="--shard 1/1"):
        find_share(None, environment)


def test_shares_hold_every_photo_once():
    taken = [Share(number, 3).take(range(10)) for number in range(3)]
    assert sorted(photo for share in taken for photo in share) == list(range(10))
