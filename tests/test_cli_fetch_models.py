"""`deca fetch-models` as a person meets it, against a site on this machine."""

import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace

import pooch.core
import pytest
import torch
from typer.testing import CliRunner, Result

from deca_cli.assets import catalogue
from deca_cli.assets.licences import LICENCES
from deca_cli.assets.store import accept_licences, is_here, path_of
from deca_cli.cli import fetch_models_run
from deca_cli.cli.app import app
from deca_cli.packs.folders import official_folder
from local_site import Answer, Site, page, running_site

Run = Callable[..., Result]
WORD = "geheim-9"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with running_site(tmp_path_factory.mktemp("site")) as site:
        yield site


@pytest.fixture(autouse=True)
def site(running: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    """Every address of the table leads to the site."""
    monkeypatch.setenv("DECA_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(running.authority))
    monkeypatch.setattr(pooch.core, "time", SimpleNamespace(sleep=lambda _: None))
    for name in ("HTTPS_PROXY", "https_proxy", "DECA_FLAME_USERNAME", "DECA_FLAME_PASSWORD"):
        monkeypatch.delenv(name, raising=False)
    local = {
        asset.name: replace(
            asset, addresses=(f"{running.address}/{asset.archive or asset.file}",), sha256=None, git_blob=None
        )
        for asset in catalogue.ASSETS
    }
    monkeypatch.setattr(
        fetch_models_run,
        "wanted_assets",
        lambda words: tuple(local[a.name] for a in catalogue.wanted_assets(words)),
    )
    running.routes.clear()
    running.asked.clear()
    return running


@pytest.fixture
def run() -> Run:
    def invoke(*words: object, answers: str | None = None) -> Result:
        """With `answers` somebody sits at a terminal."""
        with pytest.MonkeyPatch.context() as patch:
            if answers is not None:
                patch.setattr(fetch_models_run, "sys", SimpleNamespace(
                    stdin=SimpleNamespace(isatty=lambda: True), stderr=SimpleNamespace(isatty=lambda: False)
                ))  # fmt: skip
            result = CliRunner().invoke(app, ["fetch-models", *map(str, words)], input=answers)
        assert "Traceback" not in result.output
        return result

    return invoke


def serve(site: Site, official_weights: Path) -> None:
    """The official files at their addresses; FLAME for members only."""
    for asset in catalogue.PACK_ASSETS[1:]:
        content = (official_weights / asset.file).read_bytes()
        site.routes[f"/{asset.file}"] = lambda _, content=content: Answer(content)
    stream = BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.write(official_weights / "generic_model.pkl", "generic_model.pkl")

    def flame(asked: object) -> Answer:
        allowed = asked.form == {"username": "me", "password": WORD}
        return Answer(stream.getvalue()) if allowed else page("Username/Password Authentication Failed.", 401)

    site.routes["/FLAME2020.zip"] = flame


def test_alone_it_explains_and_fetches_nothing(run: Run, site: Site):
    result = run()
    assert result.exit_code == 0
    for word in (
        "deca fetch-models deca",
        "detector",
        "identity",
        "--from DIR_OR_ZIP",
        "--list",
        "0 of 1 files",
    ):
        assert word in result.output
    assert run(answers="\n").exit_code == 0
    assert site.asked == []


def test_the_list_says_what_there_is_and_what_is_installed(run: Run, site: Site):
    path_of(catalogue.YUNET).parent.mkdir(parents=True)
    path_of(catalogue.YUNET).write_bytes(b"x")
    accept_licences(["flame"])
    text = run("--list").output
    for asset in catalogue.ASSETS:
        for word in (
            asset.name,
            asset.file,
            asset.addresses[0],
            asset.purpose,
            asset.without,
            asset.sha256 or "",
        ):
            assert word in text
    for licence in LICENCES.values():
        assert licence.page in text
    lines = text.splitlines()
    assert [line.split()[0] for line in lines if " installed " in line] == ["yunet"]
    assert [line.split()[0] for line in lines if " accepted " in line] == ["flame"]
    assert site.asked == []


def test_everything_from_nothing_to_a_pack_that_reconstruct_uses(
    run: Run, site: Site, official_weights: Path, monkeypatch: pytest.MonkeyPatch
):
    serve(site, official_weights)
    monkeypatch.setenv("DECA_FLAME_USERNAME", "me")
    monkeypatch.setenv("DECA_FLAME_PASSWORD", WORD)
    refused = run("deca")
    assert refused.exit_code == 1
    assert "--accept-licence flame --accept-licence deca" in refused.output
    assert site.asked == []
    done = run("deca", "--accept-licence", "flame", "--accept-licence", "deca")
    assert done.exit_code == 0, done.output
    assert "The model pack `deca` is ready" in done.output
    assert "dense-template: left out." in done.output  # optional, and the site has it no longer
    assert WORD not in done.output
    assert (official_folder() / "manifest.toml").is_file()
    fetched = len(site.asked)
    again = run("flame")
    assert again.exit_code == 0
    assert "All of it is installed." in again.output
    assert len(site.asked) == fetched


def test_licence_user_name_and_password_are_asked_for(run: Run, site: Site, official_weights: Path):
    serve(site, official_weights)
    result = run("flame", answers=f"y\nme\n{WORD}\n")
    assert result.exit_code == 0, result.output
    assert LICENCES["flame"].page in result.output
    assert is_here(catalogue.FLAME)
    assert WORD not in result.output
    assert "still lacks deca-weights" in result.output


def test_a_refused_licence_fetches_nothing(run: Run, site: Site):
    result = run("flame", answers="n\n")
    assert result.exit_code == 1
    assert "licences are not accepted: flame" in result.output
    assert site.asked == []


def test_without_a_terminal_the_variables_are_named(run: Run):
    result = run("flame", "--accept-licence", "flame")
    assert result.exit_code != 0
    assert "set DECA_FLAME_USERNAME and DECA_FLAME_PASSWORD" in result.output


def test_a_wrong_password_does_not_keep_the_other_sites_from_being_asked(
    run: Run, site: Site, official_weights: Path
):
    serve(site, official_weights)
    accept_licences(["flame", "deca"])
    result = run("deca", answers="me\nwrong\n")
    assert result.exit_code == 1
    assert is_here(catalogue.CHECKPOINT)
    assert [asked.path for asked in site.asked].count("/FLAME2020.zip") == 1
    assert "still lacks flame-model" in result.output


def test_a_wrong_password_is_a_sentence(run: Run, site: Site, official_weights: Path):
    serve(site, official_weights)
    result = run("flame", "--accept-licence", "flame", answers="me\nwrong\n")
    assert result.exit_code == 1
    assert "does not accept the user name and password" in result.output
    assert "wrong" not in result.output.replace("wrong\n", "")


def test_what_works_is_fetched_although_something_else_fails(run: Run, site: Site):
    weights = BytesIO()
    torch.save({"conv3_3_norm.weight": torch.zeros(1)}, weights)
    site.routes[f"/{catalogue.S3FD.file}"] = lambda _: Answer(weights.getvalue())
    result = run("detector")
    assert result.exit_code == 1
    assert "no longer (404)" in result.output
    assert is_here(catalogue.S3FD)


def test_offline_connects_to_nothing_and_says_what_is_missing(run: Run, site: Site):
    result = run("detector", "--offline")
    assert result.exit_code == 1
    assert "face_detection_yunet_2023mar.onnx (" in result.output
    assert "--from DIR" in result.output
    assert site.asked == []
    for asset in (catalogue.YUNET, catalogue.S3FD):
        path_of(asset).parent.mkdir(parents=True, exist_ok=True)
        path_of(asset).write_bytes(b"x")
    assert run("detector", "--offline").exit_code == 0


def test_wrong_words_are_told(run: Run):
    assert "nothing called flaem" in run("flaem").output
    assert "no licence flaem" in run("flame", "--accept-licence", "flaem").output
    assert "no file or folder" in run("--from", "nowhere").output


def test_by_hand_everything_in_a_folder_becomes_a_pack(
    run: Run, official_weights: Path, tmp_path: Path, site: Site
):
    mine = tmp_path / "mine"
    mine.mkdir()
    with zipfile.ZipFile(mine / "from the site.zip", "w") as archive:
        archive.write(official_weights / "generic_model.pkl", "FLAME2020/generic_model.pkl")
    for number, asset in enumerate(catalogue.PACK_ASSETS[1:]):
        (mine / f"{number}.bin").symlink_to(official_weights / asset.file)
    (mine / "holiday.txt").write_text("not a model")
    result = run("--from", mine)
    assert result.exit_code == 0, result.output
    assert "from the site.zip/FLAME2020/generic_model.pkl: flame-model, installed" in result.output
    assert "holiday" not in result.output
    assert "The model pack `deca` is ready" in result.output
    assert site.asked == []


def test_by_hand_wrong_files_are_named_with_the_cure_and_right_ones_taken(
    run: Run, official_weights: Path, tmp_path: Path
):
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "deca_model.tar").write_bytes(b"<!DOCTYPE html><title>Sign in</title>")
    (mine / "mask.png").symlink_to(official_weights / "uv_face_eye_mask.png")
    result = run("--from", mine)
    assert result.exit_code == 1
    assert "deca_model.tar: it is a login page saved under a model's name" in result.output
    assert "mask.png: face-eye-mask, installed" in result.output
    assert "still lacks flame-model (generic_model.pkl), deca-weights (deca_model.tar)" in result.output
    (mine / "mask.png").unlink()
    (mine / "deca_model.tar").write_text("hello")
    assert "nothing in" in run("--from", mine).output
