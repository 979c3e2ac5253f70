"""Where model packs lie."""

from __future__ import annotations

import os
import sys
from importlib import resources
from pathlib import Path

from deca_cli.errors import ModelError
from deca_cli.packs.manifest import FILE_NAME

OPEN = "open"
DECA = "deca"


def cache_folder() -> Path:
    """The user's folder for models: DECA_HOME if set, else ``deca-cli`` in the platform's cache folder."""
    home = os.environ.get("DECA_HOME")
    if home:
        return Path(home).expanduser()
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA")
        return (Path(base) if base else Path.home() / "AppData" / "Local") / "deca-cli" / "Cache"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "deca-cli"
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "deca-cli"


def pack_folder(name_or_path: str | Path) -> Path:
    """The folder of a pack: `open` and `deca` by name, every other by its path.

    Raises:
        ModelError: There is no pack; the message says how to get one.
    """
    if str(name_or_path) == OPEN:
        folder = Path(str(resources.files("deca_cli.packs").joinpath(OPEN)))
        cure = "the installation is incomplete, install deca-cli again"
    elif str(name_or_path) == DECA:
        folder = cache_folder() / "packs" / DECA
        cure = (
            "the official weights are licensed and not bundled, and `deca fetch-models deca`, which will install "
            "them, is not part of this version yet; use the bundled weights with `--model open`"
        )
    else:
        folder = Path(name_or_path).expanduser()
        cure = "give `open`, `deca` or the path of a folder that holds a model pack"
    if not (folder / FILE_NAME).is_file():
        raise ModelError(
            f"There is no model pack `{name_or_path}` (looked for {folder / FILE_NAME}): {cure}."
        )
    return folder


def is_installed(name: str) -> bool:
    """Whether a pack of that name or path can be found."""
    try:
        pack_folder(name)
    except ModelError:
        return False
    return True
