"""Measure all images of a NoW run: in parallel over scans, each result kept on disk so that a run can go on."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Literal

import numpy as np

from deca_cli.errors import InputError
from deca_cli.evaluate.alignment import Similarity
from deca_cli.evaluate.checks import Problem, check_prediction, is_refused, unusable
from deca_cli.evaluate.landmark_rows import read_picked_points, read_seven
from deca_cli.evaluate.meshes import read_mesh, read_obj_vertices
from deca_cli.evaluate.now import Protocol, Scan, measure
from deca_cli.evaluate.now_data import NowData, NowImage, Prediction, find_prediction
from deca_cli.evaluate.run_jobs import run_jobs
from deca_cli.export.atomic import make_folder, write_arrays

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

RESULT_VERSION = 1  # raise it when a number could change: kept results of older versions are measured again


@dataclass(frozen=True)
class Job:
    """One image to measure; everything a worker process needs."""

    prediction: Prediction
    scan: Path
    scan_landmarks: Path
    protocol: Protocol
    force: bool  # measure in spite of errors
    kept: Path | None  # result file to reuse or write

    @property
    def key(self) -> str:
        """Changes whenever the result could: files, protocol, version."""
        paths = (self.prediction.mesh, self.prediction.landmarks, self.scan, self.scan_landmarks)
        stamps = [(p.name, p.stat().st_size, p.stat().st_mtime_ns) for p in paths if p is not None]
        return json.dumps([RESULT_VERSION, asdict(self.protocol), self.force, stamps])


@dataclass(frozen=True)
class ImageResult:
    """What became of one image."""

    image: NowImage
    state: Literal["measured", "missing", "refused"]
    distances: NDArray[np.float32] = field(default_factory=lambda: np.zeros(0, np.float32))  # mm
    total: Similarity | None = None  # prediction file -> scan
    problems: tuple[Problem, ...] = ()
    lacks: str = ""  # what is missing

    @property
    def name(self) -> str:
        """SUBJECT/CHALLENGE/FILE."""
        return self.image.name

    @property
    def is_measured(self) -> bool:
        """Whether there are numbers."""
        return self.state == "measured"


def run_now(
    data: NowData,
    predictions: Path,
    protocol: Protocol,
    *,
    workers: int | None = None,
    keep: Path | None = None,
    force: bool = False,
    progress: Callable[[ImageResult], None] = lambda _: None,
) -> list[ImageResult]:
    """Measure every listed image, in list order.

    `workers` processes (default: one per core), `keep` a folder for the results per image; `progress` is called with
    each result. A refused or missing image is a result like any other.
    """
    found = [find_prediction(predictions, image) for image in data.images]
    if keep is not None:
        make_folder(keep)
    jobs = [_job(data, p, protocol, keep, force=force) for p in found if p.is_complete]
    jobs.sort(key=lambda job: job.prediction.image.subject)  # neighbours share a scan
    done = {}
    for result in run_jobs(evaluate_image, jobs, workers):
        done[result.image] = result
        progress(result)
    return [done.get(p.image) or ImageResult(p.image, "missing", lacks=p.lacks) for p in found]


def _job(data: NowData, prediction: Prediction, protocol: Protocol, keep: Path | None, *, force: bool) -> Job:
    image = prediction.image
    kept = keep / (image.name.replace("/", "__") + ".npz") if keep is not None else None
    return Job(prediction, data.scan(image.subject), data.landmarks(image.subject), protocol, force, kept)


def evaluate_image(job: Job) -> ImageResult:
    """Measure one image, or return the kept result when nothing changed since."""
    key = job.key
    kept = _load(job, key)
    if kept is not None:
        return kept
    try:
        result = _evaluate(job)
    except InputError as error:
        return ImageResult(job.prediction.image, "refused", problems=(unusable(error),))
    if job.kept is not None and result.state == "measured":
        _save(job.kept, key, result)
    return result


def _evaluate(job: Job) -> ImageResult:
    if job.prediction.mesh is None or job.prediction.landmarks is None:
        return ImageResult(job.prediction.image, "missing", lacks=job.prediction.lacks)
    scan = read_scan(job.scan, job.scan_landmarks)
    mesh, landmarks = read_mesh(job.prediction.mesh), read_seven(job.prediction.landmarks)
    problems = tuple(check_prediction(mesh, landmarks, scan.landmarks, job.protocol))
    if is_refused(problems, force=job.force):
        return ImageResult(job.prediction.image, "refused", problems=problems)
    measured = measure(scan, mesh, landmarks, job.protocol)
    return ImageResult(
        job.prediction.image, "measured", measured.distances.astype(np.float32), measured.total, problems
    )


@lru_cache(maxsize=2)
def read_scan(scan: Path, landmarks: Path) -> Scan:
    """A subject's ground truth; several images share one, so the last two are kept."""
    return Scan(read_obj_vertices(scan), read_picked_points(landmarks))


def _save(path: Path, key: str, result: ImageResult) -> None:
    if result.total is None:
        return
    arrays = {
        "key": np.array(key),
        "distances": result.distances,
        "scale": np.array(result.total.scale),
        "rotation": result.total.rotation,
        "translation": result.total.translation,
        "problems": np.array(json.dumps([asdict(p) for p in result.problems])),
    }
    write_arrays(path, arrays)


def _load(job: Job, key: str) -> ImageResult | None:
    if job.kept is None or not job.kept.is_file():
        return None
    with np.load(job.kept) as file:
        if str(file["key"]) != key:
            return None
        total = Similarity(float(file["scale"]), file["rotation"], file["translation"])
        problems = tuple(Problem(**p) for p in json.loads(str(file["problems"])))
        return ImageResult(job.prediction.image, "measured", file["distances"], total, problems)
