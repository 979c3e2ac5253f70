"""Every case of the golden NoW set against the numbers of the official code, within the tolerances of its README."""

import json
import tarfile

import numpy as np
import pytest

from deca_cli.evaluate.landmark_rows import read_seven
from deca_cli.evaluate.meshes import read_mesh
from deca_cli.evaluate.now import Protocol, measure
from deca_cli.evaluate.now_data import find_prediction, open_now
from deca_cli.evaluate.now_run import read_scan
from deca_cli.evaluate.statistics import percent_within, pool, summarise

RUNS = {
    "nonmetrical": Protocol(),
    "metrical": Protocol(metrical=True, unit="m"),
    "metrical_mm": Protocol(metrical=True, unit="mm"),
}


@pytest.fixture(scope="module")
def golden(now_dir, tmp_path_factory):
    """Folder with dataset/, predictions/, predictions_mm/."""
    if (now_dir / "dataset").is_dir():
        return now_dir
    folder = tmp_path_factory.mktemp("now")
    with tarfile.open(now_dir / "data.tar.gz") as archive:
        archive.extractall(folder, filter="data")
    return folder


@pytest.fixture(scope="module", params=RUNS)
def run(request, golden, now_dir):
    """(expected numbers, expected distances, measurements by image name, predictions by image name)."""
    expected = json.loads((now_dir / "expected" / "summary.json").read_text())["runs"][request.param]
    data = open_now(golden / "dataset", image_list=golden / "dataset" / expected["image_list"])
    measured, meshes = {}, {}
    for image in data.images:
        prediction = find_prediction(golden / expected["prediction_folder"], image)
        if prediction.is_complete:
            scan = read_scan(data.scan(image.subject), data.landmarks(image.subject))
            meshes[image.name] = mesh = read_mesh(prediction.mesh)
            measured[image.name] = measure(scan, mesh, read_seven(prediction.landmarks), RUNS[request.param])
    with np.load(now_dir / "expected" / f"distances_{request.param}.npz") as file:
        distances = {name.replace("__", "/"): file[name] for name in file.files}
    return expected, distances, measured, meshes


def test_same_images_are_measured_and_missing(run):
    expected, distances, measured, _ = run
    assert sorted(measured) == sorted(distances)
    assert {i["image"] for i in expected["images"] if i["missing"]}.isdisjoint(measured)
    assert sum(i["missing"] for i in expected["images"]) == expected["missing"]


def test_every_distance_is_the_official_one(run):
    _, distances, measured, _ = run
    for name, result in measured.items():
        assert len(result.distances) == len(distances[name]), name
        assert np.abs(result.distances - distances[name]).max() < 3e-3, name


def test_image_statistics_and_steps_are_the_official_ones(run):
    expected, _, measured, _ = run
    for entry in (i for i in expected["images"] if not i["missing"]):
        result = measured[entry["image"]]
        assert int(result.kept.sum()) == entry["crop"]["kept_vertices"]
        assert len(result.kept) == entry["crop"]["scan_vertices"]
        assert result.distances.mean() == pytest.approx(entry["stats"]["mean"], abs=5e-5)
        assert np.median(result.distances) == pytest.approx(entry["stats"]["median"], abs=5e-4)
        assert result.steps == entry["refinement"]["accepted_steps"]


def test_alignment_is_the_official_one(run):
    expected, _, measured, meshes = run
    for entry in (i for i in expected["images"] if not i["missing"]):
        result = measured[entry["image"]]
        fit = entry["procrustes"]
        assert result.fit.scale == pytest.approx(fit["scale"], rel=1e-6)
        assert result.fit.rotation == pytest.approx(np.array(fit["rotation"]), abs=1e-6)
        assert result.fit.translation == pytest.approx(np.array(fit["translation"]), abs=1e-3)
        aligned = result.total.apply(meshes[entry["image"]].vertices)
        for vertex, place in entry["aligned_vertices"].items():
            assert aligned[int(vertex)] == pytest.approx(place, abs=1e-2)


def test_pooled_statistics_per_challenge_are_the_official_ones(run):
    expected, _, measured, _ = run
    groups = {"overall": expected["overall"], **expected["per_challenge"]}
    for challenge, numbers in groups.items():
        distances = pool(
            [r.distances for n, r in measured.items() if challenge in ("overall", n.split("/")[1])]
        )
        summary = summarise(distances)
        assert summary.count == numbers["n"]
        for ours, theirs in ((summary.median, "median"), (summary.mean, "mean"), (summary.std, "std")):
            assert ours == pytest.approx(numbers[theirs], abs=1e-4), (challenge, theirs)
        assert summary.percent_within == pytest.approx(numbers["percent_within_threshold"], abs=0.02)


def test_plotted_curve_is_the_official_one(run):
    expected, _, measured, _ = run
    read = percent_within(pool([r.distances for r in measured.values()]), np.arange(81) / 10)
    assert read.tolist() == pytest.approx(expected["overall"]["official_histogram_curve"], abs=0.05)
