"""The detectors of the face-alignment package, used only where their weights lie on disk already.

The package would download missing weights by itself; so the files are looked up first and passed by path. Its
classes are found by looking for them, because names and defaults have changed between its versions.
"""

import importlib
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from deca_cli.photo.crop import DETECTOR_BOX_DROP, LANDMARK_BOX_GROWTH, PixelBox
from deca_cli.photo.face import Face
from deca_cli.photo.face_alignment_files import PACKAGE, Weights, missing_weights, usable_weights
from deca_cli.photo.read import Photo

NAME = "face-alignment"
LONG_SIDE = 640
"""The photo is scaled down to this before detection: faces from about 15 pixels are found there, in fixed time."""

REFERENCE_SIZE = 195.0
"""The package's own measure of how large its default detector draws boxes; others differ by `reference_scale`."""


def find_with_face_alignment(photo: Photo) -> list[Face]:
    """Faces of the best detector whose weights are here, best first.

    Raises:
        FileNotFoundError: no weights are here; ask `missing_weights` first.
    """
    usable = usable_weights()
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
