"""Files that people bring: recognised by content whatever their name, and wrong ones told apart with the cure."""

import hashlib
import json
import pickle
import re
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from deca_cli.assets import catalogue
from deca_cli.assets.import_files import Imported, import_files
from deca_cli.assets.install import install_pack, missing_for_pack
from deca_cli.assets.licences import LICENCES
from deca_cli.assets.recognise import recognise
from deca_cli.assets.store import accept_licences, accepted_licences, is_here, open_licences, path_of
from deca_cli.errors import InputError, ModelError, UsageError
from deca_cli.packs.folders import best_installed


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DECA_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def imported(*sources: Path, any_flame: bool = False) -> dict[str, Imported]:
    """By the last part of the name."""
    results = import_files(sources, lambda _: None, any_flame=any_flame)
    return {Path(result.name).name: result for result in results}


def problem(path: Path) -> str:
    found = recognise(path)
    assert found.problem is not None, f"recognised as {found.asset}"
    return found.problem


# --------------------------------------------------------------------------- what is usable


def test_every_official_file_is_recognised_under_any_name(official_weights: Path, tmp_path: Path):
    for number, asset in enumerate((*catalogue.PACK_ASSETS, catalogue.ALBEDO, catalogue.FLAME_TEXTURE)):
        anonymous = tmp_path / f"download ({number})"
        anonymous.symlink_to(official_weights / asset.file)
        found = recognise(anonymous)
        assert (found.asset, found.problem) == (asset, None)


def test_the_networks_of_the_losses_are_recognised_under_any_name(loss_weights: Path, tmp_path: Path):
    for name, asset in (
        ("resnet50_ft_weight.pkl", catalogue.IDENTITY),
        ("vgg19_features.pth", catalogue.VGG19),
        ("texture_data_256.npy", catalogue.DENSE_TEMPLATE),
    ):
        anonymous = tmp_path / f"{len(name)}.bin"
        anonymous.symlink_to(loss_weights / name)
        assert recognise(anonymous).asset is asset


def test_detectors_are_recognised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    weights = {"conv1_1.weight": torch.zeros(1), "conv3_3_norm.weight": torch.zeros(1)}
    torch.save(weights, tmp_path / "new.bin")
    torch.save(weights, tmp_path / "old.bin", _use_new_zipfile_serialization=False)
    assert recognise(tmp_path / "new.bin").asset is catalogue.S3FD
    assert recognise(tmp_path / "old.bin").asset is catalogue.S3FD
    (tmp_path / "net").write_bytes(bytes(range(1, 251)) * 930 + bytes(89))
    assert (tmp_path / "net").stat().st_size == catalogue.YUNET.size
    assert recognise(tmp_path / "net").asset is None  # the size alone is not enough
    monkeypatch.setattr("deca_cli.assets.recognise.sha256_of", lambda _: catalogue.YUNET.sha256)
    assert recognise(tmp_path / "net").asset is catalogue.YUNET


