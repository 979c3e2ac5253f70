"""`deca evaluate now --model`: photos in, neutral heads with landmarks out, measured at once."""

import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

import stand_in
from deca_cli.cli.evaluate import evaluate
from deca_cli.errors import InputError
from deca_cli.evaluate.meshes import read_mesh, write_obj
from deca_cli.evaluate.now_data import open_now
from deca_cli.evaluate.predict import neutral_head, predict_now
from deca_cli.evaluate.synthetic_faces import (
    random_similarity,
    synthetic_head,
    write_picked_points,
    write_prediction,
)
from deca_cli.packs.store import load_pack
from deca_cli.photo.face import Face
from deca_cli.pipeline import fit

IMAGES = ("S1/selfie/IMG_1.jpg", "S1/multiview_neutral/IMG_2.jpg", "S1/selfie/IMG_3.jpg")


@pytest.fixture(scope="module")
def pack(tmp_path_factory):
    return stand_in.make_pack(tmp_path_factory.mktemp("packs") / "pack")


@pytest.fixture
def data(tmp_path, pack, monkeypatch):
    """A data set whose only scan is the stand-in's own neutral head; the third photo is black and shows nobody."""
    monkeypatch.setattr(
        fit,
        "find_faces",
        lambda photo, **_: [Face((60.0, 40, 140, 130), 0.9, None, "test")] if photo.pixels.any() else [],
    )
    photos = tmp_path / "data" / "final_release_version" / "iphone_pictures"
    for i, name in enumerate(IMAGES):
        (photos / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (200, 180), (120, 90, 80) if i < 2 else (0, 0, 0)).save(photos / name)
    boxes = tmp_path / "data" / "final_release_version" / "detected_face" / "S1" / "selfie"
    boxes.mkdir(parents=True)
    np.save(boxes / "IMG_1.npy", {"left": 60, "right": 140, "top": 40, "bottom": 130}, allow_pickle=True)
    loaded = load_pack(pack)
    vertices, landmarks = neutral_head(loaded, torch.zeros(1, 4))
    for folder in ("scans/S1", "scans_lmks_onlypp/S1"):
        (tmp_path / "data" / folder).mkdir(parents=True)
    write_obj(tmp_path / "data" / "scans" / "S1" / "a.obj", 1000 * vertices, loaded.assets.faces)
    write_picked_points(tmp_path / "data" / "scans_lmks_onlypp" / "S1" / "a.pp", 1000 * landmarks)
    (tmp_path / "data" / "imagepathsvalidation.txt").write_text("\n".join(IMAGES))
    return tmp_path / "data"


def call(*arguments: object):
    return CliRunner().invoke(evaluate, ["now", *(str(a) for a in arguments)])


def test_photos_become_neutral_heads_and_numbers(data, pack, tmp_path):
    folder = tmp_path / "predictions"
    arguments = (
        folder,
        "--data",
        data,
        "--model",
        pack,
        "--device",
        "cpu",
        "-j",
        1,
        "--no-plots",
        "--metrical",
    )
    done = call(*arguments, "-o", tmp_path / "out")
    assert done.exit_code == 0, done.output
    assert "Not predicted: S1/selfie/IMG_3.jpg: no face found" in done.output
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert (results["measured"], results["missing"]) == (2, 1)
    assert (
        results["overall"]["mean"] < 3
    )  # the stand-in's shape code is small, so the head is nearly its mean
    mesh = read_mesh(folder / "S1" / "selfie" / "IMG_1.obj")
    assert len(mesh.vertices) == len(load_pack(pack).assets.template_vertices)
    assert np.load(folder / "S1" / "selfie" / "IMG_1.npy").shape == (7, 3)


def test_only_the_asked_challenge_is_predicted(data, pack, tmp_path):
    folder = tmp_path / "predictions"
    done = call(
        *(folder, "--data", data, "--model", pack, "--device", "cpu", "-j", 1, "--no-plots", "--worst", 0),
        *("--challenge", "multiview_neutral"),
    )
    assert done.exit_code == 0, done.output
    assert [path.name for path in folder.rglob("IMG_*.npy")] == ["IMG_2.npy"]


def test_predictions_of_an_earlier_state_of_the_model_are_not_taken_for_its_own(data, pack, tmp_path):
    folder, retrained = tmp_path / "predictions", tmp_path / "pack"
    predict_now(data, open_now(data), load_pack(pack), folder)
    predict_now(data, open_now(data), load_pack(pack), folder)  # unchanged: it goes on where it stopped
    shutil.copytree(pack, retrained)
    weights = load_file(retrained / "encoder.safetensors")
    save_file({name: weight + 0.5 for name, weight in weights.items()}, retrained / "encoder.safetensors")
    with pytest.raises(InputError, match="as it is now, did not make"):
        predict_now(data, open_now(data), load_pack(retrained), folder)


def test_predictions_of_other_programs_are_not_taken_for_the_models(data, pack, tmp_path):
    write_prediction(
        tmp_path / "predictions" / "S1" / "selfie", "IMG_1", synthetic_head(), random_similarity(0, 1)
    )
    with pytest.raises(InputError, match="as it is now, did not make"):
        predict_now(data, open_now(data), load_pack(pack), tmp_path / "predictions")


def test_another_models_folder_is_refused(data, pack, tmp_path):
    folder = tmp_path / "predictions"
    folder.mkdir()
    (folder / "predicted_by.txt").write_text("another\n")
    done = call(folder, "--data", data, "--model", pack, "--device", "cpu")
    assert done.exit_code == 1
    assert "as it is now, did not make" in done.output
