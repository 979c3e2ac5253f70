"""The bundled model on real photos: a coarse net that catches broken weights, crops and conventions."""

import json

import numpy as np
import pytest

from deca_cli.packs.store import load_pack
from deca_cli.photo.read import read_photo
from deca_cli.pipeline.captures import Decoder
from deca_cli.pipeline.clock import Clock
from deca_cli.pipeline.fit import fit_faces, overlap
from deca_cli.pipeline.settings import Settings

INNER = slice(17, 68)
LEAST_OVERLAP = 0.3
FAILURE = 0.08  # of the box's size


@pytest.fixture(scope="module")
def errors(photos_dir):
    """Of every third photo: mean distance of the inner landmarks over the box's size, or None if the face was not found."""
    decoder = Decoder.of(load_pack("open"))
    reference = json.loads((photos_dir / "landmarks.json").read_text("utf-8"))
    return [
        error_of(photos_dir / "images" / name, reference[name], decoder) for name in sorted(reference)[::3]
    ]


def error_of(path, truth, decoder):
    photo = read_photo(path)
    fits = fit_faces(photo, decoder.pack, Settings(detector="lbp"), Clock())
    fits.sort(key=lambda fit: -overlap(fit.box_px, truth["bbox"]))
    if not fits or overlap(fits[0].box_px, truth["bbox"]) < LEAST_OVERLAP:
        return None
    [capture] = decoder.decode(photo, fits[:1])
    valid = np.array(truth["valid"])[INNER]
    off = (capture.landmarks_2d_px - np.array(truth["landmarks"]))[INNER][valid]
    x0, y0, x1, y1 = truth["bbox"]
    return float(np.linalg.norm(off, axis=1).mean() / np.sqrt((x1 - x0) * (y1 - y0)))


def test_nine_of_ten_faces_are_found(errors):
    assert np.mean([error is not None for error in errors]) >= 0.9


def test_landmarks_lie_on_the_faces(errors):
    found = np.array([error for error in errors if error is not None])
    assert np.median(found) <= 0.032
    assert np.mean(found > FAILURE) <= 0.02
