"""`deca doctor`: one line for each part, fine or what to do."""

from importlib import metadata
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

import stand_in
from deca_cli.assets import catalogue
from deca_cli.assets.store import accept_licences, path_of
from deca_cli.cli import doctor_checks
from deca_cli.cli.app import app
from deca_cli.errors import DeviceError
from deca_cli.packs.folders import official_folder
from deca_cli.pipeline import start


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DECA_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    return tmp_path / "home"


def examined() -> dict[str, doctor_checks.Check]:
    return {check.subject: check for check in doctor_checks.examine()}


def test_a_fresh_machine_is_fine_and_optional_parts_have_their_command():
    checks = examined()
    assert {check.state for check in checks.values()} <= {"ok", "--"}
    assert checks["model open"].state == "ok"
    assert "loads in" in checks["model open"].text
    assert "used where --model is left out" in checks["model open"].text
    assert "`deca fetch-models deca`" in checks["model deca"].text
    assert "flame-model" in checks["model deca"].text
    assert "uses lbp" in checks["face detectors"].text
    assert "`deca fetch-models detector`" in checks["face detectors"].text
    assert "`deca fetch-models identity`" in checks["for training"].text


def test_every_check_is_one_line_and_nothing_broken_exits_with_zero():
    result = CliRunner().invoke(app, ["doctor"])
    assert result.exit_code == 0
    lines = result.output.splitlines()
    assert len(lines) == len(doctor_checks.CHECKS)
    assert all(line[:4] in ("ok  ", "--  ") for line in lines)


def test_a_broken_part_exits_with_one_and_does_not_stop_the_others(monkeypatch: pytest.MonkeyPatch):
    def broken() -> doctor_checks.Verdict:
        raise OSError("libtorch.so is missing")

    monkeypatch.setitem(doctor_checks.CHECKS, "torch", broken)
    result = CliRunner().invoke(app, ["doctor"])
    assert result.exit_code == 1
    assert "!!  torch            OSError: libtorch.so is missing" in result.output
    assert len(result.output.splitlines()) == len(doctor_checks.CHECKS)


def test_an_installed_and_a_damaged_pack_are_told_apart():
    official_folder().parent.mkdir(parents=True)
    stand_in.make_pack(official_folder())
    assert examined()["model deca"].state == "ok"
    (official_folder() / "encoder.safetensors").write_bytes(b"x")
    check = examined()["model deca"]
    assert check.state == "!!"
    assert "encoder.safetensors" in check.text
    assert "deca fetch-models deca" in check.text


def test_files_that_are_not_as_published_are_named(parity_dir: Path):
    folder = path_of(catalogue.TEMPLATE).parent
    folder.mkdir(parents=True)
    for asset in (catalogue.TEMPLATE, catalogue.LANDMARKS):
        path_of(asset).write_bytes((parity_dir / "release-data" / asset.file).read_bytes())
    assert examined()["fetched files"] == doctor_checks.Check(
        "ok", "fetched files", "head-template, landmark-embedding"
    )
    path_of(catalogue.LANDMARKS).write_bytes(b"x")
    check = examined()["fetched files"]
    assert check.state == "--"
    assert check.text.startswith("landmark-embedding: other content than published")


def test_a_fetched_detector_is_used():
    pytest.importorskip("face_alignment.detection.yunet")
    path_of(catalogue.YUNET).parent.mkdir(parents=True)
    path_of(catalogue.YUNET).write_bytes(b"x")
    assert examined()["face detectors"] == doctor_checks.Check("ok", "face detectors", "uses face-alignment")


def test_a_cache_that_cannot_be_written_is_told(home: Path):
    home.write_text("a file is in the way")
    check = examined()["cache"]
    assert check.state == "!!"
    assert "DECA_HOME" in check.text


def test_accepted_licences_are_listed():
    accept_licences(["deca"])
    assert examined()["licences"].text == "accepted: deca"


def test_a_gpu_without_the_extra_is_told_how_to_get_it(monkeypatch: pytest.MonkeyPatch):
    def missing(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", missing)
    assert "not needed without an NVIDIA GPU" in doctor_checks._cuda_extra()[1]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    state, text = doctor_checks._cuda_extra()
    assert state == "--"
    assert "pip install 'deca-cli[cuda]'" in text
    assert "--rasterizer cpu" in text


def test_a_kernel_that_does_not_compile_is_told_with_its_reason(monkeypatch: pytest.MonkeyPatch):
    def refuse(device: torch.device) -> None:
        raise DeviceError("the kernel does not compile; update the driver")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(start, "draw_triangle", refuse)
    assert doctor_checks._cuda_kernel() == ("--", "the kernel does not compile; update the driver")
    monkeypatch.setattr(start, "draw_triangle", lambda _: None)
    assert doctor_checks._cuda_kernel()[1].startswith("draws a triangle")
