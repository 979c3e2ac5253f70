import importlib
import inspect
import socket
from pathlib import Path

import numpy as np
import pytest
import torch

from deca_cli.errors import UsageError
from deca_cli.photo.crop import square_around
from deca_cli.photo.detectors import choose_detector
from deca_cli.photo.face_alignment_files import KNOWN, download_folder
from deca_cli.photo.find_faces import find_faces
from deca_cli.photo.read import Photo


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    def refuse(*arguments: object, **options: object) -> None:
        raise AssertionError("a detector tried to reach the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.fixture
def downloads(tmp_path, monkeypatch):
    """An empty download folder of torch."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    (tmp_path / "hub/checkpoints").mkdir(parents=True)
    return tmp_path / "hub/checkpoints"


def blank(width: int = 1280, height: int = 960) -> Photo:
    return Photo(np.full((height, width, 3), 90, dtype=np.uint8), Path("blank.png"), "blank")


@pytest.mark.parametrize(
    "variables",
    [{}, {"TORCH_HOME": "~/t"}, {"XDG_CACHE_HOME": "/c"}, {"XDG_CACHE_HOME": "/c", "TORCH_HOME": "/t"}],
)
def test_weights_are_looked_for_where_torch_keeps_downloads(monkeypatch, variables):
    for name in ("TORCH_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert download_folder() == Path(torch.hub.get_dir(), "checkpoints")


def test_auto_takes_the_bundled_cascade_where_no_weights_are(downloads):
    assert choose_detector("auto").name == "lbp"
    assert not any(downloads.iterdir())


def test_asking_for_face_alignment_without_weights_says_where_they_belong(downloads):
    with pytest.raises(UsageError, match=r"not on this machine: .*checkpoints holds no s3fd.*--detector lbp"):
        find_faces(blank(), detector="face-alignment")
    assert not any(downloads.iterdir())


def test_an_unknown_detector_is_an_error_that_lists_the_known_ones():
    with pytest.raises(UsageError, match=r"no detector 'magic'\. Choose one of: auto, face-alignment, lbp"):
        find_faces(blank(), detector="magic")


@pytest.mark.parametrize("weights", KNOWN, ids=lambda weights: weights.module)
def test_the_installed_package_takes_the_paths_of_its_weights(weights):
    module = importlib.import_module(f"face_alignment.detection.{weights.module}")
    parameters = inspect.signature(module.FaceDetector.__init__).parameters
    assert {argument for argument, _ in weights.files} <= set(parameters)


def test_with_weights_on_disk_face_alignment_is_used_and_its_boxes_give_the_crops_of_the_specification(
    downloads, monkeypatch
):
    class Stub:
        reference_scale = 195

        def __init__(self, path_to_detector: str, device: str, verbose: bool) -> None:
            assert Path(path_to_detector).is_file()
            assert (device, verbose) == ("cpu", False)

        def detect_from_image(self, pixels: np.ndarray) -> list[list[float]]:
            assert pixels.shape == (480, 640, 3)
            return [[10.0, 20.0, 60.0, 80.0, 0.6], [100.0, 110.0, 200.0, 230.0, 0.99]]

    (downloads / "s3fd-619a316812.pth").write_bytes(b"weights")
    monkeypatch.setattr(importlib.import_module("face_alignment.detection.sfd"), "FaceDetector", Stub)
    faces = find_faces(blank())
    assert [(face.score, face.source) for face in faces] == [
        (0.99, "face-alignment"),
        (0.6, "face-alignment"),
    ]

    class Rule:
        image_size, crop_factor, box_side, pixel_offset = 224, 1.375, "mean", -0.5

    raw = tuple((value + 0.5) * 2 - 0.5 for value in (100.0, 110.0, 200.0, 230.0))
    expected = square_around(raw, Rule(), "detector")
    assert square_around(faces[0].box_px, Rule()) == pytest.approx(expected)


def test_a_detector_that_draws_smaller_boxes_gets_larger_ones(downloads, monkeypatch):
    def stub(scale: float) -> type:
        class Stub:
            reference_scale = scale

            def __init__(self, **options: object) -> None:
                pass

            def detect_from_image(self, pixels: np.ndarray) -> list[list[float]]:
                assert pixels.dtype == np.uint8
                return [[100.0, 110.0, 200.0, 230.0, 0.9]]

        return Stub

    module = importlib.import_module("face_alignment.detection.yunet")
    from deca_cli.photo import face_alignment

    (downloads / "face_detection_yunet_2023mar.onnx").write_bytes(b"weights")
    sides = []
    for scale in (195.0, 150.0):
        face_alignment._load.cache_clear()
        monkeypatch.setattr(module, "FaceDetector", stub(scale))
        box = find_faces(blank(), detector="face-alignment")[0].box_px
        sides.append(box[2] - box[0])
    face_alignment._load.cache_clear()
    assert sides[1] == pytest.approx(sides[0] * 195 / 150)
