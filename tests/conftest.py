"""Paths of the shared measuring material; a test that needs it is skipped, with the reason, where it is missing."""

import os
from pathlib import Path

import pytest

from parity_weights import loss_weights, official_pack, official_weights  # noqa: F401 - fixtures of all tests

SHARED = Path(__file__).resolve().parents[2] / "shared"


def shared_folder(variable: str, name: str, what: str) -> Path:
    folder = Path(os.environ.get(variable, SHARED / name))
    if not folder.is_dir():
        pytest.skip(f"{what} not found: set {variable} to its folder (looked in {folder})")
    return folder


@pytest.fixture(scope="session")
def parity_dir() -> Path:
    return shared_folder("DECA_PARITY", "parity", "parity data of the official release")


@pytest.fixture(scope="session")
def photos_dir() -> Path:
    return shared_folder("DECA_PHOTOS", "photos/dev", "real photos with reference landmarks")


@pytest.fixture(scope="session")
def now_dir() -> Path:
    return shared_folder("DECA_NOW", "now", "synthetic scans with the official NoW results")
