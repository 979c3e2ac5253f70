"""Unpack zip archives that nobody vouches for: no path out of the folder, no links, no bombs, all or nothing."""

from __future__ import annotations

import shutil
import stat
import tempfile
import zipfile
import zlib
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING

from deca_cli.errors import ModelError, OutputError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

LARGEST_TOTAL_BYTES = 8 * 2**30  # the largest official archive has about 1.5 GB
LARGEST_RATIO = 200  # unpacked over packed; arrays reach about 20
RATIO_MATTERS_FROM_BYTES = 64 * 2**20
MOST_MEMBERS = 10_000
ENCRYPTED = 0x1
BLOCK_BYTES = 2**20


def unpack_zip(archive: Path, folder: Path) -> Path:
    """Unpack into a new folder; it appears complete or not at all.

    Args:
        archive: A zip file.
        folder: Must not exist; everything is written into a temporary sibling, which is then renamed.

    Returns:
        The folder.

    Raises:
        ModelError: The archive is damaged, too large, or has members that would land elsewhere.
        OutputError: The disk does not take it.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            members = [member for member in opened.infolist() if not member.is_dir()]
            _check(archive, members)
            folder.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as temporary:
                draft = Path(temporary, "unpacked")
                draft.mkdir()
                for member in members:
                    _extract(opened, member, draft)
                draft.rename(folder)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError) as error:
        raise ModelError(
            f"{archive} is damaged ({error}): it was probably not downloaded to its end. Get it again."
        ) from error
    except OSError as error:
        raise OutputError(
            f"Cannot unpack {archive} to {folder}: {error.strerror or error}. Free some space, or move the cache with "
            "DECA_HOME."
        ) from error
    return folder


def _check(archive: Path, members: Sequence[zipfile.ZipInfo]) -> None:
    """Refuse what no honest archive has, before a byte is written."""
    total = sum(member.file_size for member in members)
    packed = sum(member.compress_size for member in members)
    swollen = total > RATIO_MATTERS_FROM_BYTES and total > LARGEST_RATIO * max(packed, 1)
    if len(members) > MOST_MEMBERS or total > LARGEST_TOTAL_BYTES or swollen:
        raise ModelError(
            f"{archive} was refused: it would unpack to {len(members)} files with {total / 1e9:.1f} GB, which is no "
            "official archive. Get it from its official page."
        )
    names = [member.filename for member in members]
    for member in members:
        reason = _why_unsafe(member)
        if reason is not None:
            raise ModelError(
                f"{archive} was refused: its member {member.filename!r} {reason}. Get it from its official page."
            )
    if len({name.casefold() for name in names}) != len(names):
        raise ModelError(f"{archive} was refused: it holds a name twice. Get it from its official page.")


def _why_unsafe(member: zipfile.ZipInfo) -> str | None:
    name = member.filename
    posix, windows = PurePosixPath(name), PureWindowsPath(name)
    if posix.is_absolute() or windows.drive or windows.root or ".." in (*posix.parts, *windows.parts):
        return "would be written outside of the folder"
    if "\0" in name or not posix.parts:
        return "has no proper name"
    kind = stat.S_IFMT(member.external_attr >> 16)
    if kind not in (0, stat.S_IFREG):
        return "is a link or no ordinary file"
    if member.flag_bits & ENCRYPTED:
        return "is encrypted"
    return None


def _extract(opened: zipfile.ZipFile, member: zipfile.ZipInfo, folder: Path) -> None:
    """Write one member; the check sum is compared by zipfile, the size here."""
    target = folder.joinpath(*PurePosixPath(member.filename).parts)
    target.parent.mkdir(parents=True, exist_ok=True)
    if shutil.disk_usage(folder).free < member.file_size:
        raise OSError(f"the disk has no room for {member.filename} ({member.file_size / 1e6:.0f} MB)")
    written = 0
    with target.open("xb") as destination:
        for block in _blocks(opened, member):
            written += len(block)
            if written > member.file_size:
                raise zipfile.BadZipFile(f"{member.filename} is larger than it says")
            destination.write(block)


def _blocks(opened: zipfile.ZipFile, member: zipfile.ZipInfo) -> Iterator[bytes]:
    """The content; an offset outside of the archive is damage, unlike a disk that fails."""
    try:
        with opened.open(member) as source:
            while block := source.read(BLOCK_BYTES):
                yield block
    except OSError as error:
        raise zipfile.BadZipFile(f"{member.filename} cannot be read") from error
