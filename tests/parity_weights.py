"""The synthetic stand-ins for the licensed files, made once per seed and kept in the system's temporary folder.

Import `official_weights` or `official_pack` into a test module to use them as fixtures.
"""

import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from deca_cli.assets.convert import HEAD_FILES, convert_official
from deca_cli.packs.store import Pack, load_pack

GROUPS = "flame,deca,albedo,flametex"  # half a gigabyte, 15 seconds


def made_once(folder: Path, make: Callable[[Path], object]) -> Path:
    """`folder`, filled by `make` on first use; test processes that run at the same time do not disturb each other."""
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
        draft = Path(temporary, "draft")
        make(draft)
        try:
            draft.rename(folder)
        except OSError:
            assert folder.is_dir(), f"{folder} was not made by anyone"
    return folder


def make_weights(parity_dir: Path, folder: Path) -> None:
    data = parity_dir / "release-data"
    seed = json.loads((parity_dir / "checksums.json").read_text())["seed"]
    options = [
        "--seed",
        str(seed),
        "--obj",
        str(data / "head_template.obj"),
        "--out",
        str(folder),
        "--only",
        GROUPS,
    ]
    subprocess.run(
        [sys.executable, str(parity_dir / "make_weights.py"), *options], check=True, stdout=subprocess.DEVNULL
    )
    for name in HEAD_FILES[1:]:
        shutil.copyfile(data / name, folder / name)


def kept_folder(parity_dir: Path) -> Path:
    """A folder that changes with the seed and with the program that makes the weights."""
    digest = hashlib.sha256((parity_dir / "checksums.json").read_bytes())
    digest.update((parity_dir / "make_weights.py").read_bytes() + GROUPS.encode())
    return Path(tempfile.gettempdir(), "deca-cli-parity", digest.hexdigest()[:16])


@pytest.fixture(scope="session")
def official_weights(parity_dir: Path) -> Path:
    """A folder with all files of the official release, under their names, with synthetic weights."""
    return made_once(kept_folder(parity_dir) / "official", lambda folder: make_weights(parity_dir, folder))


@pytest.fixture(scope="session")
def official_pack(official_weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Pack:
    """The same, converted (anew for every run, because the converter may have changed) and loaded."""
    return load_pack(convert_official(official_weights, tmp_path_factory.mktemp("packs") / "deca"))
