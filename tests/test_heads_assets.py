import dataclasses
import hashlib
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest

from deca_cli.errors import ModelError, OutputError
from deca_cli.heads import npz
from deca_cli.heads.assets import AlbedoAssets, HeadAssets, load_head, save_head
from small_head import random_albedo, random_head, small_head


def same_heads(one: HeadAssets, other: HeadAssets) -> None:
    for field in dataclasses.fields(HeadAssets):
        have, want = getattr(one, field.name), getattr(other, field.name)
        if field.name == "masks":
            assert have.keys() == want.keys()
            for name in want:
                np.testing.assert_array_equal(have[name], want[name], err_msg=name)
        elif isinstance(want, np.ndarray):
            assert have.dtype == want.dtype, field.name
            np.testing.assert_array_equal(have, want, err_msg=field.name)
        else:
            assert have == want, field.name


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("assets", [small_head(), random_head()], ids=["small", "random"])
def test_a_saved_head_comes_back_unchanged(tmp_path: Path, assets: HeadAssets):
    albedo = random_albedo()
    save_head(tmp_path / "head.npz", assets, albedo)
    loaded, loaded_albedo = load_head(tmp_path / "head.npz")
    same_heads(loaded, assets)
    np.testing.assert_array_equal(loaded_albedo.mean, albedo.mean)
    np.testing.assert_array_equal(loaded_albedo.basis, albedo.basis)


def test_regions_name_vertices_and_survive_the_file(tmp_path: Path):
    regions = np.array([0, 0, 1, 2, 2, 1], np.uint8)
    save_head(
        tmp_path / "head.npz", small_head(vertex_regions=regions, region_names=("skin", "lips", "scalp"))
    )
    head = load_head(tmp_path / "head.npz")[0]
    assert head.region("lips").tolist() == [2, 5]
    assert head.region("scalp", "lips").tolist() == [2, 3, 4, 5]
    with pytest.raises(ModelError, match="no vertex region beard, only skin, lips, scalp"):
        head.region("beard")


def test_a_head_needs_no_albedo(tmp_path: Path):
    save_head(tmp_path / "head.npz", small_head())
    assert load_head(tmp_path / "head.npz")[1] is None


def test_a_compact_head_is_close_and_smaller(tmp_path: Path):
    assets, albedo = random_head(vertices=300), random_albedo(size=64)
    save_head(tmp_path / "exact.npz", assets, albedo)
    save_head(tmp_path / "compact.npz", assets, albedo, compact=True)
    loaded, loaded_albedo = load_head(tmp_path / "compact.npz")
    np.testing.assert_allclose(loaded.shape_basis, assets.shape_basis, rtol=5e-4, atol=1e-7)
    np.testing.assert_array_equal(loaded.template_vertices, assets.template_vertices)
    steps = np.abs(albedo.basis).max(axis=(0, 1, 2)) / 127
    assert (np.abs(loaded_albedo.basis - albedo.basis) <= steps / 2 + 1e-6).all()
    np.testing.assert_allclose(loaded_albedo.mean, albedo.mean, rtol=5e-4)
    assert (tmp_path / "compact.npz").stat().st_size < (tmp_path / "exact.npz").stat().st_size / 2


def test_a_component_of_zeros_survives_the_compact_form(tmp_path: Path):
    albedo = random_albedo()
    albedo.basis[..., 1] = 0
    save_head(tmp_path / "head.npz", small_head(), albedo, compact=True)
    assert (load_head(tmp_path / "head.npz")[1].basis[..., 1] == 0).all()


@pytest.mark.parametrize("compact", [False, True])
def test_the_same_head_gives_the_same_bytes_at_any_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compact: bool
):
    save_head(tmp_path / "one.npz", random_head(), random_albedo(), compact=compact)
    monkeypatch.setattr(time, "time", lambda: 2_000_000_000.0)
    monkeypatch.setattr(time, "localtime", lambda *_: time.gmtime(2_000_000_000))
    save_head(tmp_path / "two.npz", random_head(), random_albedo(), compact=compact)
    assert sha256(tmp_path / "one.npz") == sha256(tmp_path / "two.npz")


def test_fingerprints_tell_heads_apart_but_not_their_compression(tmp_path: Path):
    arrays = npz.to_arrays(random_head(), None, compact=False)
    npz.write_head_arrays(tmp_path / "stored.npz", arrays, compress=False)
    npz.write_head_arrays(tmp_path / "deflated.npz", arrays, compress=True)
    save_head(tmp_path / "other.npz", random_head(seed=1))
    prints = [npz.fingerprint(tmp_path / f"{name}.npz") for name in ("stored", "deflated", "other")]
    assert prints[0] == prints[1] != prints[2]


