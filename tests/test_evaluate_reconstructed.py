"""`deca evaluate landmarks` on the output folder of `deca reconstruct`."""

import json
from pathlib import Path

import numpy as np
import pytest

from deca_cli.errors import InputError
from deca_cli.evaluate.landmark_outputs import evaluate_landmarks
from deca_cli.evaluate.landmark_predictions import overlap, read_predictions
from deca_cli.evaluate.landmark_sets import TrueFace, tight_box
from deca_cli.export.summary import DONE, NO_FACE, FaceResult, Outcome, write_summary

POINTS = np.random.default_rng(0).uniform((10, 20), (90, 65), (68, 2))


def true_face(name: str, shift: float = 0.0) -> TrueFace:
    points = POINTS + shift
    return TrueFace(name, points, np.ones(68, bool), tight_box(points))


def reconstructed(output: Path, photos: dict[str, dict[str, float]]) -> Path:
    """Write what `deca reconstruct` does: photo -> result folders, the largest face first, and where the faces are."""
    outcomes = []
    for photo, faces in photos.items():
        results = []
        for folder, shift in faces.items():
            (output / folder).mkdir(parents=True)
            params = {"landmarks_2d_px": (POINTS + shift).tolist(), "landmarks_3d_px": (0 * POINTS).tolist()}
            (output / folder / "params.json").write_text(json.dumps(params))
            results.append(FaceResult(folder, ("overlay.jpg",), tight_box(POINTS + shift), 0.9))
        status = DONE if results else NO_FACE
        outcomes.append(Outcome(Path(photo), status, faces=tuple(results)))
    write_summary(output, outcomes, run={"model": "open"})
    return output


def test_results_are_found_by_photo_whatever_their_folders_are_called(tmp_path):
    photos = {
        "/p/a.jpg": {"a_jpg": 1.0},
        "/p/a.png": {"a_png": 2.0},
        "/p/b.jpg": {"x_b": 3.0},
        "/p/c.jpg": {},
    }
    reconstructed(tmp_path, photos)
    for path in (tmp_path, tmp_path / "summary.json"):
        found = read_predictions(
            path, [true_face(name) for name in ("a.jpg", "p/a.png", "b", "c.jpg", "d.jpg")]
        )
        assert sorted(found) == ["a.jpg", "b", "p/a.png"]
        shifts = [float((found[name] - POINTS).mean()) for name in ("a.jpg", "p/a.png", "b")]
        assert shifts == pytest.approx([1, 2, 3])


def test_links_are_found_by_their_result_folder(tmp_path):
    reconstructed(tmp_path, {"/store/0815.jpg": {"anna": 1.0}})
    assert list(read_predictions(tmp_path, [true_face("anna.jpg")])) == ["anna.jpg"]


def test_the_face_that_overlaps_the_true_one_counts_else_the_largest(tmp_path):
    reconstructed(tmp_path, {"/p/a.jpg": {"a": 200.0, "a/face2": 2.0}})
    for truth, shift in (
        (true_face("a.jpg"), 2),
        (true_face("a.jpg", 190), 200),
        (true_face("a.jpg", -900), 200),
    ):
        assert read_predictions(tmp_path, [truth])["a.jpg"] == pytest.approx(POINTS + shift)


def test_overlap_of_boxes():
    assert overlap((0, 0, 2, 2), (0, 0, 2, 2)) == 1
    assert overlap((0, 0, 2, 2), (1, 0, 3, 2)) == pytest.approx(1 / 3)
    assert overlap((0, 0, 2, 2), (3, 3, 4, 4)) == 0


def test_what_does_not_fit_is_answered_with_the_cure(tmp_path):
    output = reconstructed(tmp_path / "out", {"/p/a.jpg": {"a_jpg": 1.0}, "/q/a.jpg": {"q_a": 2.0}})
    with pytest.raises(
        InputError, match=r"/p/a.jpg and /q/a.jpg are both called like .* folders of their own"
    ):
        read_predictions(output, [true_face("a.jpg")])
    (output / "a_jpg" / "params.json").unlink()
    with pytest.raises(
        InputError, match=r"params.json is missing. Run 'deca reconstruct' again with --resume"
    ):
        read_predictions(output, [true_face("p/a.jpg")])
    (output / "summary.json").write_text('{"photos": [3]}')
    with pytest.raises(InputError, match="not the summary of 'deca reconstruct'"):
        read_predictions(output, [true_face("a.jpg")])
    (output / "summary.json").unlink()
    (tmp_path / "truth.json").write_text(json.dumps({"a.jpg": POINTS.tolist()}))
    with pytest.raises(InputError, match=r"with its summary.json; without, run it again with --resume"):
        evaluate_landmarks(tmp_path / "truth.json", output, "x")