def archive_of(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def flame(*, chumpy: bool = True, vertices: int = 5023) -> bytes:
    """As much of a FLAME model as tells what it is."""
    model = {"v_template": np.zeros((vertices, 3)), "shapedirs": np.zeros((1, 3, 400))}
    return pickle.dumps(model | ({"made with": "chumpy"} if chumpy else {}), 2)


YEARS = {
    "FLAME2019.zip": ({"generic_model.pkl": flame(), "male_model.pkl": flame()}, 2019),
    "FLAME2023.zip": ({"FLAME2023/flame2023.pkl": flame(), "FLAME2023/flame2023_no_jaw.pkl": flame()}, 2023),
    "download.zip": ({"model.pkl": flame(chumpy=False)}, 2023),
    "FLAME2020.zip": ({"female_model.pkl": flame(), "generic_model.pkl": flame()}, None),
}


@pytest.mark.parametrize("name", YEARS)
def test_flame_archives_of_every_year_are_told_apart(tmp_path: Path, name: str):
    members, wrong_year = YEARS[name]
    results = list(imported(archive_of(tmp_path / name, members)).values())
    assert len(results) == 1  # not the female, male and jawless ones
    assert results[0].asset is catalogue.FLAME
    if wrong_year is None:
        assert results[0].problem is None
        assert results[0].name == "FLAME2020.zip/generic_model.pkl"
        assert path_of(catalogue.FLAME).read_bytes() == flame()
    else:
        assert f"it is FLAME {wrong_year}" in results[0].problem
        assert "deca fetch-models flame" in results[0].problem
        assert not is_here(catalogue.FLAME)
        assert imported(tmp_path / name, any_flame=True)
        assert is_here(catalogue.FLAME)


def test_the_readme_of_flame_2020_tells_its_year_whatever_the_folder_is_called(tmp_path: Path, monkeypatch):
    folder = tmp_path / "FLAME2019"
    folder.mkdir()
    (folder / "generic_model.pkl").write_bytes(flame())
    assert imported(folder)["generic_model.pkl"].problem is not None
    monkeypatch.setattr(
        "deca_cli.assets.import_files._is_2020_readme", lambda file: file.name == "Readme.pdf"
    )
    (folder / "Readme.pdf").write_bytes(b"%PDF")
    assert imported(folder)["generic_model.pkl"].note == "FLAME 2020, known by the readme beside it"


def test_the_check_sum_of_flame_2020_settles_its_year(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "flame2023.pkl").write_bytes(flame(chumpy=False))
    digest = hashlib.sha256(flame(chumpy=False)).hexdigest()
    monkeypatch.setattr("deca_cli.assets.flame_year.FLAME_2020_SHA256", digest)
    assert imported(tmp_path)["flame2023.pkl"].note == "FLAME 2020, known by its check sum"


def test_an_archive_in_an_archive_is_looked_into(tmp_path: Path):
    inner = archive_of(tmp_path / "FLAME2020.zip", {"generic_model.pkl": flame()})
    outer = archive_of(
        tmp_path / "everything.zip", {"models/FLAME2020.zip": inner.read_bytes(), "x.txt": b"hello"}
    )
    assert imported(outer)["generic_model.pkl"].problem is None


def test_the_users_own_files_are_left_as_they_were(tmp_path: Path):
    archive = archive_of(tmp_path / "FLAME2020.zip", {"generic_model.pkl": flame()})
    before = archive.read_bytes()
    imported(archive)
    assert archive.read_bytes() == before
    assert sorted(file.name for file in tmp_path.iterdir()) == ["FLAME2020.zip", "home"]
    assert not [*(tmp_path / "home" / "downloads").iterdir()]


def test_other_files_are_passed_over(tmp_path: Path):
    (tmp_path / "notes.txt").write_text("hello")
    (tmp_path / "other.obj").write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\nvt 0 0\nf 1/1 2/1 3/1\n")
    np.save(tmp_path / "other.npy", np.zeros(3))
    np.savez(tmp_path / "other.npz", a=np.zeros(3))
    (tmp_path / "list.pkl").write_bytes(pickle.dumps([1]))
    torch.save({"w": torch.zeros(1)}, tmp_path / "other.pth")
    assert imported(tmp_path) == {}
    with pytest.raises(InputError, match="no file or folder"):
        imported(tmp_path / "nowhere")


# --------------------------------------------------------------------------- what is wrong

PAGE = b"<!DOCTYPE html><html><head><title>Sign in</title>"
WRONG = {
    "a login page": (PAGE, "login page.*sign in on the site"),
    "a page with a byte order mark": (b"\xef\xbb\xbf\n <HTML>register", "login page"),
    "another page": (b"<html>Error 404", "is a web page, not a model"),
    "Google Drive's warning": (b"<html>Google Drive - Virus scan warning", "Download anyway"),
    "Google Drive's quota": (b"<html>Google Drive: Quota exceeded", "tomorrow"),
    "an LFS pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:00", "Git LFS pointer"),
    "nothing": (b"", "it is empty"),
    "zeros": (bytes(5000), "zeros only"),
    "a truncated pickle": (flame()[:-5000], "a pickle that ends too early"),
    "a pickle that runs code": (b"cos\nsystem\n(S'true'\ntR.", "os.system"),
    "a body model": (flame(vertices=6890), "a body or hand model"),
    "a truncated array": (b"\x93NUMPY\x01\x00v\x00{'descr'", "get it again"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_files_are_told_apart_under_a_models_name(tmp_path: Path, name: str):
    content, expected = WRONG[name]
    for file in ("deca_model.tar", "generic_model.pkl"):
        (tmp_path / file).write_bytes(content if content[:1] != b"c" else b"\x80\x02" + content)
        if name == "a pickle that runs code":
            expected = "was refused: it asks for `os.system`"
        assert re.search(expected, problem(tmp_path / file))


def test_a_truncated_checkpoint_is_told_from_a_truncated_archive(tmp_path: Path):
    torch.save({"E_flame": {"w": torch.zeros(9999)}}, tmp_path / "whole.tar")
    archive_of(tmp_path / "whole.zip", {"a.txt": bytes(9999)})
    for name, expected in (
        ("whole.tar", "a torch checkpoint that ends"),
        ("whole.zip", "an? archive that ends"),
    ):
        cut = tmp_path / f"cut {name}"
        cut.write_bytes((tmp_path / name).read_bytes()[:5000])
        assert re.search(expected, problem(cut))


def test_an_unpacked_checkpoint_is_told_apart(tmp_path: Path):
    torch.save({"E_flame": {"w": torch.zeros(9)}}, tmp_path / "deca_model.tar")
    with zipfile.ZipFile(tmp_path / "deca_model.tar") as archive:
        archive.extractall(tmp_path / "unpacked")
    (tmp_path / "deca_model.tar").unlink()
    (result,) = imported(tmp_path).values()
    assert "unpacked torch checkpoint" in result.problem
    assert "without unpacking it" in result.problem
    lone = next((tmp_path / "unpacked").rglob("data.pkl"))
    assert "unpacked torch checkpoint" in problem(lone)


def test_a_bad_archive_is_a_problem_and_not_a_crash(tmp_path: Path):
    bad = archive_of(tmp_path / "a.zip", {"../evil.pkl": flame()})
    assert "outside of the folder" in imported(bad)["a.zip"].problem
    assert not (tmp_path / "evil.pkl").exists()


# --------------------------------------------------------------------------- the pack


def test_imported_files_become_a_pack_that_later_starts_use_without_the_pickles(
    official_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    source = tmp_path / "mine"
    source.mkdir()
    for number, file in enumerate(sorted(official_weights.iterdir())):
        (source / f"{number}").symlink_to(file)
    assert best_installed() == "open"
    assert all(result.problem is None for result in import_files([source], lambda _: None))
    assert missing_for_pack() == ()
    install_pack(lambda _: None)
    assert best_installed() == "deca"
    shutil.rmtree(path_of(catalogue.FLAME).parent)

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a pickle was opened")

    monkeypatch.setattr(pickle, "_Unpickler", refuse)
    monkeypatch.setattr(torch, "load", refuse)
    from deca_cli.packs.store import load_pack

    pack = load_pack("deca")
    assert pack.has_detail
    assert pack.deca.albedo is not None


def test_a_damaged_file_does_not_stay_in_the_cache(official_weights: Path):
    for asset in catalogue.PACK_ASSETS:
        path_of(asset).parent.mkdir(parents=True, exist_ok=True)
        path_of(asset).symlink_to(official_weights / asset.file)
    path_of(catalogue.CHECKPOINT).unlink()
    torch.save({"E_flame": {}}, path_of(catalogue.CHECKPOINT))
    with pytest.raises(
        ModelError, match=r"lacks the network.*taken out of the cache.*fetch-models deca-weights"
    ):
        install_pack(lambda _: None)
    assert missing_for_pack() == (catalogue.CHECKPOINT,)


# --------------------------------------------------------------------------- the table and the record


def test_words_name_groups_and_single_files():
    assert catalogue.wanted_assets(["flame", "yunet"]) == (catalogue.FLAME, catalogue.YUNET)
    assert set(catalogue.PACK_ASSETS) <= set(catalogue.wanted_assets(["deca"]))
    assert catalogue.ALBEDO not in catalogue.wanted_assets(["all"])
    with pytest.raises(UsageError, match="nothing called flaem"):
        catalogue.wanted_assets(["flaem"])


def test_the_table_is_complete():
    names = [asset.name for asset in catalogue.ASSETS]
    assert len(set(names)) == len(names)
    for asset in catalogue.ASSETS:
        assert asset.licence in LICENCES
        assert all(address.startswith("https://") for address in asset.addresses)
        assert asset.purpose
        assert asset.without


def test_published_sums_are_those_of_the_release(parity_dir: Path):
    from deca_cli.assets.fetch import check_sums

    for asset in (catalogue.TEMPLATE, catalogue.LANDMARKS, catalogue.MASK, catalogue.DISPLACEMENT):
        file = parity_dir / "release-data" / asset.file
        check_sums(asset, file)
        assert file.stat().st_size == asset.size


def test_accepted_licences_are_recorded(home: Path):
    assert open_licences([catalogue.FLAME, catalogue.YUNET]) == ("flame",)
    accept_licences(["flame"])
    assert open_licences([catalogue.FLAME]) == ()
    record = json.loads((home / "licences.json").read_text())["flame"]
    assert record["page"] == LICENCES["flame"].page
    assert record["accepted"].endswith("+00:00")
    with pytest.raises(UsageError, match="no licence flaem"):
        accept_licences(["flaem"])
    (home / "licences.json").write_text("{ damaged")
    assert accepted_licences() == {}
