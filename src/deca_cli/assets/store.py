"""The fetched files in the cache: what is there, putting one there, locks, and which licences were accepted."""

from __future__ import annotations

import json
import shutil
import tempfile
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deca_cli.assets.licences import LICENCES
from deca_cli.cache import cache_folder, files_folder
from deca_cli.errors import OutputError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from deca_cli.assets.catalogue import Asset

ACCEPTED = "licences.json"
FIRST_WAIT_S = 0.5  # how long a lock may take before somebody is told that we wait


def path_of(asset: Asset) -> Path:
    """Where the file lies when it is installed."""
    return files_folder() / asset.file


def is_here(asset: Asset) -> bool:
    """Whether the file is installed."""
    return path_of(asset).is_file()


def put(asset: Asset, source: Path, *, move: bool = False) -> Path:
    """Copy or move a checked file into the cache; it appears there whole or not at all.

    Raises:
        OutputError: The cache cannot be written.
    """
    target = path_of(asset)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if move:
            source.replace(target)
            return target
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".new-") as temporary:
            draft = Path(temporary, target.name)
            shutil.copyfile(source, draft)
            draft.replace(target)
    except OSError as error:
        raise cache_error(target, error) from error
    return target


def cache_error(path: Path, error: OSError) -> OutputError:
    """The sentence for a cache that cannot be written."""
    return OutputError(
        f"Cannot write {path}: {error.strerror or error}. Free some space, or set DECA_HOME to a folder of your own."
    )


@contextmanager
def locked(name: str, on_wait: Callable[[str], object]) -> Iterator[None]:
    """Hold a lock that all processes of this machine share; a process that ends, however, lets go of it.

    Args:
        name: What is locked.
        on_wait: Told a sentence when another process holds it.

    Raises:
        OutputError: The cache cannot be written.
    """
    from filelock import FileLock, Timeout

    folder = cache_folder() / "locks"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / f"{name}.lock")
        try:
            lock.acquire(timeout=FIRST_WAIT_S)
        except Timeout:
            on_wait(f"Another deca works on {name}; waiting for it ...")
            lock.acquire()
    except OSError as error:
        raise cache_error(folder, error) from error
    try:
        yield
    finally:
        lock.release()


def accepted_licences() -> dict[str, Any]:
    """The licences accepted so far, by name: when, and the page that was shown."""
    try:
        content = json.loads((cache_folder() / ACCEPTED).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}  # none yet; a damaged record is asked for again
    return content if isinstance(content, dict) else {}


def accept_licences(names: Sequence[str]) -> None:
    """Record that the user accepted these licences.

    Raises:
        UsageError: There is no such licence.
        OutputError: The record cannot be written.
    """
    unknown = [name for name in names if name not in LICENCES]
    if unknown:
        raise UsageError(
            f"There is no licence {', '.join(unknown)}. The licences are: {', '.join(LICENCES)}."
        )
    if not names:
        return
    now = datetime.now(timezone.utc).isoformat(timespec="seconds")
    record = accepted_licences() | {
        name: {"accepted": now, "page": LICENCES[name].page, "licence": LICENCES[name].sentence}
        for name in names
    }
    path = cache_folder() / ACCEPTED
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".new-") as temporary:
            draft = Path(temporary, ACCEPTED)
            draft.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
            draft.replace(path)
    except OSError as error:
        raise cache_error(path, error) from error


def open_licences(assets: Sequence[Asset]) -> tuple[str, ...]:
    """The licences of these assets that still have to be accepted."""
    done = accepted_licences()
    names = dict.fromkeys(asset.licence for asset in assets)
    return tuple(name for name in names if LICENCES[name].must_accept and name not in done)
