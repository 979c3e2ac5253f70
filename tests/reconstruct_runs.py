"""Running `deca reconstruct` with a stand-in model: fixtures and helpers of its tests."""

import json
import re

import pytest
from PIL import Image
from typer.testing import CliRunner

import stand_in
from deca_cli.cli.app import app
from deca_cli.export.owner import OWNER
from deca_cli.photo import sighting
from deca_cli.photo.face import Face

BOX = (150.0, 80.0, 250.0, 200.0)


@pytest.fixture(scope="module")
def pack(tmp_path_factory):
    return stand_in.make_pack(tmp_path_factory.mktemp("packs") / "pack")


@pytest.fixture(autouse=True)
def one_face_everywhere(monkeypatch):
    """Find one face in coloured photos and none in black ones, without the time that looking takes."""

    def find(photo, **_: object) -> object:
        return [Face(BOX, 0.9, None, "test")] if photo.pixels.any() else []

    monkeypatch.setattr(sighting, "find_faces", find)


@pytest.fixture
def run(pack, tmp_path):
    def invoke(*arguments: object, output="out", model=pack, charset="utf-8") -> object:
        words = [
            "reconstruct",
            *map(str, arguments),
            "--model",
            str(model),
            "--threads",
            "1",
            "--device",
            "cpu",
        ]
        result = CliRunner(charset=charset).invoke(app, [*words, "-o", str(tmp_path / output)])
        assert "Traceback" not in result.output
        return result

    return invoke


def make_photo(path, value=120, size=(320, 280)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (value, value // 2, 60)).save(path)
    return path


def black_photo(path):
    Image.new("RGB", (200, 200)).save(path)
    return path


def files_below(folder):
    """All files but the marks that say whose a result is."""
    return {
        file.relative_to(folder).as_posix()
        for file in folder.rglob("*")
        if file.is_file() and file.name != OWNER
    }


def params_of(folder):
    return json.loads((folder / "params.json").read_text("utf-8"))


def summary_of(output):
    return json.loads((output / "summary.json").read_text("utf-8"))


def message_of(result):
    """What was said on stderr, on one line (terminals wrap it)."""
    return re.sub(r"\s+", " ", result.stderr)
