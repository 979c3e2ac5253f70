"""The synthetic stand-ins for the licensed files, made once per seed and kept in the system's temporary folder.

They are fixtures of every test (`conftest.py` names them), so that the conversion happens once a run. Packages are
imported late, because this is imported for every test.
"""

import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from deca_cli.packs.store import Pack

GROUPS = "flame,deca,albedo,flametex"  # half a gigabyte, 15 seconds
LOSS_GROUPS = "dense,vggface,vgg19"  # a quarter of a gigabyte, 10 seconds


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


def make_weights(parity_dir: Path, folder: Path, groups: str = GROUPS) -> None:
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
        groups,
    ]
    subprocess.run(
        [sys.executable, str(parity_dir / "make_weights.py"), *options], check=True, stdout=subprocess.DEVNULL
    )


def kept_folder(parity_dir: Path, groups: str = GROUPS) -> Path:
    """A folder that changes with the seed and with the program that makes the weights."""
    digest = hashlib.sha256((parity_dir / "checksums.json").read_bytes())
    digest.update((parity_dir / "make_weights.py").read_bytes() + groups.encode())
    return Path(tempfile.gettempdir(), "deca-cli-parity", digest.hexdigest()[:16])


@pytest.fixture(scope="session")
def official_weights(parity_dir: Path) -> Path:
    """A folder with all files of the official release, under their names, with synthetic weights."""
    return official_folder_of(parity_dir)


def official_folder_of(parity_dir: Path) -> Path:
    from deca_cli.assets.convert import HEAD_FILES

    def make(folder: Path) -> None:
        make_weights(parity_dir, folder)
        for name in HEAD_FILES[1:]:  # the first is FLAME itself
            shutil.copyfile(parity_dir / "release-data" / name, folder / name)

    return made_once(kept_folder(parity_dir) / "official", make)


@pytest.fixture(scope="session")
def official_pack(official_weights: Path, tmp_path_factory: pytest.TempPathFactory) -> "Pack":
    """The same, converted (anew for every run, because the converter may have changed) and loaded."""
    from deca_cli.assets.convert import convert_official
    from deca_cli.packs.store import load_pack

    return load_pack(convert_official(official_weights, tmp_path_factory.mktemp("packs") / "deca"))


@pytest.fixture(scope="session")
def loss_weights(parity_dir: Path) -> Path:
    """A folder with the networks of the losses and the dense template, with synthetic weights."""
    folder = kept_folder(parity_dir, LOSS_GROUPS) / "loss"
    return made_once(folder, lambda draft: make_weights(parity_dir, draft, LOSS_GROUPS))
