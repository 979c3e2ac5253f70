"""What `deca reconstruct` refuses before it works."""
# ruff: noqa: F811 - fixtures are imported by their names

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from deca_cli.cli.app import app
from deca_cli.errors import DeviceError
from deca_cli.pipeline import encoding, start
from reconstruct_runs import (  # noqa: F401 - fixtures
    make_photo,
    message_of,
    one_face_everywhere,
    pack,
    params_of,
    run,
)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--bbox", "1,2,3"], "four numbers"),
        (["--bbox", "9,2,3,8"], "empty"),
        (["--bbox", "nan,0,10,20"], "nan is none"),
        (["--faces", "none"], "largest"),
        (["--faces", "0"], "largest"),
        (["--device", "tpu"], "auto, cpu or cuda"),
        (["--threads", "0"], "whole number from 1 on"),
        (["--batch-size", "x"], "whole number from 1 on"),
    ],
)
def test_wrong_options_are_refused_with_exit_code_2(run, tmp_path, arguments, complaint):
    words = ["reconstruct", str(make_photo(tmp_path / "a.png")), *arguments]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 2
    assert complaint in result.output


def test_a_box_and_no_crop_exclude_each_other(run, tmp_path):
    result = run(make_photo(tmp_path / "a.png"), "--no-crop", "--bbox", "1,2,30,40")
    assert result.exit_code == 2
    assert "exclude each other" in message_of(result)


def test_a_box_is_for_one_photo(run, tmp_path):
    result = run(make_photo(tmp_path / "a.png"), make_photo(tmp_path / "b.png"), "--bbox", "1,2,30,40")
    assert result.exit_code == 2
    assert "2 were given" in message_of(result)


@pytest.mark.parametrize(
    ("box", "fault"),
    [
        ("1000,1000,1100,1100", "lies mostly outside it"),
        ("-1e9,-1e9,1e9,1e9", "lies mostly outside it"),
        ("-inf,0,inf,100", "lies mostly outside it"),
        ("20,20,20.5,20.5", "too small to be a face"),
    ],
)
def test_a_box_in_which_the_photo_cannot_show_a_face_is_refused(run, tmp_path, box, fault):
    result = run(make_photo(tmp_path / "a.png"), f"--bbox={box}")
    assert result.exit_code == 1
    assert fault in message_of(result)
    assert "a.png has 320 x 280 pixels" in message_of(result)


@pytest.mark.parametrize(
    ("arguments", "advice"),
    [(["--bbox", "60,50,120,120"], "Draw --bbox"), (["--no-crop"], "Leave --no-crop out")],
)
def test_the_advice_fits_how_the_face_was_looked_for(run, tmp_path, monkeypatch, arguments, advice):
    monkeypatch.setattr(encoding, "fit_batch", lambda faces, *_, **__: [None] * len(faces))
    assert advice in message_of(run(make_photo(tmp_path / "a.png"), *arguments))


def test_a_photo_below_a_file_is_not_found(run, tmp_path):
    make_photo(tmp_path / "photo.jpg")
    result = run(tmp_path / "photo.jpg" / "x.jpg")
    assert result.exit_code == 1
    assert "photo.jpg is a file" in message_of(result)


def test_an_unknown_detector_is_refused(run, tmp_path):
    result = run(make_photo(tmp_path / "a.png"), "--detector", "eagle")
    assert result.exit_code == 2
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


def test_a_gpu_that_is_not_there_is_an_error_and_no_fallback(run, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    photo = make_photo(tmp_path / "a.png")
    with pytest.raises(DeviceError, match="needs an NVIDIA GPU"):
        start.choose_device("cuda")
    drawing = run(photo, "--rasterizer", "cuda")
    assert drawing.exit_code == 2
    assert "use --device cuda with it" in message_of(drawing)
    tf32 = run(photo, "--precision", "tf32")
    assert tf32.exit_code == 2
    assert "On the CPU use fp32 or bf16" in message_of(tf32)


def test_a_gpu_without_the_extra_cuda_is_an_error_that_says_how_to_get_it(monkeypatch):
    def missing(device: object) -> None:
        raise DeviceError("install 'deca-cli[cuda]'")

    monkeypatch.setattr(start, "draw_triangle", missing)
    gpu = torch.device("cuda", 0)
    for rasterizer in ("auto", "cuda"):
        with pytest.raises(DeviceError, match="deca-cli"):
            start.choose_drawing_device(rasterizer, gpu)
    assert start.choose_drawing_device("cpu", gpu) == "cpu"
    monkeypatch.setattr(start, "draw_triangle", lambda _: None)
    assert start.choose_drawing_device("auto", gpu) == "cuda:0"


def test_bf16_finds_the_same_face(run, tmp_path):
    photo = make_photo(tmp_path / "a.png")
    run(photo, "--no-crop")
    run(photo, "--no-crop", "--precision", "bf16", "--batch-size", 2, output="bf16")
    plain, half = (params_of(tmp_path / name / "a")["landmarks_2d_px"] for name in ("out", "bf16"))
    assert np.abs(np.array(plain) - np.array(half)).max() < 1.0
    assert plain != half


def test_processes_of_one_machine_take_its_gpus_in_turn(monkeypatch):
    chosen: list[torch.device] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    assert [str(start.choose_device("auto", local)) for local in range(3)] == ["cuda:0", "cuda:1", "cuda:0"]
    assert [str(device) for device in chosen] == ["cuda:0", "cuda:1", "cuda:0"]
