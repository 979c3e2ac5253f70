"""The training loop: cut and resumed, killed, shared, diverged."""

import json
import math
import re
import subprocess
import sys
from pathlib import Path
from unittest.mock import Mock

import pytest
import torch
from safetensors import safe_open

import train_toys
from deca_cli.errors import DeviceError, ModelError, OutputError, UsageError
from deca_cli.train import run as run_module
from deca_cli.train.checkpoint import (
    Checkpoint,
    CheckpointFolder,
    load_checkpoint,
    optimizer_tensors,
    restore_optimizer,
    save_checkpoint,
)
from deca_cli.train.config.settings import LoopSettings
from deca_cli.train.config.write import flat_settings
from deca_cli.train.progress import Watchers
from deca_cli.train.run import _owned, share_of_batch, train_stage
from deca_cli.train.run_log import read_log
from deca_cli.train.same_run import check_same_run
from deca_cli.train.step_graph import RecordedStep
from deca_cli.train.step_parts import learning_rate_at, step_seed
from train_toys import ALONE, ToyLoader, ToyStage, toy_loaded, toy_loop, toy_settings


@pytest.fixture(autouse=True)
def light(monkeypatch):
    """One thread: sums of toys are the same everywhere, and no thread waits for another."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    monkeypatch.setattr(train_toys.loop_module, "write_run_pack", lambda *_: None)
    monkeypatch.setattr(train_toys.run_log, "draw_curves", lambda *_: None)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def toy_run(monkeypatch):
    """Whole runs of toys: train_stage with a toy for everything that needs pictures or a head."""
    monkeypatch.setattr(run_module, "build_model", lambda loaded: (None, loaded.settings))
    monkeypatch.setattr(run_module, "make_stage", lambda *_: ToyStage())
    monkeypatch.setattr(run_module, "PersonLoader", lambda _, data, process, __: ToyLoader(data, process))
    monkeypatch.setattr(run_module, "make_validation", lambda *_, **__: None)
    return lambda folder, steps, *options: train_stage(toy_loaded(steps, *options), folder, "cpu", Watchers())


def newest(folder):
    return load_checkpoint(max((folder / "checkpoints").glob("step_*")))


def assert_same_state(one, other):
    assert one.step == other.step
    assert one.tensors.keys() == other.tensors.keys()
    for name, tensor in one.tensors.items():
        assert torch.equal(tensor, other.tensors[name]), name


def losses(folder):
    return [line["all_loss"] for line in read_log(folder / "log.jsonl") if line["kind"] == "train"]


def toy_program(mode, folder):
    done = subprocess.run(
        [sys.executable, Path(__file__).with_name("train_toys.py"), mode, folder],
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1]), done.stderr


def test_a_run_that_was_cut_and_resumed_equals_the_uncut_run_bit_for_bit(tmp_path):
    toy_loop(tmp_path / "whole", 17).run()
    asked = []

    def stop_once() -> bool:
        asked.append(1)
        return len(asked) == 11  # at the look after step 10; the first is before any step

    toy_loop(tmp_path / "cut", 17, wants_stop=stop_once).run()
    assert newest(tmp_path / "cut").step == 10
    toy_loop(tmp_path / "cut", 17).run()
    assert_same_state(newest(tmp_path / "cut"), newest(tmp_path / "whole"))
    assert losses(tmp_path / "cut") == losses(tmp_path / "whole")


def test_the_loss_falls(tmp_path):
    toy_loop(tmp_path, 60).run()
    found = losses(tmp_path)
    assert sum(found[-5:]) < 0.2 * sum(found[:5])


def test_lines_of_the_log_after_the_checkpoint_are_written_again_and_not_twice(tmp_path):
    toy_loop(tmp_path, 5).run()
    log = tmp_path / "log.jsonl"
    log.write_text(
        log.read_text() + json.dumps({"kind": "train", "step": 6, "all_loss": 9}) + '\n{"kind": "tr'
    )
    toy_loop(tmp_path, 8).run()
    assert [line["step"] for line in read_log(log)] == [1, 2, 3, 4, 5, 6, 7, 8]
    assert 9 not in losses(tmp_path)


def test_killed_twenty_times_at_random_moments_it_ends_as_the_run_that_was_never_killed(tmp_path):
    told, _ = toy_program("kill", tmp_path / "killed")
    assert all(was_killed for was_killed, _ in told["kills"])
    steps = [step for _, step in told["kills"]]
    assert steps == sorted(steps)  # nothing that was saved is ever lost
    assert len(set(steps)) > 5  # the kills came at different places of the run
    assert told["ends"] == [0, 0]
    assert_same_state(newest(tmp_path / "killed"), newest(tmp_path / "whole"))
    assert not list((tmp_path / "killed" / "checkpoints").glob(".*"))


def test_two_processes_do_what_one_does_with_the_same_batch(tmp_path):
    told, errors = toy_program("share", tmp_path)
    assert told["codes"] == [0, 0], errors
    one, two = losses(tmp_path / "one"), losses(tmp_path / "two")
    # The toy's noise differs on purpose only in the terms' factor: 1 + 0.01 u against 1 + 0.005.
    assert two == pytest.approx(one, rel=0.02)
    sums = [[line["sum"] for line in read_log(tmp_path / name / "log.jsonl")] for name in ("one", "two")]
    assert sums[1] == pytest.approx(sums[0], rel=0.02)


def test_processes_that_do_not_find_the_same_checkpoint_refuse_to_train(tmp_path):
    told, errors = toy_program("apart", tmp_path)
    assert told["codes"] == [1, 1], errors
    assert errors.count("OutputError: The processes do not find the same run") == 2
    assert "0: 5, 1: 0" in errors
    assert newest(tmp_path / "a").step == 5
    assert not (tmp_path / "b").exists()


def test_a_damaged_checkpoint_is_named_and_the_one_before_it_is_used(tmp_path):
    toy_loop(tmp_path, 12).run()
    newest_file = max((tmp_path / "checkpoints").glob("step_*"))
    newest_file.write_bytes(newest_file.read_bytes()[:-7])
    said = []
    toy_loop(tmp_path, 15, message=said.append).run()
    assert "step_00000012" in said[0]
    assert "going on from step 10" in said[1]
    toy_loop(tmp_path.with_name("whole"), 15).run()
    assert_same_state(newest(tmp_path), newest(tmp_path.with_name("whole")))


def test_a_loss_that_is_not_finite_stops_the_run_and_saves_the_batch(tmp_path):
    with pytest.raises(
        UsageError, match=r"diverged at step 6: mean, all_loss is not finite.*--set train\.lr"
    ):
        toy_loop(tmp_path, 20, stage=ToyStage(breaks_at=7)).run()
    with safe_open(tmp_path / "bad_batch_step6_process0.safetensors", framework="pt") as file:
        assert file.metadata()["names"].splitlines()[0] == "p0/0"
        assert file.get_tensor("images").shape == (4, 2, 3, 8, 8)
    assert newest(tmp_path).step == 5
    toy_loop(tmp_path, 20).run()  # it goes on from the last checkpoint
    assert newest(tmp_path).step == 20


@pytest.mark.parametrize("setting", ["train.lr", "train.clip"])
def test_the_advice_after_a_diverged_run_can_be_followed_with_the_same_command(
    tmp_path, toy_run, setting, monkeypatch
):
    with monkeypatch.context() as patch:
        patch.setattr(run_module, "make_stage", lambda *_: ToyStage(breaks_at=7))
        with pytest.raises(UsageError, match="diverged at step 6") as told:
            toy_run(tmp_path, 12)
    advised = re.findall(r"--set (train\.\w+=[\w.-]*\w)", str(told.value))
    (option,) = [one for one in advised if one.startswith(setting)]
    toy_run(tmp_path, 12, option)
    saved = newest(tmp_path)
    assert saved.step == 12
    assert saved.settings[setting] == float(option.partition("=")[2])
    if setting == "train.lr":
        lines = [line for line in read_log(tmp_path / "log.jsonl") if line["kind"] == "train"]
        assert [line["lr"] for line in lines] == [0.01] * 5 + [saved.settings["train.lr"]] * 7


def test_a_run_whose_steps_cannot_be_recorded_goes_on_without_as_its_message_says(monkeypatch):
    step = RecordedStep.__new__(RecordedStep)
    step.side, step.update = None, None
    monkeypatch.setattr(torch.cuda, "CUDAGraph", lambda: None)
    monkeypatch.setattr(torch.cuda, "graph", Mock(side_effect=RuntimeError("not permitted when capturing")))
    with pytest.raises(DeviceError) as told:
        step._record((torch.zeros(1, 1),) * 4)
    (option,) = re.findall(r"--set (train\.\w+=\w+)", str(told.value))
    before = flat_settings(toy_settings(5, "train.cuda_graphs=true"))
    now = toy_settings(5, option)
    assert not now.train.cuda_graphs
    check_same_run(Checkpoint(5, {}, before), now, Path("run"))


def test_weights_that_are_not_finite_are_never_saved(tmp_path):
    loop = toy_loop(tmp_path, 5)
    with torch.no_grad():
        loop.stage.trained[0].weight[0] = float("inf")
    with pytest.raises(UsageError, match="weights are not any more"):
        loop.watch.check_weights(3, list(loop.stage.trained.parameters()))


def test_the_last_checkpoints_stay_and_those_of_the_archive(tmp_path):
    folder = CheckpointFolder(tmp_path, keep_last=2, archive=3, every=5)
    for step in range(5, 45, 5):
        folder.save(Checkpoint(step, {"network.a": torch.ones(2)}, {}), is_best=step == 10)
    assert [step for step, _ in folder.found()] == [40, 35, 30, 15]
    assert load_checkpoint(tmp_path / "best.safetensors").step == 10


def test_a_damaged_newer_checkpoint_does_not_cost_the_one_just_written(tmp_path):
    folder = CheckpointFolder(tmp_path, keep_last=1)
    folder.save(Checkpoint(5, {}, {}), is_best=False)
    (tmp_path / "step_00000010.safetensors").write_bytes(b"cut short")
    assert folder.newest()[0].step == 5
    for step in (7, 8):
        path = folder.save(Checkpoint(step, {}, {}), is_best=False)
        assert load_checkpoint(path).step == step
        assert [found for found, _ in folder.found()] == [10, step]
    folder.save(Checkpoint(10, {}, {}), is_best=False)
    assert [load_checkpoint(path).step for _, path in folder.found()] == [10]


class FallingError:
    """A validation whose error is less every time."""

    def __init__(self, first: float) -> None:
        self.error = first

    def measure(self):
        self.error -= 1
        return {"nme_percent": self.error}


def test_checkpoints_are_judged_by_a_validation_of_their_own_step_only(tmp_path, monkeypatch):
    packed = {}
    monkeypatch.setattr(
        train_toys.loop_module,
        "write_run_pack",
        lambda _, __, ___, provenance, accuracy: packed.__setitem__(provenance["steps"], dict(accuracy)),
    )
    loop = toy_loop(tmp_path, 20, "train.val_steps=4")  # validated at 0, 4, ... 20; saved at 5, 10, 15, 20
    loop.validation = FallingError(9.0)
    loop.run()
    assert packed == {5: {}, 10: {}, 15: {}, 20: {"nme_percent": 3.0}}
    assert load_checkpoint(tmp_path / "checkpoints/best.safetensors").step == 20
    packed.clear()
    again = toy_loop(tmp_path, 20, "train.val_steps=4")  # a finished run keeps what was measured of it
    again.run()
    assert packed == {20: {"nme_percent": 3.0}}
    worse = toy_loop(tmp_path, 30, "train.val_steps=23")
    worse.validation = FallingError(2.0)  # at 23 it is less than ever, but nothing is saved there
    worse.run()
    assert packed == {20: {"nme_percent": 3.0}, 25: {}, 30: {"nme_percent": 0.0}}
    assert load_checkpoint(tmp_path / "checkpoints/best.safetensors").step == 30


def test_statistics_are_shared_before_every_checkpoint_and_validation_whoever_makes_them(tmp_path):
    loop, seen = toy_loop(tmp_path, 12, "train.val_steps=4"), []
    loop.train_step.share_statistics = lambda *averages: seen.append((loop.step, averages))
    loop.run()
    assert seen == [(step, (loop.average.state,)) for step in (4, 5, 8, 10, 12)]


def test_other_settings_are_another_run(tmp_path):
    toy_loop(tmp_path, 5).run()
    with pytest.raises(UsageError, match=r"train\.ema was 0\.9 and is 0\.5.*--init"):
        toy_loop(tmp_path, 5, "train.ema=0.5").run()
    with pytest.raises(UsageError, match=r"train\.resume is false"):
        toy_loop(tmp_path, 5, "train.resume=false").run()
    toy_loop(tmp_path, 9, "train.keep_last=1").run()  # how long and what is kept may change


@pytest.mark.parametrize("other", ["dataset.K=4", "train.resume=false"])
def test_a_refused_run_leaves_the_settings_of_the_one_in_the_folder(tmp_path, toy_run, other):
    toy_run(tmp_path, 5)
    before = (tmp_path / "settings.yaml").read_bytes()
    with pytest.raises(UsageError, match=str(tmp_path)):
        toy_run(tmp_path, 7, other)
    assert (tmp_path / "settings.yaml").read_bytes() == before
    toy_run(tmp_path, 7)
    assert "max_steps: 7" in (tmp_path / "settings.yaml").read_text()


def test_a_file_that_is_no_checkpoint_is_refused(tmp_path):
    path = tmp_path / "step_00000001.safetensors"
    path.write_bytes(b"no checkpoint")
    with pytest.raises(ModelError, match="not a readable checkpoint"):
        load_checkpoint(path)
    save_checkpoint(path, Checkpoint(1, {}, {"a": [1]}, {"b": None}))
    again = load_checkpoint(path)
    assert (again.step, again.settings, again.values) == (1, {"a": [1]}, {"b": None})


def test_the_optimizers_memory_keeps_the_order_of_its_parameter():
    network = torch.nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(network.parameters())
    network(torch.rand(1, 3, 5, 5)).sum().backward()
    optimizer.step()
    saved = {name: tensor.clone().contiguous() for name, tensor in optimizer_tensors(optimizer).items()}
    restore_optimizer(optimizer, saved)
    memory = optimizer.state[network.weight]["exp_avg"]
    assert memory.stride() == network.weight.stride()
    assert torch.equal(memory, saved["0.exp_avg"])


def test_swaps_differ_from_step_to_step_but_not_from_run_to_run(tmp_path):
    first, second = ToyStage(), ToyStage()
    toy_loop(tmp_path / "a", 8, stage=first).run()
    toy_loop(tmp_path / "b", 8, stage=second).run()
    assert first.orders == second.orders
    assert len({str(order) for order in first.orders}) > 3


def test_the_clock_ends_a_run(tmp_path):
    loop = toy_loop(
        tmp_path,
        100_000,
        "train.max_minutes=0.003",
        "train.checkpoint_steps=100000",
        "train.log_steps=100000",
    )
    loop.run()
    assert 1 <= loop.step < 100_000
    assert newest(tmp_path).step == loop.step


def test_learning_rates_follow_warm_up_and_cosine():
    train = LoopSettings(lr=1.0, warmup_steps=4, schedule="cosine")
    assert learning_rate_at(train, 0, 0.0) == pytest.approx(0.25)
    assert learning_rate_at(train, 100, 0.5) == pytest.approx(0.5)
    assert learning_rate_at(train, 100, 1.0) == pytest.approx(0.0)
    assert learning_rate_at(LoopSettings(lr=0.3), 100, 0.9) == 0.3


def test_seeds_differ_by_step_and_process():
    seeds = {step_seed(seed, step, rank) for seed in (0, 1) for step in range(50) for rank in (-1, 0, 1, 2)}
    assert len(seeds) == 2 * 50 * 4
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_a_batch_that_cannot_be_shared_evenly_is_refused():
    data = toy_settings(1).dataset
    assert share_of_batch(data, 2).batch_size == 2
    with pytest.raises(UsageError, match="multiple of 3"):
        share_of_batch(data, 3)


def test_two_runs_do_not_write_into_one_folder(tmp_path):
    with (
        _owned(tmp_path, ALONE),
        pytest.raises(OutputError, match="Another process"),
        _owned(tmp_path, ALONE),
    ):
        pass


def test_the_average_of_the_weights_is_what_is_saved_as_pack(tmp_path, monkeypatch):
    packed = []
    monkeypatch.setattr(
        train_toys.loop_module,
        "write_run_pack",
        lambda _, trainee, *__: packed.append(trainee.network[0].weight.detach().clone()),
    )
    loop = toy_loop(tmp_path, 5)
    loop.run()
    assert torch.equal(packed[-1], loop.average.state["0.weight"])
    assert not torch.equal(packed[-1], loop.stage.trained[0].weight)
    assert math.isfinite(float(packed[-1].sum()))
