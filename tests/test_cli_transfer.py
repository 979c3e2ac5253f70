"""`deca transfer` as a person meets it, with a stand-in model."""

import csv
import json
import re

import cv2
import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

import stand_in
from deca_cli.animate import drivers
from deca_cli.cli.app import app
from deca_cli.photo.face import Face
from deca_cli.pipeline import fit

BOX = (150.0, 80.0, 250.0, 200.0)
CSV = "time,jawOpen,mouthSmileLeft\n0.0,0.0,0.0\n0.1,0.5,0.2\n0.2,1.0,0.4\n"


@pytest.fixture(scope="module")
def pack(tmp_path_factory):
    return stand_in.make_pack(tmp_path_factory.mktemp("packs") / "pack")


@pytest.fixture(scope="module")
def fine_pack(tmp_path_factory):
    return stand_in.make_pack(tmp_path_factory.mktemp("packs") / "fine", detail=8)


@pytest.fixture(autouse=True)
def one_face_in_every_coloured_photo(monkeypatch):
    def find(photo, **_: object) -> object:
        return [Face(BOX, 0.9, None, "test")] if photo.pixels.any() else []

    real = drivers.fit_faces

    def fit_unless_black(photo, *arguments: object) -> object:
        return real(photo, *arguments) if photo.pixels.any() else []

    monkeypatch.setattr(fit, "find_faces", find)
    monkeypatch.setattr(drivers, "fit_faces", fit_unless_black)


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "anna.png"
    Image.fromarray(np.random.default_rng(0).integers(60, 200, (280, 320, 3), dtype=np.uint8)).save(path)
    return path


@pytest.fixture
def run(pack, tmp_path):
    def invoke(*arguments: object, model=pack, command="transfer") -> object:
        words = [command, *map(str, arguments), "--device", "cpu", "--threads", "1", "--size", "96"]
        words += ["--model", str(model)] if model else []
        result = CliRunner().invoke(app, [*words, "-o", str(tmp_path / "out")])
        assert "Traceback" not in result.output
        return result

    return invoke


def said(result):
    return re.sub(r"\s+", " ", result.stderr)


def names(folder):
    return {file.name for file in folder.iterdir()}


def params_of(folder):
    return json.loads((folder / "params.json").read_text("utf-8"))


def test_a_named_expression_gives_pictures_meshes_and_parameters(run, photo, tmp_path):
    result = run(photo, "-e", "jawOpen=0.6", "--composite")
    assert result.exit_code == 0, result.output
    assert "no detail networks: the coarse shape moves" in said(result)
    folder = tmp_path / "out" / "jawOpen_0_6"
    assert names(folder) == {
        "comparison.jpg", "composite.jpg", "head.obj", "head.mtl", "texture.png", "params.npz", "params.json",
    }  # fmt: skip
    params = params_of(folder)
    assert params["arkit"]["jawOpen"] == pytest.approx(0.6)
    assert params["request"]["drivers"] == ["jawOpen=0.6"]
    picture = cv2.imread(str(folder / "comparison.jpg"))
    assert picture.shape[0] == 96
    assert picture.shape[1] == 4 * 96 + 2 * 4  # photo, shape, moved shape and face
    assert cv2.imread(str(folder / "composite.jpg")).shape == (280, 320, 3)


def test_the_mesh_moves_and_keeps_the_texture_of_the_photo(run, photo, tmp_path):
    run(photo, "-e", "jawOpen=1", "-e", "neutral")
    opened, still = tmp_path / "out" / "jawOpen_1", tmp_path / "out" / "neutral"
    vertices = [
        np.array(
            [
                line.split()[1:4]
                for line in (folder / "head.obj").read_text().splitlines()
                if line[:2] == "v "
            ],
            float,
        )
        for folder in (opened, still)
    ]
    moved = vertices[0] - vertices[1]
    low = stand_in.stand_in_head().template_vertices[:, 1] < -0.04
    assert np.abs(moved[low, 1] + 0.02).max() < 1e-3
    assert np.abs(moved[~low]).max() < 1e-3
    assert (opened / "texture.png").read_bytes() == (still / "texture.png").read_bytes()


def test_a_pack_with_detail_networks_writes_the_detail_mesh(run, photo, fine_pack, tmp_path):
    result = run(photo, "-e", "jawOpen", model=fine_pack)
    assert result.exit_code == 0, result.output
    assert "no detail networks" not in said(result)
    assert (tmp_path / "out" / "jawOpen" / "head_detail.obj").is_file()


def test_photos_drive_one_by_one_under_names_that_differ(run, photo, tmp_path):
    for name in ("a/eva.png", "b/eva.png"):
        path = tmp_path / name
        path.parent.mkdir()
        Image.new("RGB", (320, 280), (90, 120, 90)).save(path)
    result = run(photo, tmp_path / "a", tmp_path / "b" / "eva.png")
    assert result.exit_code == 0, result.output
    assert names(tmp_path / "out") == {"eva", "eva_2"}


def test_photos_can_be_the_frames_of_a_clip(run, photo, tmp_path):
    for index in range(3):
        Image.new("RGB", (320, 280), (90, 120, 60 + index)).save(tmp_path / f"f{index}.png")
    drivers_ = [tmp_path / f"f{index}.png" for index in range(3)]
    result = run(photo, *drivers_, "--clip", "--fps", "12.5", "--format", "gif")
    assert result.exit_code == 0, result.output
    with Image.open(tmp_path / "out" / "clip" / "clip.gif") as clip:
        assert clip.size == (2 * 96, 96)


