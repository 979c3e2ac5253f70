"""The stages through the command line: a miniature of pretrain, coarse and detail learns, and leaves packs that work."""

import os
import signal
import subprocess
import sys
from itertools import takewhile
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from deca_cli.cli.app import app
from deca_cli.packs.store import load_pack
from deca_cli.train.run_log import read_log

COMMON = ["--device", "cpu", "--debug"]
SETTINGS = {
    "all": ["dataset.num_workers=0", "train.val_people=1", "train.val_steps=1000", "train.log_steps=1", "train.clip=5"],
    "pretrain": ["model.backbone=resnet18", "model.hidden=0", "dataset.image_size=64", "dataset.batch_size=4", "dataset.K=4"],
    "coarse": ["dataset.batch_size=4", "dataset.K=4", "train.vis_steps=16", "dataset.scale_min=1.6", "dataset.scale_max=1.6"],
    "detail": ["dataset.batch_size=1", "dataset.K=2", "train.vis_steps=0"],
}  # fmt: skip


def deca(*words: object, fails: bool = False):
    """Run the program; returns what it printed."""
    result = CliRunner().invoke(app, [str(word) for word in words])
    if not fails and result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert (result.exit_code != 0) == fails, result.output + result.stderr
    return result.output + (result.stderr if fails else "")


def options(stage, *further: str):
    return [part for text in (*SETTINGS["all"], *SETTINGS[stage], *further) for part in ("--set", text)]


@pytest.fixture(scope="module")
def rendered_set(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rendered") / "set"
    deca("train", "render-set", folder, "--people", 5, "--photos", 4, "--size", 64, "--held-out", 0.2, "--clean", "--yaw", 30,
         "--device", "cpu")  # fmt: skip
    return folder


@pytest.fixture(scope="module")
def runs(rendered_set):
    """Folders of the three stages, run one after the other."""
    base = rendered_set.parent
    deca("train", "pretrain", rendered_set, "-o", base / "p", "--steps", 24, *COMMON,
         *options("pretrain", "train.lr=1e-3", "loss.reg_exp=1e-5", "loss.reg_shape=1e-5"))  # fmt: skip
    deca("train", "coarse", rendered_set, "-o", base / "c", "--init", base / "p", "--steps", 16, "--without", "identity",
         *COMMON, *options("coarse", "train.lr=2e-4", "loss.reg_exp=1e-5", "loss.reg_shape=1e-5", "loss.reg_tex=1e-5"))  # fmt: skip
    deca("train", "detail", rendered_set, "-o", base / "d", "--init", base / "c", "--steps", 8, "--without", "mrf",
         *COMMON, *options("detail", "train.lr=1e-3"))  # fmt: skip
    return base


def terms(run, name):
    return [line[name] for line in read_log(run / "log.jsonl") if line["kind"] == "train"]


def mean(values):
    return sum(values) / len(values)


def test_pretrain_learns_where_the_landmarks_are(runs):
    total = terms(runs / "p", "all_loss")
    assert mean(total[:3]) > 0.18
    assert mean(total[-3:]) < 0.10  # 0.07 when this was written
    assert mean(terms(runs / "p", "landmark")[-3:]) < 0.075


def test_coarse_learns_colours_from_there(runs):
    photometric, total = terms(runs / "c", "photometric_texture"), terms(runs / "c", "all_loss")
    assert mean(photometric[-3:]) < 0.9 * mean(photometric[:3])  # 0.82 when this was written
    assert mean(total[-3:]) < 0.185  # 0.161; 0.209 at the start
    validated = [line for line in read_log(runs / "c" / "log.jsonl") if line["kind"] == "validation"]
    assert validated[-1]["photometric"] < validated[0]["photometric"]  # of a person who is held out


def test_two_processes_do_what_one_does_with_the_same_batch(rendered_set, tmp_path):
    words = ["train", "coarse", rendered_set, "--steps", 2, "--without", "identity", *COMMON, *options("pretrain", "dataset.K=2"),
             "--set", "train.val_steps=0", "--set", "dataset.batch_size=2"]  # fmt: skip
    deca(*words, "-o", tmp_path / "one")
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "deca_cli"]
    program = [sys.executable, *launcher, *map(str, words), "-o", str(tmp_path / "two")]
    done = subprocess.run(
        program,
        capture_output=True,
        text=True,
        check=False,
        timeout=400,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    for one, two in zip(*(read_log(tmp_path / name / "log.jsonl") for name in ("one", "two")), strict=True):
        for name in ("all_loss", "landmark", "photometric_texture", "shape_reg", "tex_reg"):
            assert two[name] == pytest.approx(one[name], rel=1e-4), (one["step"], name)


def test_detail_learns_and_leaves_the_coarse_encoder_alone(runs):
    total = terms(runs / "d", "all_loss")
    assert mean(total[-3:]) < 0.6 * mean(total[:3])
    coarse, detail = (load_pack(runs / name).deca for name in ("c", "d"))
    for name, value in coarse.encoder.state_dict().items():
        assert torch.equal(value, detail.encoder.state_dict()[name]), name


def test_runs_leave_packs_that_reconstruct_and_know_where_they_come_from(runs):
    pack = load_pack(runs / "d")
    assert pack.has_detail
    assert pack.manifest.provenance["stage"] == "detail"
    assert pack.manifest.provenance["start_stage"] == "coarse"
    assert pack.manifest.accuracy["nme_percent"] > 0
    assert pack.manifest.expression_range == (0.0, 1.0)
    images = torch.rand(2, 3, 64, 64)
    head = pack.deca.decode(pack.deca.encode(images).codes)
    assert torch.isfinite(head.vertices).all()
    assert head.displacement.shape == (2, 1, 256, 256)


def test_runs_leave_settings_log_curves_and_pictures(runs):
    assert (runs / "c" / "curves.png").stat().st_size > 5000
    assert list((runs / "c" / "train_images").glob("*.jpg"))
    validated = [line for line in read_log(runs / "d" / "log.jsonl") if line["kind"] == "validation"]
    told = {
        "nme_percent",
        "photometric",
        "shape_mm",
        "detail_photometric",
        "displacement_mm",
        "flat_displacement_mm",
        "normal_degrees",
        "flat_normal_degrees",
    }
    assert told <= validated[-1].keys()
    assert "batch_size: 1" in (runs / "d" / "settings.yaml").read_text()


def test_a_finished_run_stays_as_it_is_and_its_settings_can_be_used_again(runs, rendered_set):
    before = (runs / "d" / "log.jsonl").read_text()
    told = deca("train", "detail", "-o", runs / "d", "--config", runs / "d" / "settings.yaml", *COMMON)
    assert "model pack" in told
    assert (runs / "d" / "log.jsonl").read_text() == before


def test_settings_of_another_stage_or_another_start_are_refused(runs, rendered_set, tmp_path):
    told = deca(
        "train",
        "coarse",
        "--config",
        runs / "d" / "settings.yaml",
        "-o",
        tmp_path,
        "--device",
        "cpu",
        fails=True,
    )
    assert "deca train detail" in told
    told = deca("train", "coarse", rendered_set, "--init", runs / "p", "-o", tmp_path, "--without", "identity",
                "--set", "model.backbone=resnet50", "--device", "cpu", fails=True)  # fmt: skip
    assert "has 'resnet18'" in told


def test_networks_that_are_missing_are_named_with_both_ways_out(runs, rendered_set, tmp_path, monkeypatch):
    monkeypatch.setenv("DECA_HOME", str(tmp_path))
    told = deca("train", "coarse", rendered_set, "-o", tmp_path / "run", "--device", "cpu",
                *options("pretrain"), fails=True)  # fmt: skip
    assert "deca fetch-models identity" in told
    assert "--without identity" in told


def test_wrong_requests_are_refused_in_a_sentence(tmp_path):
    assert "--without hair" in deca("train", "coarse", "x", "--without", "hair", fails=True)
    assert "--duplicate-keys" in deca("train", "coarse", "x", "--duplicate-keys", "maybe", fails=True)
    told = deca(
        "train", "pretrain", "nowhere", "-o", tmp_path, "--device", "cpu", *options("pretrain"), fails=True
    )
    assert "neither a folder" in told
    told = deca(
        "train", "pretrain", "--init", tmp_path / "model.tar", "-o", tmp_path, "--device", "cpu", fails=True
    )
    assert "no model pack" in told


def test_settings_can_be_shown_without_training():
    told = deca(
        "train", "coarse", "--show-settings", "--set", "loss.photo=3.5", "--without", "identity", "--steps", 7
    )
    assert "photo: 3.5" in told
    assert "id: 0.0" in told
    assert "max_steps: 7" in told


def test_the_first_request_to_stop_is_noted_and_told_and_a_second_ctrl_c_stops_at_once(capfd):
    from deca_cli.cli.train_stages_run import _stop_requests

    before = signal.getsignal(signal.SIGTERM)
    with _stop_requests(quiet=False) as asked:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGTERM)  # as torchrun passes Ctrl-C on
        signal.raise_signal(signal.SIGTERM)  # as a cluster does that signals every process
        assert set(asked) == {signal.SIGINT, signal.SIGTERM}
        assert capfd.readouterr().err.count("stopping: validating and saving") == 1
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGTERM) == before


