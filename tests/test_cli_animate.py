"""`deca animate` as a person meets it, with a stand-in model."""

import re

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

import stand_in
from deca_cli.animate.video import has_ffmpeg, read_video, video_fps
from deca_cli.cli.app import app
from deca_cli.errors import DeviceError
from deca_cli.photo.face import Face
from deca_cli.pipeline import fit, start

BOX = (150.0, 80.0, 250.0, 200.0)


@pytest.fixture(scope="module")
def pack(tmp_path_factory):
    return stand_in.make_pack(tmp_path_factory.mktemp("packs") / "pack")


@pytest.fixture(autouse=True)
def one_face_everywhere(monkeypatch):
    monkeypatch.setattr(fit, "find_faces", lambda *_, **__: [Face(BOX, 0.9, None, "test")])


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "anna.png"
    Image.fromarray(np.random.default_rng(0).integers(60, 200, (280, 320, 3), dtype=np.uint8)).save(path)
    return path


@pytest.fixture
def run(pack, photo, tmp_path):
    def invoke(*arguments: object, output="frames") -> object:
        words = [
            "animate",
            str(photo),
            *map(str, arguments),
            "--device",
            "cpu",
            "--threads",
            "1",
            "--model",
            str(pack),
        ]
        result = CliRunner().invoke(app, [*words, "-o", str(tmp_path / output)])
        assert "Traceback" not in result.output
        return result

    return invoke


def said(result):
    return re.sub(r"\s+", " ", result.stderr)


def pictures(folder):
    return [np.array(Image.open(path)).astype(int) for path in sorted(folder.glob("frame_*.png"))]


@pytest.mark.skipif(not has_ffmpeg(), reason="imageio-ffmpeg is not installed (extra `video`)")
def test_a_photo_becomes_an_mp4(run, tmp_path):
    result = run("--seconds", "0.6", "--size", "192x96", output="out.mp4")
    assert result.exit_code == 0, result.output
    assert "Frames 15 (0.6 s at 25 a second)" in re.sub(r" +", " ", result.stdout)
    frames = list(read_video(tmp_path / "out.mp4"))
    assert len(frames) == 15
    assert frames[0].shape == (96, 192, 3)
    assert video_fps(tmp_path / "out.mp4") == 25


def test_the_turntable_goes_round_and_keeps_the_expression(run, tmp_path):
    result = run(
        "--preset", "turntable", "--seconds", "1", "--fps", "8", "--size", "96", "--rendering", "normals"
    )
    assert result.exit_code == 0, result.output
    frames = pictures(tmp_path / "frames")
    assert len(frames) == 8
    middle = [frame[48, 48] for frame in frames]
    assert middle[0][2] > 230  # the egg is round: its middle always faces the viewer
    assert middle[4][2] > 230
    assert np.abs(frames[0] - frames[4]).mean() < 12


@pytest.mark.parametrize(
    "rendering", ["shape", "detail", "textured", "normals", "side-by-side", "shape+normals"]
)
def test_every_rendering_draws_a_head_in_the_middle(run, tmp_path, rendering):
    result = run("--preset", "blink", "--seconds", "0.08", "--size", "200x100", "--rendering", rendering)
    assert result.exit_code == 0, result.output
    frame = pictures(tmp_path / "frames")[0]
    assert frame.shape == (100, 200, 3)
    centres = [(50, 50), (50, 150)] if rendering in {"side-by-side", "shape+normals"} else [(50, 100)]
    for row, column in centres:
        assert np.abs(frame[row, column] - frame[2, 2]).max() > 30
    assert ("has no detail networks: `detail` shows the coarse shape" in said(result)) == (
        rendering == "detail"
    )


def test_light_and_zoom_change_the_picture(run, tmp_path):
    base = ("--preset", "blink", "--seconds", "0.04", "--size", "96", "--rendering", "shape")
    shares = {}
    for options in (("--light", "left"), ("--light", "right"), ("--zoom", "0.5")):
        name = options[1].replace(".", "_")
        assert run(*base, *options, output=name).exit_code == 0
        frame = pictures(tmp_path / name)[0].sum(axis=2)
        seen = np.abs(frame - frame[0, 0]) > 20
        shares[options] = (frame[:, :48].sum() / frame.sum(), seen.mean())
    assert shares["--light", "left"][0] > 0.52
    assert shares["--light", "right"][0] < 0.48
    assert shares["--zoom", "0.5"][1] < 0.5 * shares["--light", "left"][1]


