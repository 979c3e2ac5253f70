"""What `deca reconstruct` refuses before it works."""
# ruff: noqa: F811 - fixtures are imported by their names

import pytest
from typer.testing import CliRunner

from deca_cli.cli.app import app
from deca_cli.pipeline import encoding
from reconstruct_runs import make_photo, message_of, one_face_everywhere, pack, run  # noqa: F401 - fixtures


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--bbox", "1,2,3"], "four numbers"),
        (["--bbox", "9,2,3,8"], "empty"),
        (["--bbox", "nan,0,10,20"], "nan is none"),
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
