"""The Feng and REALY benchmarks on made-up data with known answers."""

import json
import shutil

import numpy as np
import pytest
from typer.testing import CliRunner

from deca_cli.cli.evaluate import evaluate
from deca_cli.evaluate.meshes import Mesh, write_obj
from deca_cli.evaluate.nonrigid import Keypoints, register
from deca_cli.evaluate.official import faces_between
from deca_cli.evaluate.realy import (
    BENT_BY,
    KEYPOINTS,
    REGIONS,
    RealyScan,
    Topology,
    fit_rotation,
    measure_realy,
    merge_vertices,
)
from deca_cli.evaluate.synthetic_faces import random_similarity, scan_points, synthetic_head, write_prediction

HEAD = synthetic_head()


def call(*arguments: object):
    return CliRunner().invoke(evaluate, [str(a) for a in arguments])


@pytest.fixture
def stirling(tmp_path):
    """One scan, 0.75 mm off everywhere, with predictions in HQ and LQ."""
    (tmp_path / "scans" / "F").mkdir(parents=True)
    (tmp_path / "marks").mkdir()
    write_obj(tmp_path / "scans" / "F" / "F1001_N.obj", scan_points(HEAD, 0.75, 1500), np.zeros((0, 3), int))
    rows = "".join(f"{i + 1} {x:.6f} {y:.6f} {z:.6f}\n" for i, (x, y, z) in enumerate(HEAD.landmarks))
    (tmp_path / "marks" / "F1001_N.lnd").write_text(rows)
    for i, subset in enumerate(("HQ", "LQ", "LQ")):
        write_prediction(
            tmp_path / "predictions" / subset / "F1001_N", str(i), HEAD, random_similarity(i, 0.01)
        )
    return tmp_path


def run_feng(folder, *more: object):
    return call(
        *(
            "feng",
            folder / "predictions",
            "--scans",
            folder / "scans",
            "--scan-landmarks",
            folder / "marks",
            "-j",
            1,
        ),
        *more,
    )


def test_feng_finds_the_known_error(stirling):
    done = run_feng(stirling, "-o", stirling / "out", "--no-plots")
    assert done.exit_code == 0, done.output
    assert "| all | 3 | 0.750 | 0.000 | 0.750 |" in done.output
    assert "| LQ | 2 | 0.750 | 0.000 | 0.750 |" in done.output
    rows = (stirling / "out" / "distances" / "HQ" / "F1001_N" / "0_distances.txt").read_text().splitlines()
    vertex, distance = rows[0].split()
    assert vertex.isdigit()
    assert float(distance) == pytest.approx(0.75, abs=1e-5)


def test_feng_measures_a_smaller_region_than_now(stirling):
    def measured(factor: float) -> int:
        folder = stirling / f"out{factor}"
        run_feng(stirling, "-o", folder, "--no-plots", "--radius-factor", factor)
        return len((folder / "distances" / "HQ" / "F1001_N" / "0_distances.txt").read_text().splitlines())

    assert measured(1.0) < measured(1.2) <= measured(1.4)


def test_feng_refuses_a_wrong_landmark_order(stirling):
    path = stirling / "predictions" / "HQ" / "F1001_N" / "0.npy"
    np.save(path, np.load(path)[::-1])
    done = run_feng(stirling)
    assert done.exit_code == 1
    assert "landmarks are in a wrong order" in done.output
    assert "| all | 2 |" in done.output


def test_feng_names_what_is_missing(stirling):
    shutil.move(stirling / "marks" / "F1001_N.lnd", stirling / "marks" / "F1002_N.lnd")
    assert "no F1001_N.lnd below" in run_feng(stirling).output
    (stirling / "predictions" / "HQ" / "F1001_N" / "0.npy").unlink()
    shutil.move(stirling / "marks" / "F1002_N.lnd", stirling / "marks" / "F1001_N.lnd")
    assert "expected 0.npy, .txt or .lnd with seven 3D points" in run_feng(stirling).output


