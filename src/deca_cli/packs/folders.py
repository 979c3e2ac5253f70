"""Where model packs lie."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from deca_cli.cache import cache_folder
from deca_cli.errors import ModelError
from deca_cli.packs.manifest import FILE_NAME

OPEN = "open"
DECA = "deca"
IN_RUN = "pack"  # where a run of `deca train` keeps its pack


def official_folder() -> Path:
    """Where the converted official weights lie, if they do."""
    return cache_folder() / "packs" / DECA


def pack_folder(name_or_path: str | Path) -> Path:
    """The folder of a pack: `open` and `deca` by name, every other by its path or that of a training run.

    Raises:
        ModelError: There is no pack; the message says how to get one.
    """
    if str(name_or_path) == OPEN:
        folder = Path(str(resources.files("deca_cli.packs").joinpath(OPEN)))
        cure = "the installation is incomplete, install deca-cli again"
    elif str(name_or_path) == DECA:
        folder = official_folder()
        cure = (
            "the official weights are licensed and not bundled; fetch them with `deca fetch-models deca`, or use the "
            "bundled weights with `--model open`"
        )
    else:
        folder = Path(name_or_path).expanduser()
        if not (folder / FILE_NAME).is_file() and (folder / IN_RUN / FILE_NAME).is_file():
            folder = folder / IN_RUN
        cure = (
            "give `open`, `deca` or the path of a folder that holds a model pack, or of a run of `deca train`"
        )
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


def best_installed() -> str:
    """`deca` if it is installed, else `open`."""
    return DECA if is_installed(DECA) else OPEN
