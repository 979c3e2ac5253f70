"""The files of the official NoW tools: distances for their plots, meshes to check an alignment, a clean submission."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from deca_cli.errors import InputError
from deca_cli.evaluate.alignment import face_region
from deca_cli.evaluate.checks import check_numbers
from deca_cli.evaluate.landmark_rows import read_picked_points, read_seven
from deca_cli.evaluate.meshes import read_mesh, write_obj
from deca_cli.evaluate.now_data import NowData, find_prediction
from deca_cli.export.atomic import make_folder, write_array, write_file, write_text

if TYPE_CHECKING:
    from pathlib import Path

    from deca_cli.evaluate.now_data import Prediction
    from deca_cli.evaluate.now_run import ImageResult
    from deca_cli.evaluate.tables import NowReport


def write_official_distances(folder: Path, report: NowReport, challenge: str | None) -> list[Path]:
    """METHOD_computed_distances[_CHALLENGE].npy for the official plot, and its .meanmedian (median, then mean).

    Each image's distances are shuffled, as the official tool does, so that they cannot be traced back to the scan.
    Images of other challenges are not counted as missing here; the official tool counts them.
    """
    name = f"{report.method}{'_metrical' if report.protocol.metrical else ''}_computed_distances"
    path = folder / f"{name}{'_' + challenge if challenge else ''}.npy"
    random = np.random.default_rng(0)
    measured = report.of_state("measured")
    content = {
        "computed_distances": [random.permutation(r.distances.astype(np.float64)) for r in measured],
        "num_missing_files": len(report.results) - len(measured),
        "input_files": np.array([r.image.line for r in measured]),
    }
    # The official tool unpickles a dictionary.
    write_file(path, lambda stream: np.save(stream, content, allow_pickle=True))  # type: ignore[arg-type]
    summary = path.with_name(path.name + ".meanmedian")
    write_text(summary, f"{report.overall.median!r}\n{report.overall.mean!r}\n")
    return [path, summary]


def write_alignment(folder: Path, data: NowData, prediction: Prediction, result: ImageResult) -> Path:
    """SUBJECT/CHALLENGE/FILE/{gt_scan_val,predicted,predicted_aligned}.obj of one measured image."""
    image = result.image
    if prediction.mesh is None or result.total is None:
        raise InputError(f"{image.name} was not measured, so there is no alignment to write.")
    target = make_folder(folder / image.subject / image.challenge / image.file)
    scan, mesh = read_mesh(data.scan(image.subject)), read_mesh(prediction.mesh)
    kept = face_region(read_picked_points(data.landmarks(image.subject))).holds(scan.vertices)
    write_obj(target / "gt_scan_val.obj", scan.vertices[kept], faces_between(kept, scan.faces))
    write_obj(target / "predicted.obj", mesh.vertices, mesh.faces)
    write_obj(target / "predicted_aligned.obj", result.total.apply(mesh.vertices), mesh.faces)
    return target


def faces_between(kept: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Triangles [F', 3] whose corners are all kept [V], renumbered."""
    inside = faces[kept[faces].all(1)]
    return (np.cumsum(kept) - 1)[inside]


@dataclass(frozen=True)
class Submission:
    """What a submission folder holds and lacks."""

    folder: Path
    written: int
    missing: tuple[str, ...]
    refused: tuple[str, ...]

    @property
    def is_complete(self) -> bool:
        """Whether every listed image is in it."""
        return not self.missing and not self.refused


def write_submission(folder: Path, data: NowData, predictions: Path) -> Submission:
    """Copy predictions as the benchmark reads them: SUBJECT/CHALLENGE/STEM.obj (positions and triangles) and .npy.

    Works for the test set too, whose scans are not public. Every file is read back and compared before it counts.
    """
    missing, refused = [], []
    for image in data.images:
        prediction = find_prediction(predictions, image)
        if prediction.mesh is None or prediction.landmarks is None:
            missing.append(f"{image.name}: no {prediction.lacks}")
            continue
        try:
            _copy_clean(folder, prediction)
        except InputError as error:
            refused.append(f"{image.name}: {error}")
    return Submission(folder, len(data.images) - len(missing) - len(refused), tuple(missing), tuple(refused))


def _copy_clean(folder: Path, prediction: Prediction) -> None:
    image = prediction.image
    if prediction.mesh is None or prediction.landmarks is None:
        raise InputError(f"{image.name} has no {prediction.lacks}.")
    mesh, landmarks = read_mesh(prediction.mesh), read_seven(prediction.landmarks)
    for problem in check_numbers(mesh):
        raise InputError(problem.message)
    target = make_folder(folder / image.subject / image.challenge)
    write_obj(target / f"{image.stem}.obj", mesh.vertices, mesh.faces)
    write_array(target / f"{image.stem}.npy", landmarks)
    again = read_mesh(target / f"{image.stem}.obj")
    size = float(np.ptp(mesh.vertices, axis=0).max())
    same = again.vertices.shape == mesh.vertices.shape and np.array_equal(again.faces, mesh.faces)
    if not same or np.abs(again.vertices - mesh.vertices).max() > 1e-7 * max(
        size, np.abs(mesh.vertices).max()
    ):
        raise InputError("the written mesh does not read back as it was. Is the disk full?")
