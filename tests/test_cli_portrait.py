"""The README's main command on the portrait in docs/, with the bundled model, as a process of its own."""

import json
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import psutil
import pytest

PORTRAIT = Path(__file__).resolve().parents[1] / "docs" / "portrait.jpg"
# Read off the photo by eye, pixels.
EYE_ON_THE_LEFT, EYE_ON_THE_RIGHT, MOUTH = (203, 100), (247, 102), (224, 145)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The output folder and the most memory that the process held, bytes."""
    folder = tmp_path_factory.mktemp("portrait")
    words = ["reconstruct", PORTRAIT, "--obj", "--depth", "--model", "open", "-o", folder, "--device", "cpu"]
    with (folder / "said.txt").open("wb") as said:
        process = subprocess.Popen(
            [sys.executable, "-m", "deca_cli", *map(str, words)], stdout=said, stderr=said
        )
        # Looked at while it runs: what the system adds up at the end includes the parent that started it.
        watched, most = psutil.Process(process.pid), 0
        while process.poll() is None:
            try:
                most = max(most, watched.memory_info().rss)
            except psutil.Error:
                break  # it ended between the two questions
            time.sleep(0.02)
    assert process.wait() == 0, (folder / "said.txt").read_text()
    return folder, most


@pytest.fixture(scope="module")
def output(finished):
    return finished[0]


@pytest.fixture(scope="module")
def params(output):
    return json.loads((output / "portrait" / "params.json").read_text("utf-8"))


def test_it_says_that_the_model_is_the_bundled_one_and_sends_nobody_elsewhere(output):
    said = (output / "said.txt").read_text("utf-8")
    assert "Model open (bundled) on cpu." in said
    assert "Model    open (bundled)" in said
    assert "fetch-models" not in said


def test_it_writes_overlay_meshes_and_depth_of_one_face(output):
    assert json.loads((output / "summary.json").read_text("utf-8"))["counts"] == {
        "photos": 1,
        "faces": 1,
        "skipped": 0,
    }
    written = {file.name for file in (output / "portrait").iterdir()}
    assert {
        "overlay.jpg",
        "head.obj",
        "head.mtl",
        "texture.png",
        "depth.png",
        "depth.npy",
        "params.npz",
    } <= written


def test_the_landmarks_lie_on_eyes_and_mouth(params):
    points = np.array(params["landmarks_2d_px"])
    for part, place in (
        (slice(36, 42), EYE_ON_THE_LEFT),
        (slice(42, 48), EYE_ON_THE_RIGHT),
        (slice(48, 60), MOUTH),
    ):
        assert np.linalg.norm(points[part].mean(axis=0) - place) < 5


def test_the_smile_is_in_the_arkit_coefficients_and_the_head_looks_ahead(params):
    assert len(params["arkit"]) == 52
    assert max(params["arkit"]["mouthSmileLeft"], params["arkit"]["mouthSmileRight"]) > 0.3
    assert max(abs(angle) for angle in params["head_pose_deg"].values()) < 20


def test_the_depth_map_shows_a_head_of_plausible_size_in_its_place(output, params):
    depth = np.load(output / "portrait" / "depth.npy")
    mask = cv2.imread(str(output / "portrait" / "depth_mask.png"), cv2.IMREAD_GRAYSCALE) > 0
    for x, y in (EYE_ON_THE_LEFT, EYE_ON_THE_RIGHT, MOUTH):
        assert mask[y, x]
    assert 0.05 < depth.max() < 0.3
    nose = np.rint(params["landmarks_2d_px"][30]).astype(int)
    assert depth[nose[1], nose[0]] < 0.02
    assert 0.1 < np.ptp(np.nonzero(mask)[1]) / params["pixels_per_metre"] < 0.25


def test_it_takes_less_than_one_and_a_half_gigabytes(finished):
    assert 0.1e9 < finished[1] < 1.5e9
