"""`deca evaluate now` as a whole, on made-up scans with a known answer."""

import csv
import json
import shutil
import subprocess
import sys
from concurrent.futures.process import BrokenProcessPool

import numpy as np
import pytest
from typer.testing import CliRunner

from deca_cli.cli.evaluate import evaluate
from deca_cli.errors import DecaError, InputError
from deca_cli.evaluate import run_jobs
from deca_cli.evaluate.meshes import read_mesh
from deca_cli.evaluate.now import Protocol
from deca_cli.evaluate.now_data import open_now
from deca_cli.evaluate.now_run import run_now
from deca_cli.evaluate.synthetic_faces import write_dataset, write_predictions

QUICK = ("--no-plots", "--worst", 0)


@pytest.fixture(scope="module")
def made_up(tmp_path_factory):
    """Folder with data/ and predictions/: two subjects, four images each, all 0.75 mm off everywhere."""
    folder = tmp_path_factory.mktemp("made_up")
    heads = write_dataset(folder / "data", pairs=2000)
    write_predictions(folder / "predictions", heads)
    return folder


@pytest.fixture
def predictions(made_up, tmp_path):
    return shutil.copytree(made_up / "predictions", tmp_path / "predictions")


def call(*arguments: object):
    return CliRunner().invoke(evaluate, [str(a) for a in arguments])


