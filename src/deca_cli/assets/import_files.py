"""Files that the user brings: folders, zips and single files are looked through, whatever they are called."""

from __future__ import annotations

import hashlib
import os
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from deca_cli.assets.catalogue import FLAME, FLAME_2020_README_SHA256
from deca_cli.assets.recognise import Finding, recognise
from deca_cli.assets.store import locked, put
from deca_cli.assets.unpack import unpack_zip
from deca_cli.assets.wrong_files import UNPACKED_CHECKPOINT, is_unpacked_checkpoint
from deca_cli.cache import cache_folder
from deca_cli.errors import InputError, ModelError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from deca_cli.assets.catalogue import Asset

DEEPEST_ARCHIVE = 2  # a zip in a zip, and no further
MOST_FILES = 20_000
README_SIZE = 19_260


@dataclass(frozen=True)
class Imported:
    """What became of one file.

    Attributes:
        name: the file as the user knows it.
        asset: what it is.
        problem: why it was not taken, with the cure; None if it was.
        note: something worth saying.
    """

    name: str
    asset: Asset | None
    problem: str | None
    note: str | None


def import_files(
    sources: Sequence[Path], say: Callable[[str], object], *, any_flame: bool = False
) -> list[Imported]:
    """Copy everything usable into the cache.

    Args:
        sources: Files, folders and zip archives.
        say: Told a sentence when another process holds a file.
        any_flame: Take a FLAME of another year too.

    Returns:
        One entry for each file that was recognised or that is wrong in a known way; others are passed over.

    Raises:
        InputError: A source does not exist, or there is nothing usable in any.
        OutputError: The cache cannot be written.
    """
    results: list[Imported] = []
    folder = cache_folder() / "downloads"
    for source in sources:
        if not source.exists():
            raise InputError(f"There is no file or folder {source}: check the path after --from.")
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".look-") as temporary:
            for finding in look_into(source, Path(temporary), any_flame=any_flame):
                if finding.asset is not None and finding.problem is None:
                    with locked(finding.asset.name, say):
                        put(finding.asset, finding.path)
                if finding.asset is not None or finding.problem is not None:
                    results.append(Imported(finding.name, finding.asset, finding.problem, finding.note))
    return results


def look_into(source: Path, temporary: Path, *, any_flame: bool = False) -> Iterator[Finding]:
    """Everything that is in a file, folder or archive.

    Args:
        source: What to look into; nothing in it is changed.
        temporary: An empty folder for what is unpacked; its files may be moved away.
        any_flame: Let a FLAME of another year pass.
    """
    found = list(_walk(source, temporary, (), 0))
    flames = [finding for finding in found if finding.asset is FLAME]
    chosen = max(flames, key=_how_likely_generic, default=None)
    for finding in found:
        if finding.asset is FLAME and finding is not chosen:
            continue  # the archives hold a female and a male model too, or one without jaw
        if any_flame and finding.asset is FLAME and finding.problem is not None:
            yield replace(finding, problem=None, note=f"taken all the same: {finding.problem}")
        else:
            yield finding


def _how_likely_generic(finding: Finding) -> tuple[bool, bool]:
    """Order FLAME models: the usable first, then those that are not for one sex or without a jaw."""
    name = finding.path.stem.lower()
    return finding.problem is None, not any(word in name for word in ("male", "no_jaw"))


def _walk(source: Path, temporary: Path, around: tuple[str, ...], depth: int) -> Iterator[Finding]:
    """Findings of a file or folder; `around` are the names of the archives it was in, the nearest first."""
    files, unpacked_checkpoints = _files(source)
    for folder in unpacked_checkpoints:
        yield Finding(folder, problem=UNPACKED_CHECKPOINT, name=_shown(folder, source, around))
    of_2020 = {file.parent for file in files if _is_2020_readme(file)}
    for file in files:
        folders = file.relative_to(source).parts[-2::-1] if source.is_dir() else ()
        names = (*folders, source.name, *around)
        finding = replace(
            recognise(file, names, from_2020_archive=file.parent in of_2020),
            name=_shown(file, source, around),
        )
        if not finding.archive:
            yield finding
        elif depth < DEEPEST_ARCHIVE:
            target = temporary / f"{depth}-{len(list(temporary.iterdir()))}"
            try:
                unpack_zip(file, target)
            except ModelError as error:
                yield replace(finding, problem=str(error).rstrip("."))
                continue
            yield from _walk(target, temporary, (file.name, *around), depth + 1)


def _shown(path: Path, source: Path, around: tuple[str, ...]) -> str:
    """The path, or the names of the archives around it and the path inside."""
    return "/".join((*reversed(around), *path.relative_to(source).parts)) if around else str(path)


def _files(source: Path) -> tuple[list[Path], list[Path]]:
    """All files below, in order; and the folders that are unpacked checkpoints, which are not looked into."""
    if not source.is_dir():
        return [source], []
    files: list[Path] = []
    unpacked: list[Path] = []
    for root, folders, names in os.walk(source):
        here = Path(root)
        if is_unpacked_checkpoint(here):
            unpacked.append(here)
            folders.clear()
            continue
        folders[:] = sorted(folder for folder in folders if not folder.startswith("."))
        files += [
            here / name for name in sorted(names) if not name.startswith(".") and (here / name).is_file()
        ]
        if len(files) > MOST_FILES:
            raise InputError(
                f"{source} holds more than {MOST_FILES} files: give the folder with the models in it."
            )
    return files, unpacked


def _is_2020_readme(file: Path) -> bool:
    """Whether this is the readme of the FLAME 2020 archive, by size and check sum."""
    return file.stat().st_size == README_SIZE and (
        hashlib.sha256(file.read_bytes()).hexdigest() == FLAME_2020_README_SHA256
    )
