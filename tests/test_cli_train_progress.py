"""What the training stages tell on the way."""

import pytest
import torch
from typer.testing import CliRunner

from deca_cli.cli import train_stages_run
from deca_cli.cli.app import app
from deca_cli.train.progress import Progress

VALIDATION = {
    "nme_percent": 15.947, "photometric": 0.124123, "shape_mm": 2.98012, "shape_scaled_mm": 2.50523, "mean_head_mm": 2.97854,
    "train_nme_percent": 15.68812, "train_photometric": 0.119591, "train_mean_head_mm": 2.90834,
}  # fmt: skip


def told(capsys, *validations: dict[str, float], step=123_456):
    """Lines of a display that is shown these validations one after the other."""
    display = train_stages_run._Display(None)
    for validation in validations:
        display.show(Progress(step, 200_000, 0.617, 12_345.6, 7100.0, {"all_loss": 0.123456}, validation))
        display.told_at = -1e9  # as if time had passed
    return capsys.readouterr().out.splitlines()


def test_a_validation_is_told_once_and_lines_of_progress_fit_100_columns(capsys):
    validation, first, second, better, third = told(
        capsys, VALIDATION, VALIDATION, VALIDATION | {"nme_percent": 2}
    )
    assert validation == (
        "held-out people:  nme_percent 15.95  photometric 0.1241  shape_mm 2.98  shape_scaled_mm 2.505"
    )
    assert first == "step 123456  62 %  12346 images/s  118 min left  loss 0.1235  nme_percent 15.95"
    assert first == second
    assert better.startswith("held-out people:  nme_percent 2 ")
    assert third.endswith("nme_percent 2")
    assert max(len(line) for line in (validation, first)) <= 100


def test_nothing_is_told_of_a_validation_that_was_not_made(capsys):
    assert told(capsys, {}, step=10) == ["step 10  62 %  12346 images/s  118 min left  loss 0.1235"]


@pytest.mark.parametrize(
    ("has_gpu", "device", "sentence"),
    [
        (False, "cpu", "training on the CPU: torch sees no NVIDIA GPU here"),
        (True, "cuda", "training on NVIDIA X"),
    ],
)
def test_training_takes_the_gpu_that_is_there_and_says_so(tmp_path, monkeypatch, has_gpu, device, sentence):
    trained = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: has_gpu)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "NVIDIA X")
    monkeypatch.setattr(train_stages_run, "train_stage", lambda _, __, name, ___: trained.append(name))
    result = CliRunner().invoke(app, ["train", "coarse", "data", "-o", str(tmp_path)])
    assert result.exit_code == 0, result.output
    assert trained == [device]
    assert sentence in result.stderr
