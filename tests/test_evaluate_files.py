"""Files of an evaluation are whole or absent, and what cannot be read or written is said in a sentence."""

import json
import shutil
import sys

import numpy as np
import pytest
from matplotlib import colormaps
from typer.testing import CliRunner

from deca_cli.cli.evaluate import evaluate
from deca_cli.errors import InputError, OutputError
from deca_cli.evaluate.files import read_array, read_json, read_text, write_json, write_rows
from deca_cli.evaluate.meshes import read_mesh, write_coloured_ply, write_obj
from deca_cli.evaluate.plots import new_figure, save_figure
from deca_cli.evaluate.synthetic_faces import write_dataset, write_predictions
from deca_cli.evaluate.worst import error_colours

TRIANGLE = (np.eye(3), np.array([[0, 1, 2]]))
WRITERS = {
    "mesh.obj": lambda path: write_obj(path, *TRIANGLE),
    "mesh.ply": lambda path: write_coloured_ply(path, *TRIANGLE, np.zeros((3, 3), np.uint8)),
    "rows.csv": lambda path: write_rows(path, ["a"], [[1]]),
    "all.json": lambda path: write_json(path, {"a": 1}),
    "plot.png": lambda path: save_figure(new_figure(1, 1), path.with_suffix("")),
}


@pytest.fixture(scope="module")
def made_up(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made_up")
    heads = write_dataset(folder / "data", subjects=1, pairs=1000)
    write_predictions(folder / "predictions", heads)
    return folder


def call(*arguments: object):
    return CliRunner().invoke(evaluate, [str(a) for a in arguments])


def run_now(made_up, *more: object):
    return call("now", made_up / "predictions", "--data", made_up / "data", "-j", 1, *more)


@pytest.mark.parametrize("name", WRITERS)
def test_a_failed_write_is_a_sentence_and_leaves_nothing(tmp_path, name):
    (tmp_path / name).mkdir()
    with pytest.raises(OutputError, match=f"cannot write .*{name}"):
        WRITERS[name](tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_results_in_the_place_of_a_file_are_refused(made_up, tmp_path):
    (tmp_path / "file").touch()
    done = run_now(made_up, "-o", tmp_path / "file", "--no-plots")
    assert done.exit_code == 1
    assert "cannot write" in done.output
    assert "unexpected" not in done.output


def test_forced_runs_measure_what_can_be_measured(made_up, tmp_path):
    predictions = shutil.copytree(made_up / "predictions", tmp_path / "predictions")
    for mesh in sorted(predictions.rglob("*.obj"))[:3]:
        mesh.write_text("")
    done = call(
        "now", predictions, "--data", made_up / "data", "-j", 1, "-o", tmp_path, "--no-plots", "--force"
    )
    assert done.exit_code == 0, done.output
    assert "3 of 4 images refused" in done.output
    assert (tmp_path / "report.md").read_text().count("no vertices") == 3
    assert json.loads((tmp_path / "results.json").read_text())["forced"]


def test_worst_images_are_meshes_where_there_is_no_matplotlib(made_up, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    done = run_now(made_up, "-o", tmp_path, "--no-plots", "--worst", 3)
    assert done.exit_code == 0, done.output
    worst = sorted((tmp_path / "worst").iterdir())
    assert len(worst) == 3
    assert sorted(path.name for path in worst[0].iterdir()) == ["prediction.obj", "scan_error.ply"]
    assert read_mesh(worst[0] / "scan_error.ply").has_vertex_colours
    assert "![" not in (tmp_path / "report.md").read_text()


def test_colours_of_errors_are_those_of_the_pictures():
    errors = np.linspace(-1, 7, 100)
    wanted = colormaps["viridis"](np.clip(errors / 5, 0, 1), bytes=True)[:, :3].astype(int)
    assert np.abs(error_colours(errors) - wanted).max() <= 4  # a step of the table


def test_nan_becomes_null(tmp_path):
    write_json(tmp_path / "a.json", {"a": [1.0, float("nan")], "b": (float("inf"),)})
    assert json.loads((tmp_path / "a.json").read_text()) == {"a": [1.0, None], "b": [None]}


@pytest.mark.parametrize(
    ("reader", "content"),
    [
        (read_array, b""),
        (read_array, b"PK\x03\x04"),
        (read_array, b"\x93NUMPY"),
        (read_text, b"\xff\xfe"),
        (read_json, b"{"),
        (read_json, b"\xff"),
    ],
)
def test_damaged_files_are_named(tmp_path, reader, content):
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(InputError, match="file: "):
        reader(tmp_path / "file")
    with pytest.raises(InputError, match=r"cannot read .*nowhere"):
        reader(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--model", "open", "--device", "gpu"), "--device"),
        (("-j", "0"), "--workers"),
        (("-j", "-3"), "--workers"),
        (("--worst", "-1"), "--worst"),
        (("--challenge", "smile", "--model", "open"), "NoW's challenges are"),
        (("--challenge", "selfie", "--submission", "x"), "leave out either"),
    ],
)
def test_wrong_arguments_are_refused_before_anything_is_done(made_up, tmp_path, arguments, says):
    done = run_now(made_up, "-o", tmp_path / "out", *arguments)
    assert done.exit_code in {1, 2}
    assert says in done.output
    assert "unexpected" not in done.output
    assert not (tmp_path / "out").exists()