def test_run_writes_every_result(made_up, tmp_path):
    out = tmp_path / "out"
    done = call("now", made_up / "predictions", "--data", made_up / "data", "-o", out, "-j", 1, "--worst", 1)
    assert done.exit_code == 0, done.output
    assert "0.75   0.75   0.00" in done.output
    results = json.loads((out / "results.json").read_text())
    assert results["measured"] == results["listed"] == 8
    assert results["overall"]["median"] == pytest.approx(0.75, abs=1e-4)
    assert set(results["challenges"]) == {
        "multiview_neutral",
        "multiview_expressions",
        "multiview_occlusions",
        "selfie",
    }
    with (out / "images.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 8
    assert all(float(row["mean_mm"]) == pytest.approx(0.75, abs=1e-4) for row in rows)
    names = (
        "report.md",
        "subjects.csv",
        "challenges.csv",
        "cumulative.png",
        "cumulative.svg",
        "subjects.png",
    )
    assert all((out / name).stat().st_size > 100 for name in names)
    worst = next((out / "worst").iterdir())
    assert read_mesh(worst / "scan_error.ply").has_vertex_colours
    assert (worst / "picture.png").is_file()


def test_official_files_hold_what_the_official_tools_read(made_up, tmp_path):
    call(
        "now",
        made_up / "predictions",
        "--data",
        made_up / "data",
        "-o",
        tmp_path,
        "-j",
        1,
        *QUICK,
        "--method",
        "X",
    )
    content = np.load(tmp_path / "X_computed_distances.npy", allow_pickle=True).item()
    assert set(content) == {"computed_distances", "num_missing_files", "input_files"}
    assert content["num_missing_files"] == 0
    assert len(content["computed_distances"]) == len(content["input_files"]) == 8
    lines = (tmp_path / "X_computed_distances.npy.meanmedian").read_text().splitlines()
    assert [float(line) for line in lines] == pytest.approx([0.75, 0.75], abs=1e-4)


def test_one_challenge_leaves_the_others_out_without_calling_them_missing(made_up, tmp_path):
    done = call(
        *("now", made_up / "predictions", "--data", made_up / "data", "-o", tmp_path, "-j", 1, *QUICK),
        *("--challenge", "selfie", "--method", "X"),
    )
    assert done.exit_code == 0
    content = np.load(tmp_path / "X_computed_distances_selfie.npy", allow_pickle=True).item()
    assert len(content["computed_distances"]) == 2
    assert content["num_missing_files"] == 0


def test_missing_images_are_listed_and_fail_a_strict_run(made_up, predictions, tmp_path):
    next(predictions.glob("*00000/selfie/*.npy")).unlink()
    shutil.rmtree(predictions / "SELFTEST_00001" / "selfie")
    out = tmp_path / "out"
    arguments = ("now", predictions, "--data", made_up / "data", "-o", out, "-j", 1, *QUICK)
    done = call(*arguments)
    assert done.exit_code == 0
    assert "2 of 8 images missing" in done.output
    assert "SELFTEST_00000/selfie/IMG_0003.jpg (no landmarks)" in done.output
    assert "- SELFTEST_00001/selfie/IMG_0003.jpg: no mesh and landmarks" in (out / "report.md").read_text()
    assert call(*arguments, "--strict").exit_code == 1


def swap_left_and_right(folder):
    for path in folder.glob("*/*/*.npy"):
        np.save(path, np.load(path)[[3, 2, 1, 0, 4, 6, 5]])


def test_wrong_landmark_order_is_refused_and_measured_only_when_forced(made_up, predictions, tmp_path):
    swap_left_and_right(predictions)
    arguments = (
        "now",
        predictions,
        "--data",
        made_up / "data",
        "-o",
        tmp_path / "out",
        "-j",
        1,
        *QUICK,
    )
    done = call(*arguments)
    assert done.exit_code == 1
    assert "left and right are swapped" in done.output
    assert "stopped after 3 predictions" in done.output
    assert not (tmp_path / "out" / "results.json").exists()
    forced = call(*arguments, "--force")
    assert forced.exit_code == 0
    assert json.loads((tmp_path / "out" / "results.json").read_text())["overall"]["mean"] > 0.76


def test_single_unreadable_prediction_is_refused_by_name(made_up, predictions, tmp_path):
    broken = predictions / "SELFTEST_00000" / "selfie" / "IMG_0003.obj"
    broken.write_text("not a mesh\n")
    arguments = ("now", predictions, "--data", made_up / "data", "-o", tmp_path, "-j", 1, *QUICK)
    done = call(*arguments)
    assert done.exit_code == 1
    assert "1 of 8 predictions cannot give a meaningful number" in done.output
    assert "no vertices ('v x y z' lines)" in done.output
    forced = call(*arguments, "--force")
    assert forced.exit_code == 0
    assert "1 of 8 images refused" in forced.output


def test_no_prediction_at_all_shows_the_expected_layout(made_up, tmp_path):
    done = call("now", tmp_path, "--data", made_up / "data", *QUICK)
    assert done.exit_code == 1
    assert "for example, SELFTEST_00000/multiview_neutral/IMG_0000.obj and IMG_0000.npy there" in done.output


def test_wrong_names_are_answered_with_the_right_ones(made_up, tmp_path):
    base = ("now", made_up / "predictions", "--data", made_up / "data", *QUICK, "-o", tmp_path)
    assert "'inch' is not m, cm or mm" in call(*base, "--unit", "inch").output
    assert "NoW's challenges are multiview_neutral" in call(*base, "--challenge", "smile").output
    assert "does not look like the NoW data set" in call("now", tmp_path, "--data", tmp_path).output


def test_kept_results_are_reused_until_a_file_changes(made_up, predictions, tmp_path):
    data = open_now(made_up / "data")
    keep = tmp_path / "kept"
    first = run_now(data, predictions, Protocol(), workers=1, keep=keep)
    marked = keep / "SELFTEST_00000__multiview_neutral__IMG_0000.jpg.npz"
    with np.load(marked) as file:
        changed = {**file, "distances": file["distances"] + 1}
    np.savez(marked, **changed)
    again = run_now(data, predictions, Protocol(), workers=1, keep=keep)
    assert again[0].distances == pytest.approx(first[0].distances + 1)  # taken from the kept file
    assert again[1].distances.tolist() == first[1].distances.tolist()
    mesh = predictions / "SELFTEST_00000" / "multiview_neutral" / "IMG_0000.obj"
    mesh.write_text(mesh.read_text() + "\n")
    assert (
        run_now(data, predictions, Protocol(), workers=1, keep=keep)[0].distances.tolist()
        == first[0].distances.tolist()
    )
    metrical = run_now(data, predictions, Protocol(metrical=True), workers=1, keep=keep, force=True)
    assert metrical[0].total.scale == 1000


def test_many_processes_give_the_same_numbers_in_list_order(made_up):
    data = open_now(made_up / "data")
    one = run_now(data, made_up / "predictions", Protocol(), workers=1)
    two = run_now(data, made_up / "predictions", Protocol(), workers=2)
    assert [r.image for r in two] == list(data.images)
    assert all(a.distances.tolist() == b.distances.tolist() for a, b in zip(one, two, strict=True))


def test_check_alignment_writes_the_three_meshes(made_up, tmp_path):
    call(
        *(
            "now",
            made_up / "predictions",
            "--data",
            made_up / "data",
            "-o",
            tmp_path / "out",
            "-j",
            1,
            *QUICK,
        ),
        *("--check-alignment", tmp_path / "look", "--challenge", "selfie"),
    )
    folder = tmp_path / "look" / "SELFTEST_00000" / "selfie" / "IMG_0003.jpg"
    assert sorted(p.name for p in folder.iterdir()) == [
        "gt_scan_val.obj",
        "predicted.obj",
        "predicted_aligned.obj",
    ]
    aligned, given = read_mesh(folder / "predicted_aligned.obj"), read_mesh(folder / "predicted.obj")
    assert np.ptp(aligned.vertices[:, 1]) > 100 * np.ptp(given.vertices[:, 1])


def test_submission_is_clean_complete_and_needs_no_scans(made_up, predictions, tmp_path):
    coloured = next(predictions.glob("*00000/selfie/*.obj"))
    lines = coloured.read_text().splitlines()
    coloured.write_text("\n".join(f"{line} 1 0 0" if line.startswith("v ") else line for line in lines))
    shutil.copy(made_up / "data" / "imagepathsvalidation.txt", tmp_path / "imagepathstest.txt")
    arguments = (
        "now",
        predictions,
        "--data",
        tmp_path,
        "--image-set",
        "test",
        "--submission",
        tmp_path / "send",
    )
    done = call(*arguments)
    assert done.exit_code == 0, done.output
    assert "8 predictions written and read back" in done.output
    sent = tmp_path / "send" / coloured.relative_to(predictions)
    assert not read_mesh(sent).has_vertex_colours
    assert np.load(sent.with_suffix(".npy")).shape == (7, 3)
    next(predictions.glob("*00001/selfie/*.npy")).unlink()
    done = call(*arguments)
    assert done.exit_code == 1
    assert "Missing: SELFTEST_00001/selfie/IMG_0003.jpg: no landmarks" in done.output


def test_scan_of_another_subject_is_refused(made_up, tmp_path):
    data = shutil.copytree(made_up / "data", tmp_path / "data")
    scan = data / "scans" / "SELFTEST_00000" / "scan.obj"
    scan.write_text("".join(f"v {900 + i} 900 900\n" for i in range(9)))
    result = run_now(open_now(data), made_up / "predictions", Protocol(), workers=1)[0]
    assert result.state == "refused"
    assert "they belong to another scan" in result.problems[0].message


def test_missing_scan_is_named(made_up, tmp_path):
    data = shutil.copytree(made_up / "data", tmp_path / "data")
    shutil.rmtree(data / "scans" / "SELFTEST_00001")
    with pytest.raises(InputError, match=r"no scan \(\*.obj\)"):
        run_now(open_now(data), made_up / "predictions", Protocol(), workers=1)


def test_missing_matplotlib_is_said_before_the_measuring(made_up, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    done = call("now", made_up / "predictions", "--data", made_up / "data", "-o", tmp_path / "out", "-j", 1)
    assert done.exit_code == 1
    assert "pip install 'deca-cli[evaluate]' (in a clone: '.[evaluate]'), or add --no-plots" in done.output
    assert not (tmp_path / "out").exists()


def test_processes_that_die_are_explained(made_up, monkeypatch):
    def die(*_: object) -> None:
        raise BrokenProcessPool

    monkeypatch.setattr(run_jobs.ProcessPoolExecutor, "map", die)
    with pytest.raises(DecaError, match="fewer \\(-j 1\\)"):
        run_now(open_now(made_up / "data"), made_up / "predictions", Protocol(), workers=2)


def test_self_test_holds():
    done = call("self-test")
    assert done.exit_code == 0, done.output
    assert "All checks hold." in done.output


def test_command_line_loads_nothing_heavy():
    code = "import sys, deca_cli.cli.evaluate; print([m for m in ('numpy', 'numba', 'torch', 'matplotlib') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