@pytest.mark.skipif(sys.platform == "win32", reason="no groups of processes with signals there")
def test_sigterm_to_the_whole_group_ends_the_step_and_saves_for_the_loaders_workers_leave_it_to_the_main_process(
    rendered_set, tmp_path
):
    words = ["train", "pretrain", rendered_set, "-o", tmp_path, "--steps", 2000, *COMMON]
    words += options("pretrain", "dataset.num_workers=2")
    command = [sys.executable, "-m", "deca_cli", *map(str, words)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    with subprocess.Popen(command, start_new_session=True, text=True, **pipes) as process:
        assert process.stdout is not None
        before = list(takewhile(lambda line: not line.startswith("step"), process.stdout))
        os.killpg(process.pid, signal.SIGTERM)
        told = process.stdout.read()
    assert process.returncode == 0, (before, told)
    assert "stopped and saved; give the same command again to go on" in told
    assert (tmp_path / "pack" / "manifest.toml").is_file()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)])
def test_a_run_that_was_asked_to_stop_says_so_and_ctrl_c_tells_it_by_the_exit_code(
    monkeypatch, tmp_path, number, code
):
    def train_stage(loaded, folder, device, watchers) -> Path:
        signal.raise_signal(number)
        assert watchers.wants_stop()
        return folder / "pack"

    monkeypatch.setattr("deca_cli.cli.train_stages_run.train_stage", train_stage)
    words = ["train", "pretrain", "data", "-o", str(tmp_path), "--device", "cpu"]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == code
    assert "stopped and saved; give the same command again" in result.output