BROKEN = {
    "template_vertices": np.zeros((6, 2), np.float32),
    "faces": np.array([[0, 1, 6], [0, 1, 2], [0, 1, 2]], np.int32),
    "shape_basis": np.full((6, 3, 2), np.nan, np.float32),
    "expression_basis": np.zeros((5, 3, 1), np.float32),
    "expression_names": ("one", "two"),
    "pose_basis": np.zeros((35, 18), np.float32),
    "joint_regressor": np.zeros((4, 6), np.float32),
    "parents": np.array([-1, 2, 1, 1, 1], np.int32),
    "skin_weights": np.full((6, 5), 0.3, np.float32),
    "joint_names": ("root", "neck", "chin", "eye_left", "eye_right"),
    "uv_coordinates": np.zeros((6, 2), np.float64),
    "uv_faces": np.zeros((2, 3), np.int32),
    "inner_landmark_faces": np.zeros(68, np.int32),
    "inner_landmark_barycentrics": np.zeros((51, 3), np.float32),
    "contour_landmark_faces": np.full((79, 17), -1, np.int32),
    "contour_landmark_barycentrics": np.zeros((78, 17, 3), np.float32),
    "full_landmark_faces": np.full(68, 3, np.int32),
    "full_landmark_barycentrics": np.zeros((68, 3), np.float64),
    "face_eye_mask": np.zeros((8, 9), np.float32),
    "fixed_displacement": np.zeros((9, 9), np.float32),
    "masks": {"lips": np.zeros((4, 4), np.uint8)},
    "mirror_vertices": np.array([0, 1, 2, 3, 4, 9], np.int32),
    "vertex_regions": np.array([0, 0, 0, 0, 0, 1], np.uint8),
}


@pytest.mark.parametrize("name", BROKEN)
def test_an_array_that_does_not_fit_is_named_before_anything_is_written(tmp_path: Path, name: str):
    shown = "mask_lips" if name == "masks" else name
    with pytest.raises(ModelError, match=f"`{shown}`"):
        save_head(tmp_path / "head.npz", small_head(**{name: BROKEN[name]}))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "name", ["template_vertices", "shape_basis", "parents", "full_landmark_faces", "joint_names"]
)
def test_a_missing_array_is_named_with_the_file(tmp_path: Path, name: str):
    arrays = npz.to_arrays(small_head(), None, compact=False)
    del arrays[name]
    npz.write_head_arrays(tmp_path / "head.npz", arrays, compress=False)
    with pytest.raises(ModelError, match=f"head.npz.*`{name}`"):
        load_head(tmp_path / "head.npz")


def test_arrays_are_checked_when_loaded_too(tmp_path: Path):
    arrays = npz.to_arrays(small_head(), None, compact=False)
    arrays["faces"] = arrays["faces"] + 4
    npz.write_head_arrays(tmp_path / "head.npz", arrays, compress=False)
    with pytest.raises(ModelError, match=r"`faces` must lie in 0\.\.5"):
        load_head(tmp_path / "head.npz")


def test_a_misshapen_albedo_is_named(tmp_path: Path):
    albedo = AlbedoAssets(mean=np.zeros((3, 8, 8), np.float32), basis=np.zeros((3, 4, 4, 2), np.float32))
    with pytest.raises(ModelError, match="`albedo_basis`"):
        save_head(tmp_path / "head.npz", small_head(), albedo)


def test_a_newer_format_is_told_apart_from_damage(tmp_path: Path):
    arrays = npz.to_arrays(small_head(), None, compact=False) | {"format": np.array(2)}
    npz.write_head_arrays(tmp_path / "head.npz", arrays, compress=False)
    with pytest.raises(ModelError, match="format 2"):
        load_head(tmp_path / "head.npz")


def test_damaged_files_are_refused_at_every_length(tmp_path: Path):
    save_head(tmp_path / "head.npz", small_head(), compact=True)
    whole = (tmp_path / "head.npz").read_bytes()
    for length in (0, 1, 30, len(whole) // 2, len(whole) - 1):
        (tmp_path / "cut.npz").write_bytes(whole[:length])
        with pytest.raises(ModelError, match=r"cut\.npz"):
            load_head(tmp_path / "cut.npz")
    with pytest.raises(ModelError, match="no head file"):
        load_head(tmp_path / "nowhere.npz")


def test_a_flipped_byte_is_noticed(tmp_path: Path):
    save_head(tmp_path / "head.npz", random_head())
    content = bytearray((tmp_path / "head.npz").read_bytes())
    with zipfile.ZipFile(tmp_path / "head.npz") as archive:
        place = archive.getinfo("shape_basis.npy").header_offset + 200
    content[place] ^= 1
    (tmp_path / "head.npz").write_bytes(content)
    with pytest.raises(ModelError, match=r"head\.npz"):
        load_head(tmp_path / "head.npz")


def test_arrays_of_objects_are_not_unpickled(tmp_path: Path):
    np.savez(tmp_path / "head.npz", name=np.array([print], dtype=object))
    with pytest.raises(ModelError, match=r"head\.npz"):
        load_head(tmp_path / "head.npz")


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    target = tmp_path / "head.npz"
    save_head(target, small_head())
    before = target.read_bytes()

    def disk_full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(zipfile.ZipFile, "writestr", disk_full)
    with pytest.raises(OutputError, match="disk is full"):
        save_head(target, random_head())
    assert target.read_bytes() == before
    assert list(tmp_path.iterdir()) == [target]


def test_a_missing_folder_is_an_output_error(tmp_path: Path):
    with pytest.raises(OutputError, match="nowhere"):
        save_head(tmp_path / "nowhere" / "head.npz", small_head())
