"""Rendered datasets: the truth fits the pictures, and the same seed gives the same set."""

import hashlib
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from deca_cli.cli.app import app
from deca_cli.errors import InputError, UsageError
from deca_cli.heads.assets import load_head
from deca_cli.heads.model import HeadModel
from deca_cli.packs.folders import pack_folder
from deca_cli.train.data.manifest import MANIFEST, read_description, walk_records
from deca_cli.train.data.synthetic_set import RenderSetSettings, render_set
from deca_cli.train.data.truth import read_truth
from small_dataset import open_loader

SETTINGS = RenderSetSettings(people=3, photos=2, size=32, held_out=0.3, seed=4)
HEAD = pack_folder("open") / "head.npz"


@pytest.fixture(scope="module")
def rendered(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sets") / "set"
    assert render_set(HEAD, folder, SETTINGS, "cpu") == 6
    return folder


def test_a_rendered_set_can_be_trained_on(rendered):
    assert read_description(rendered).people == 3
    batch = next(open_loader(rendered, image_size=32).batches())
    assert batch.images.std() > 0.05
    assert 0.1 < batch.masks.mean() < 0.9
    assert open_loader(rendered, split="held_out").people == 1


def test_the_truth_of_a_person_is_that_of_all_its_pictures(rendered):
    truth = read_truth(rendered)
    assert truth.people == ("person_00000", "person_00001", "person_00002")
    assert truth.splits == ("train", "train", "held_out")
    assert truth.pictures[:3] == ("person_00000/000", "person_00000/001", "person_00001/000")
    assert truth.expression.shape == (6, 52)
    assert truth.rotation.shape == (6, 3, 3)
    assert truth.light.shape == (6, 9, 3)
    assert not np.allclose(truth.shape[0], truth.shape[1])


def test_neutral_vertices_are_millimetres_of_the_head_model(rendered):
    truth = read_truth(rendered)
    vertices = truth.neutral_mm(["person_00002", "person_00000"])
    head = HeadModel(load_head(HEAD)[0])
    codes = torch.from_numpy(truth.shape[[2, 0]])
    expected = head(codes, torch.zeros(2, 52), torch.zeros(2, 6)) * 1000
    np.testing.assert_allclose(vertices, expected, atol=1e-2)
    assert 200 < np.ptp(vertices[0, :, 1]) < 400


def test_stored_landmarks_are_where_the_head_is_drawn(rendered):
    """Most points of the inner face lie on the picture of the bare face."""
    for one in walk_records(rendered / MANIFEST, {}):
        mask = cv2.imread(str(rendered / one.record.mask), cv2.IMREAD_GRAYSCALE)
        grown = cv2.dilate(mask, np.ones((5, 5), np.uint8))
        x, y = one.record.landmarks[17:].round().astype(int).T
        assert (grown[y, x] > 0).mean() > 0.4
        centre = (one.record.landmarks.min(axis=0) + one.record.landmarks.max(axis=0)) / 2
        assert centre == pytest.approx((len(mask) - 1) / 2, abs=0.5)
        size = np.ptp(one.record.landmarks, axis=0).max()
        assert len(mask) / size == pytest.approx(read_description(rendered).margin, rel=0.01)


def test_albedo_of_a_person_is_kept(rendered):
    albedo = read_truth(rendered).albedo("person_00001")
    assert albedo.shape == (192, 192, 3)
    assert albedo.std() > 5


def test_the_detail_of_held_out_people_is_kept(rendered):
    truth = read_truth(rendered)
    first, second = (truth.displacement(f"person_00002/{index:03d}") for index in range(2))
    assert first.shape == second.shape
    assert first.ndim == 2
    assert 1e-5 < np.abs(first).max() < 0.01
    assert not np.array_equal(first, second)  # wrinkles follow the expression
    assert truth.displacement("person_00000/000") is None


def test_the_same_seed_gives_the_same_set(rendered, tmp_path):
    render_set(HEAD, tmp_path / "again", SETTINGS, "cpu")

    def contents(folder) -> dict:
        return {
            path.relative_to(folder): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in folder.rglob("*")
            if path.is_file() and path.suffix != ".npz"  # zip archives hold times
        }

    assert contents(tmp_path / "again") == contents(rendered)
    np.testing.assert_array_equal(read_truth(rendered).shape, read_truth(tmp_path / "again").shape)


def test_a_finished_set_is_not_overwritten_and_an_unfinished_one_is(rendered, tmp_path):
    with pytest.raises(UsageError, match="holds a dataset already"):
        render_set(HEAD, rendered, SETTINGS, "cpu")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.tex").touch()
    with pytest.raises(UsageError, match="something else"):
        render_set(HEAD, tmp_path / "mine", SETTINGS, "cpu")


def test_the_command_says_what_it_made(tmp_path):
    words = ["train", "render-set", str(tmp_path / "set"), "--people", "2", "--photos", "1", "--size", "32"]
    result = CliRunner().invoke(app, [*words, "--device", "cpu", "--clean"])
    assert result.exit_code == 0, result.output
    assert "2, of these 1 held out" in result.output
    assert read_description(tmp_path / "set").pictures == 2


@pytest.mark.parametrize(
    ("people", "share", "expected"), [(10, 0.1, 1), (10, 0.0, 0), (2, 0.01, 1), (1, 0.5, 0), (3, 0.99, 2)]
)
def test_somebody_is_held_out_and_somebody_is_left(people, share, expected):
    assert RenderSetSettings(people=people, held_out=share).held_out_people == expected


def test_other_datasets_have_no_truth(tmp_path):
    with pytest.raises(InputError, match="only datasets of `deca train render-set` have"):
        read_truth(tmp_path)


def test_wrinkles_can_be_made_deeper_and_faces_left_uncovered(rendered, tmp_path):
    settings = replace(SETTINGS, plain=True, wrinkle_depth=3.0)
    assert settings.drawn().light.shadow == settings.drawn().glasses_share == 0
    render_set(HEAD, tmp_path / "deep", settings, "cpu")
    picture = "person_00002/000"
    plain, deep = (read_truth(folder).displacement(picture) for folder in (rendered, tmp_path / "deep"))
    inside = np.abs(3 * plain) < 0.0019  # metres; deeper ones are cut off at 2 mm
    assert np.abs(plain).max() > 1e-5
    np.testing.assert_allclose(deep[inside], 3 * plain[inside], atol=2e-6)