def test_a_csv_gives_a_clip_and_the_parameters_of_every_frame(run, photo, tmp_path):
    take = tmp_path / "take.csv"
    take.write_text(CSV)
    result = run(photo, take, "--format", "png", "--composite")
    assert result.exit_code == 0, result.output
    assert "50 of ARKit's coefficients are not in the file" in said(result)
    folder = tmp_path / "out" / "take"
    assert names(folder) == {"clip", "composite", "comparison.jpg", "params.npz", "expressions.csv"}
    assert len(names(folder / "clip")) == 3
    with np.load(folder / "params.npz") as params:
        assert params["expression"][:, 0].tolist() == pytest.approx([0, 0.5, 1])
        assert params["pose"].shape == (3, 6)
        assert params["shape"].shape[0] == 1
        assert float(params["fps"]) == pytest.approx(10)
    rows = list(csv.DictReader((folder / "expressions.csv").open()))
    assert [float(row["jawOpen"]) for row in rows] == pytest.approx([0, 0.5, 1])


def test_what_it_wrote_drives_and_is_a_source_again(run, photo, tmp_path):
    take = tmp_path / "take.csv"
    take.write_text(CSV)
    run(photo, take, "--format", "png")
    first = tmp_path / "out" / "take"
    clip, table = tmp_path / "clip.npz", tmp_path / "again.csv"
    clip.write_bytes((first / "params.npz").read_bytes())
    table.write_bytes((first / "expressions.csv").read_bytes())
    result = run(photo, clip, table, "--format", "png", "--intensity", "0.5")
    assert result.exit_code == 0, result.output
    for name in ("clip", "again"):
        with np.load(tmp_path / "out" / name / "params.npz") as params:
            assert params["expression"][:, 0].tolist() == pytest.approx([0, 0.25, 0.5], abs=1e-4)
    result = run(clip, "-e", "jawOpen")
    assert result.exit_code == 0, result.output


def test_a_result_folder_is_a_source_even_without_its_photo(run, photo, tmp_path):
    run(photo, "-e", "neutral")
    folder = tmp_path / "anna"
    (tmp_path / "out" / "neutral").rename(folder)
    photo.unlink()
    result = run(folder, "-e", "jawOpen")
    assert result.exit_code == 0, result.output
    moved = tmp_path / "out" / "jawOpen"
    assert (moved / "texture.png").is_file()  # the kept one
    assert "composite needs the source's photo" in said(run(folder, "-e", "jawOpen", "--composite"))


def test_a_video_drives_and_frames_without_a_face_are_reported(run, photo, tmp_path):
    black, bright = np.zeros((280, 320, 3), np.uint8), np.full((280, 320, 3), 120, np.uint8)
    take = tmp_path / "take.avi"
    writer = cv2.VideoWriter(str(take), cv2.VideoWriter.fourcc(*"MJPG"), 10, (320, 280))
    for frame in (bright, bright, black, black, bright, bright):
        writer.write(frame)
    writer.release()
    result = run(photo, take, "--format", "png")
    assert result.exit_code == 0, result.output
    assert "take.avi: no face in 2 of 6 frames; they were interpolated" in said(result)
    assert len(names(tmp_path / "out" / "take" / "clip")) == 6
    result = run(photo, take, "--format", "png", "--max-gap", "0.05")
    assert result.exit_code == 1
    assert "longer than the 0.05 s that are interpolated" in said(result)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "Nothing drives the face"),
        (["-e", "smiel=1"], "no expression `smiel`. Did you mean smile"),
        (["-e", "smile", "--keep", "nose"], "--keep nose: only jaw, mouth, eyes"),
        (["-e", "smile", "--pose", "left"], "--pose left: say source, driver, frontal"),
        (["-e", "smile", "--pose", "driver"], "says nothing about the head's pose"),
        (["-e", "smile", "--format", "avi"], "--format avi: say mp4, gif or png"),
        (["missing.jpg"], "missing.jpg does not exist"),
        (["missing.csv"], "missing.csv does not exist"),
        (["missing.npz"], "missing.npz does not exist"),
        (["missing.mp4"], "missing.mp4 does not exist"),
    ],
)
def test_bad_requests_are_one_sentence(run, photo, arguments, sentence):
    result = run(photo, *arguments)
    assert result.exit_code == (1 if "missing." in sentence else 2)  # a file, or the command line
    assert sentence in said(result)


def test_drivers_and_sources_without_a_face_are_one_sentence(run, photo, tmp_path):
    black = tmp_path / "black.png"
    Image.new("RGB", (200, 200)).save(black)
    assert "the driver" in said(run(photo, black))
    assert "shows no face that was found" in said(run(black, photo))
    broken = tmp_path / "broken.npz"
    broken.write_bytes(b"nothing")
    assert "is damaged" in said(run(photo, broken))
    np.savez(tmp_path / "other.npz", something=np.zeros(3))
    assert "not a parameter file of this tool" in said(run(photo, tmp_path / "other.npz"))
    assert "without params.npz" in said(run(tmp_path, photo))