def test_a_script_says_what_happens_and_the_command_line_overrules_it(run, tmp_path):
    script = tmp_path / "clip.toml"
    script.write_text(
        'fps = 10\nsize = 80\nrendering = "shape"\n[[keyframe]]\ntime = 0\n'
        '[[keyframe]]\ntime = 1.0\nexpression = "jawOpen=1"\nyaw = 30\nease = "linear"\n'
    )
    result = run("--script", script, "--size", "64", "--params", tmp_path / "numbers")
    assert result.exit_code == 0, result.output
    assert len(pictures(tmp_path / "frames")) == 10
    assert pictures(tmp_path / "frames")[0].shape == (64, 64, 3)
    with np.load(tmp_path / "numbers" / "params.npz") as params:
        assert params["expression"][:, 0].tolist() == pytest.approx([0.1 * i for i in range(10)], abs=1e-5)
        assert params["pose"][5, :3].tolist() == pytest.approx([0, np.radians(15), 0], abs=1e-5)


def test_a_driver_plays_at_its_own_rate_or_another(run, tmp_path):
    take = tmp_path / "take.csv"
    take.write_text("time,jawOpen\n" + "\n".join(f"{0.05 * i},{0.1 * i}" for i in range(10)))
    result = run("--driver", take, "--size", "64", "--rendering", "shape")
    assert "Frames 10 (0.5 s at 20 a second)" in re.sub(r" +", " ", result.stdout), result.output
    result = run("--driver", take, "--size", "64", "--rendering", "shape", "--fps", "40")
    assert "Frames 20 (0.5 s at 40 a second)" in re.sub(r" +", " ", result.stdout)


def test_the_teaser_shows_four_panels(run, tmp_path):
    result = run(
        "--preset", "teaser", "--size", "64", "-e", "jawOpen", "-e", "smile", "--fps", "5", output="t.gif"
    )
    assert result.exit_code == 0, result.output
    with Image.open(tmp_path / "t.gif") as picture:
        assert picture.size == (4 * 64, 64)
        assert picture.n_frames > 40
    run("--preset", "teaser", "--size", "64", "--official", *(["-e", "jawOpen"] * 9), output="official")
    assert len(pictures(tmp_path / "official")) == 24


def test_the_head_is_drawn_into_the_photo(run, photo, tmp_path):
    result = run("--preset", "blink", "--seconds", "0.04", "--composite")
    assert result.exit_code == 0, result.output
    frame, ground = pictures(tmp_path / "frames")[0], np.array(Image.open(photo)).astype(int)
    assert frame.shape == ground.shape
    assert np.array_equal(frame[:40, :40], ground[:40, :40])
    changed = np.abs(frame - ground).max(axis=2) > 0
    assert changed[100:180, 170:230].mean() > 0.8


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--preset", "dance"], "--preset dance: there are expressions, turntable, talk, blink, teaser"),
        (["--preset", "talk", "--script", "a.toml"], "exclude each other"),
        (["--preset", "talk", "-e", "smile"], "not with talk"),
        (["--rendering", "x-ray"], "--rendering x-ray"),
        (["--rendering", "albedo"], "needs a model with a skin colour model"),
        (["--light", "sun"], "--light sun"),
        (["--camera", "film"], "--camera film"),
        (["--official"], "belongs to --preset teaser"),
        (["--script", "missing.toml"], "missing.toml cannot be read"),
        (["--driver", "missing.mp4"], "missing.mp4 does not exist"),
        (["--pose", "driver"], "--pose driver needs a driver"),
    ],
)
def test_bad_requests_are_one_sentence(run, arguments, sentence, tmp_path):
    result = run(*arguments)
    assert result.exit_code == (1 if "missing." in sentence else 2)  # a file, or the command line
    assert sentence in said(result)
    assert not (tmp_path / "frames").exists()


@pytest.mark.parametrize("size", ["10", "5000", "big", "1x2x3", "9000x100"])
def test_bad_sizes_are_told_at_once(run, size):
    result = run("--size", size)
    assert result.exit_code == 2
    assert "Invalid value" in result.stderr


@pytest.mark.parametrize(("command", "more"), [("animate", ()), ("transfer", ("-e", "smile"))])
def test_a_gpu_that_cannot_draw_is_told_before_the_face_is_looked_for(
    monkeypatch, photo, tmp_path, command, more
):
    def missing(device: object) -> None:
        raise DeviceError("cuda-core is not installed")

    def looked(*_: object, **__: object) -> list[Face]:
        raise AssertionError("too late")

    monkeypatch.setattr(start, "choose_device", lambda _: torch.device("cuda", 0))
    monkeypatch.setattr(start, "draw_triangle", missing)
    monkeypatch.setattr(fit, "find_faces", looked)
    result = CliRunner().invoke(app, [command, str(photo), *more, "-o", str(tmp_path / "out")])
    assert result.exit_code == 1
    assert "cuda-core is not installed" in said(result)
    assert not (tmp_path / "out" / "anna").exists()