def test_bad_files_cost_only_their_own_images(stirling):
    """A cut mesh, landmarks that are no text, no scan of that name: the others are measured and written."""
    folder = stirling / "predictions" / "LQ" / "F1001_N"
    (folder / "1.obj").write_bytes((folder / "1.obj").read_bytes()[:999])
    (folder / "2.npy").unlink()
    (folder / "2.txt").write_bytes(b"\xff\xfe1 2 3")
    write_prediction(stirling / "predictions" / "HQ" / "F1002_N", "0", HEAD, random_similarity(0, 1))
    done = run_feng(stirling, "-o", stirling / "out", "--no-plots")
    assert done.exit_code == 1
    assert "| all | 1 | 0.750 | 0.000 | 0.750 |" in done.output
    assert "3 predictions refused and left out of all numbers" in done.output
    images = json.loads((stirling / "out" / "results.json").read_text())["images"]
    assert {i["image"]: i["state"] for i in images} == {
        "HQ/F1001_N/0": "measured",
        "HQ/F1002_N/0": "refused",
        "LQ/F1001_N/1": "refused",
        "LQ/F1001_N/2": "refused",
    }
    report = (stirling / "out" / "report.md").read_text()
    assert "no F1002_N.obj below" in report
    assert "![" not in report


def test_feng_results_say_how_they_were_measured(stirling):
    run_feng(stirling, "-o", stirling / "out", "--no-plots", "--radius-factor", 1.5, "--force")
    content = json.loads((stirling / "out" / "results.json").read_text())
    assert (content["radius_factor"], content["forced"]) == (1.5, True)


BANDS = {"nose": (-25, 10), "mouth": (-60, -25), "forehead": (20, 70), "cheek": (-50, 0)}


def made_up_realy():
    """Topology with 85 keypoints on vertices, and a scan whose regions are patches of the head itself."""
    random = np.random.default_rng(0)
    x, y, z = HEAD.mesh.vertices.T
    chosen = random.choice(np.flatnonzero((z > 50) & (np.abs(y) < 60)), KEYPOINTS, replace=False)
    regions = {}
    for name, (low, high) in BANDS.items():
        kept = (z > 40) & (low < y) & (y < high)
        regions[name] = merge_vertices(Mesh(HEAD.mesh.vertices[kept], faces_between(kept, HEAD.mesh.faces)))
        inside = np.flatnonzero((z > 60) & (low + 6 < y) & (y < high - 6) & (np.abs(x) < 50))
        own = list(BENT_BY[name])
        chosen[own] = random.choice(inside, len(own), replace=False)
    triangles = np.array([np.flatnonzero((HEAD.mesh.faces == v).any(1))[0] for v in chosen])
    weights = (HEAD.mesh.faces[triangles] == chosen[:, None]).astype(float)
    topology = Topology(HEAD.mesh.faces, len(HEAD.mesh.vertices), triangles, weights)
    return topology, RealyScan(topology.keypoints(HEAD.mesh.vertices), regions, 1.0)


def test_realy_gives_zero_for_the_scan_itself_in_any_pose_and_size():
    topology, scan = made_up_realy()
    errors = measure_realy(random_similarity(5, 0.013).apply(HEAD.mesh.vertices), topology, scan)
    assert set(errors) == set(REGIONS)
    assert all(e.mean() < 0.01 for e in errors.values())


def test_realy_errors_are_in_millimetres_and_grow_with_the_difference():
    topology, scan = made_up_realy()
    means = []
    for stretch in (1.02, 1.06):
        errors = measure_realy(HEAD.mesh.vertices * [1, 1, stretch], topology, scan)
        means.append(np.array([errors[name].mean() for name in REGIONS]))
    assert (means[0] > 0.02).all()
    assert (means[1] > means[0]).all()
    doubled = measure_realy(
        HEAD.mesh.vertices * [1, 1, 1.02], topology, RealyScan(scan.keypoints, scan.regions, 2.0)
    )
    assert [doubled[name].mean() for name in REGIONS] == pytest.approx(2 * means[0])


def test_bending_reaches_a_bent_target_and_its_keypoints():
    vertices = np.stack([*np.meshgrid(np.arange(20.0), np.arange(20.0)), np.zeros((20, 20))], -1).reshape(
        -1, 3
    )
    i = np.arange(400).reshape(20, 20)
    a, b, c, d = (q.ravel() for q in (i[:-1, :-1], i[:-1, 1:], i[1:, :-1], i[1:, 1:]))
    faces = np.concatenate([np.stack([a, b, d], -1), np.stack([a, d, c], -1)])
    target = vertices + np.outer(np.sin(vertices[:, 0] / 5), [0, 0, 2.0])
    corners = np.array([0, 19, 380, 399, 210])
    for keypoints in (None, Keypoints(corners, target[corners])):
        bent = register(vertices, faces, target, keypoints)
        assert np.linalg.norm(bent - target, axis=1).mean() < 0.15


