"""`deca reconstruct` with the official pack: the files it writes hold the official numbers."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from deca_cli.cli.app import app
from deca_cli.heads.camera import ndc_to_pixels
from deca_cli.packs.folders import official_folder
from deca_cli.packs.store import Pack

FORMATS = ("--obj", "--depth", "--landmarks", "--normals", "--images")


@pytest.fixture(scope="module")
def exported(parity_dir: Path) -> dict[str, np.ndarray]:
    with np.load(parity_dir / "mesh_export.npz") as archive:
        return dict(archive)


@pytest.fixture(scope="module")
def photo(exported: dict[str, np.ndarray]) -> int:
    return int(exported["photo_index"][0])


@pytest.fixture(scope="module")
def results(
    parity_dir: Path, official_pack: Pack, photo: int, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, str]:
    """The folder of the face, and what was said; the input is the official crop itself."""
    folder = tmp_path_factory.mktemp("reconstruct")
    with np.load(parity_dir / "codes.npz") as archive:
        crop = archive["images_u8"][photo]
    cv2.imwrite(str(folder / "crop.png"), crop.transpose(1, 2, 0)[..., ::-1])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DECA_HOME", str(folder / "home"))
        official_folder().parent.mkdir(parents=True)
        official_folder().symlink_to(official_pack.folder)
        words = [
            "reconstruct",
            str(folder / "crop.png"),
            "--no-crop",
            "-o",
            str(folder / "out"),
            "--device",
            "cpu",
        ]
        result = CliRunner().invoke(app, [*words, *FORMATS, "--threads", "1"])
    assert result.exit_code == 0, result.output
    return folder / "out" / "crop", result.output


def vertices_of(path: Path) -> np.ndarray:
    lines = (line.split() for line in path.read_text().splitlines() if line.startswith("v "))
    return np.array([[float(word) for word in words[1:4]] for words in lines])


def triangles_of(path: Path) -> np.ndarray:
    lines = (line.split() for line in path.read_text().splitlines() if line.startswith("f "))
    return np.array([[int(word.split("/")[0]) for word in words[1:]] for words in lines])


def test_the_official_model_is_taken_because_it_is_installed(results: tuple[Path, str]):
    folder, said = results
    assert "Model deca on cpu, as it is installed" in " ".join(said.split())
    assert json.loads((folder / "params.json").read_text())["model"]


def test_both_meshes_are_the_official_ones(results: tuple[Path, str], exported: dict[str, np.ndarray]):
    folder, _ = results
    coarse, dense = vertices_of(folder / "head.obj"), vertices_of(folder / "head_detail.obj")
    np.testing.assert_allclose(coarse, exported["coarse_verts"], atol=1.5e-6)
    np.testing.assert_allclose(dense, exported["dense_verts"], atol=1.5e-6)
    np.testing.assert_array_equal(triangles_of(folder / "head.obj"), exported["coarse_faces_1based"])
    first = exported["dense_faces_1based_first2000"]
    triangles = triangles_of(folder / "head_detail.obj")
    assert len(triangles) == exported["dense_faces_count"][0]
    np.testing.assert_array_equal(triangles[: len(first)], first)


def test_codes_and_landmarks_are_the_official_ones(
    results: tuple[Path, str], parity_dir: Path, official_pack: Pack, photo: int
):
    from official_release import CODE_NAMES, Release

    folder, _ = results
    release = Release(parity_dir, Path(), official_pack)
    with np.load(folder / "params.npz") as written:
        codes = {name: written[name] for name in written.files}
    for theirs, ours in CODE_NAMES.items():
        stored = release.arrays("codes")[theirs][photo].flatten()
        name = next(name for name in codes if name.endswith(ours))
        np.testing.assert_allclose(codes[name].flatten(), stored, atol=1e-5)
    head = official_pack.deca.decode(release.official_codes.select(slice(photo, photo + 1)))
    expected = ndc_to_pixels(head.landmarks2d[0], 224, 0.0).numpy()
    np.testing.assert_allclose(np.loadtxt(folder / "landmarks_2d.txt")[:, :2], expected, atol=1e-3)


def test_every_detail_file_is_there(results: tuple[Path, str]):
    folder, _ = results
    files = {file.name for file in folder.iterdir()}
    assert {
        "detail.jpg",
        "head_detail.obj",
        "texture.png",
        "depth.npy",
        "normals.png",
        "overlay.jpg",
    } <= files
    assert cv2.imread(str(folder / "detail.jpg")).std() > 10
