"""The detectors of the face-alignment package, used only where their weights lie on disk already.

The package would download missing weights by itself; so the files are looked up first and passed by path. Its
classes are found by looking for them, because names and defaults have changed between its versions.
"""

import importlib
import importlib.util
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from deca_cli.cache import files_folder
from deca_cli.photo.crop import DETECTOR_BOX_DROP, LANDMARK_BOX_GROWTH, PixelBox
from deca_cli.photo.face import Face
from deca_cli.photo.read import Photo

NAME = "face-alignment"
PACKAGE = "face_alignment"
LONG_SIDE = 640
"""The photo is scaled down to this before detection: faces from about 15 pixels are found there, in fixed time."""

REFERENCE_SIZE = 195.0
"""The package's own measure of how large its default detector draws boxes; others differ by `reference_scale`."""


@dataclass(frozen=True)
class Weights:
    """A detector module of the package and the files it needs.

    Attributes:
        module: name below `face_alignment.detection`.
        files: argument of its constructor and name of the file in torch's download folder.
    """

    module: str
    files: tuple[tuple[str, str], ...]


KNOWN = (
    Weights("sfd", (("path_to_detector", "s3fd-619a316812.pth"),)),
    Weights("yunet", (("path_to_detector", "face_detection_yunet_2023mar.onnx"),)),
    Weights("blazeface", (("path_to_detector", "blazeface.pth"), ("path_to_anchor", "anchors.npy"))),
)
"""In the order of preference, most accurate first."""


def download_folder() -> Path:
    """Where torch, and with it face-alignment, keeps downloaded weights."""
    import torch

    return Path(torch.hub.get_dir()) / "checkpoints"


def missing_weights() -> str | None:
    """Why these detectors cannot be used here, with the cure; None when one can."""
    if importlib.util.find_spec(PACKAGE) is None:
        return "The package face-alignment is not installed. Run: pip install face-alignment, or use --detector lbp."
    if _usable() is not None:
        return None
    wanted = " or ".join(" and ".join(name for _, name in weights.files) for weights in KNOWN)
    return (
        f"The weights of face-alignment's detectors are not on this machine: {download_folder()} holds no {wanted}. "
        "Run `deca fetch-models detector`, or use --detector lbp."
    )


def find_with_face_alignment(photo: Photo) -> list[Face]:
    """Faces of the best detector whose weights are here, best first.

    Raises:
        FileNotFoundError: no weights are here; ask `missing_weights` first.
    """
    usable = _usable()
    if usable is None:
        raise FileNotFoundError(missing_weights())
    detector = _load(*usable)
    scale = min(1.0, LONG_SIDE / max(photo.width, photo.height))
    size = (round(photo.width * scale), round(photo.height * scale))
    pixels = photo.pixels if scale == 1 else cv2.resize(photo.pixels, size, interpolation=cv2.INTER_AREA)
    found = detector.detect_from_image(pixels.copy())  # RGB, as the package takes it
    boxes = np.asarray([box[:5] for box in found], dtype=np.float64).reshape(-1, 5)
    growth = REFERENCE_SIZE / float(getattr(detector, "reference_scale", REFERENCE_SIZE))
    faces = [
        Face(
            _landmark_box((box[:4] + 0.5) / scale - 0.5, growth),
            min(max(float(box[4]), 0.0), 1.0),
            None,
            NAME,
        )
        for box in boxes
    ]
    return sorted(faces, key=lambda face: -face.score)


def _usable() -> tuple[Weights, Path] | None:
    """The best detector with all its files in one of the folders, ours first."""
    folders = (files_folder(), download_folder())
    pairs = ((weights, folder) for weights in KNOWN for folder in folders)
    return next((pair for pair in pairs if _is_complete(*pair)), None)


def _is_complete(weights: Weights, folder: Path) -> bool:
    # Files first: looking up a module of the package imports the package, which takes a second.
    return (
        all((folder / name).is_file() for _, name in weights.files)
        and importlib.util.find_spec(f"{PACKAGE}.detection.{weights.module}") is not None
    )


@lru_cache(maxsize=1)
def _load(weights: Weights, folder: Path) -> Any:  # noqa: ANN401 - a class of another package
    module = importlib.import_module(f"{PACKAGE}.detection.{weights.module}")
    paths = {argument: str(folder / name) for argument, name in weights.files}
    return module.FaceDetector(device="cpu", verbose=False, **paths)


def _landmark_box(box: np.ndarray, growth: float) -> PixelBox:
    """The landmark box that leads to the same crop as the specification's rule for detector boxes (section 2.2)."""
    centre_x, centre_y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    size = growth * float(box[2] - box[0] + box[3] - box[1]) / 2
    half = size / LANDMARK_BOX_GROWTH / 2
    centre_y += DETECTOR_BOX_DROP * size
    return (
        float(centre_x - half),
        float(centre_y - half),
        float(centre_x + half),
        float(centre_y + half),
    )