def test_rotation_fit_undoes_a_similarity():
    motion = random_similarity(2, 0.02)
    points = HEAD.landmarks
    scale, rotation, shift = fit_rotation(motion.apply(points), points, free_scale=True)
    assert scale == pytest.approx(50)
    assert scale * motion.apply(points) @ rotation.T + shift == pytest.approx(points)


@pytest.fixture
def realy_folder(tmp_path):
    topology, scan = made_up_realy()
    for folder in ("predictions", "REALY_HIFI3D_keypoints", "REALY_scan_region/1"):
        (tmp_path / folder).mkdir(parents=True)
    write_obj(tmp_path / "template.obj", HEAD.mesh.vertices, HEAD.mesh.faces)
    rows = [[int(t), *w[:2]] for t, w in zip(topology.triangles, topology.weights.tolist(), strict=True)]
    (tmp_path / "template.txt").write_text(json.dumps(rows))
    write_obj(tmp_path / "REALY_HIFI3D_keypoints" / "1.obj", scan.keypoints, np.zeros((0, 3), int))
    for name, mesh in scan.regions.items():
        write_obj(tmp_path / "REALY_scan_region" / "1" / f"{name}.obj", mesh.vertices, mesh.faces)
    (tmp_path / "metrical_scale.txt").write_text("1.0\n2.0\n")
    write_obj(tmp_path / "predictions" / "1_2.obj", 0.02 * HEAD.mesh.vertices, HEAD.mesh.faces)
    return tmp_path


def run_realy(folder, *more: object):
    return call(
        *("realy", folder / "predictions", "--data", folder, "--template", folder / "template.obj", "-j", 1),
        *more,
    )


def test_realy_command_reads_and_writes(realy_folder):
    done = run_realy(realy_folder, "-o", realy_folder / "out")
    assert done.exit_code == 0, done.output
    assert "| nose | mouth | forehead | cheek | all |" in done.output
    result = json.loads((realy_folder / "out" / "results.json").read_text())["images"][0]
    assert result["image"] == "1_2"
    assert result["mean"] < 0.01
    assert (realy_folder / "out" / "REALY_error.txt").read_text().startswith("1_2\t\t0.0")


def test_bad_meshes_cost_only_their_own_numbers(realy_folder):
    write_obj(realy_folder / "predictions" / "anna.obj", HEAD.mesh.vertices, HEAD.mesh.faces)
    write_obj(realy_folder / "predictions" / "1_3.obj", np.nan * HEAD.mesh.vertices, HEAD.mesh.faces)
    write_obj(realy_folder / "predictions" / "1_4.obj", 0 * HEAD.mesh.vertices, HEAD.mesh.faces)
    (realy_folder / "predictions" / "1_5.obj").write_text("")
    done = run_realy(realy_folder, "-o", realy_folder / "out")
    assert done.exit_code == 1
    assert "NMSE in mm, 1 predictions." in done.output
    report = (realy_folder / "out" / "report.md").read_text()
    assert [name for name in ("1_2", "1_3", "1_4", "1_5", "anna") if f"- {name}: " in report] == [
        "1_3",
        "1_4",
        "1_5",
        "anna",
    ]


@pytest.mark.parametrize("content", ["no json", "[[1, 0]]", "[[-1, 0, 0]]", '{"a": 1}'])
def test_keypoints_that_do_not_fit_are_named(realy_folder, content):
    (realy_folder / "template.txt").write_text(content)
    done = run_realy(realy_folder)
    assert done.exit_code == 1
    assert "template.txt: " in done.output
    assert "unexpected" not in done.output


def test_realy_names_what_is_wrong(realy_folder):
    write_obj(realy_folder / "predictions" / "1_2.obj", HEAD.mesh.vertices[:-1], HEAD.mesh.faces[:9])
    assert "they must share one topology" in run_realy(realy_folder).output
    (realy_folder / "metrical_scale.txt").unlink()
    assert "metrical_scale.txt is missing" in run_realy(realy_folder).output
    shutil.move(realy_folder / "predictions" / "1_2.obj", realy_folder / "predictions" / "anna.obj")
    assert "the name must begin with the subject's number" in run_realy(realy_folder).output
