"""Files appear whole or not at all: written under a temporary name in their own folder, then renamed."""

from __future__ import annotations

import errno
import os
import secrets
from contextlib import suppress
from typing import TYPE_CHECKING

from deca_cli.errors import OutputError
from deca_cli.npz import to_npz

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path
    from typing import BinaryIO

    import numpy as np

REASONS = {
    errno.ENOSPC: "the disk is full; free some space or choose another folder with --output",
    errno.EDQUOT: "the disk quota is used up; free some space or choose another folder with --output",
    errno.EACCES: "permission is denied; choose a folder of your own with --output",
    errno.EPERM: "permission is denied; choose a folder of your own with --output",
    errno.EROFS: "the disk is read-only; choose another folder with --output",
    errno.ENOTDIR: "a part of the path is a file, not a folder; choose another folder with --output",
    errno.EEXIST: "a file of that name is in the way; move it or choose another folder with --output",
    errno.EISDIR: "a folder of that name is in the way; move it or choose another folder with --output",
    errno.EFBIG: "the file is larger than is allowed here; choose another folder with --output",
    errno.ENAMETOOLONG: "the name is too long for this disk; choose a shorter --output or shorten the photo's name",
}


def output_error(path: Path, error: OSError) -> OutputError:
    """The sentence for a failed write."""
    reason = REASONS.get(error.errno or 0, f"{error.strerror or error}; choose another folder with --output")
    return OutputError(f"cannot write {path}: {reason}.")


def make_folder(folder: Path) -> Path:
    """Create a folder and its parents.

    Raises:
        OutputError: it cannot be made, for example because a file stands in the way.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileNotFoundError as error:  # parents are made too, so it is the disk that refuses, as /proc does
        raise OutputError(
            f"cannot write {folder}: the folder above does not take new folders; choose another one with --output."
        ) from error
    except OSError as error:
        raise output_error(folder, error) from error
    return folder


def check_writable(folder: Path) -> Path:
    """Make the folder and prove, by writing one byte and taking it away, that files can be written there.

    Raises:
        OutputError: nothing can be written there.
    """
    make_folder(folder)
    remove_file(write_bytes(folder / ".deca-write-test", b"0"))
    return folder


def remove_file(path: Path) -> None:
    """Take a file away, if it is there.

    Raises:
        OutputError: it is there and stays.
    """
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise output_error(path, error) from error


def write_file(path: Path, fill: Callable[[BinaryIO], object]) -> Path:
    """Let `fill` write the file's content; return the path.

    Raises:
        OutputError: the content cannot be written; nothing of it is left and an older file stays as it was.
    """
    temporary = path.with_name(f".{path.name[:40]}.{secrets.token_hex(4)}.part")
    try:
        with temporary.open("xb") as stream:
            fill(stream)
        temporary.replace(path)
    except OSError as error:
        raise output_error(path, error) from error
    finally:
        with suppress(OSError):  # it must not hide why the write failed
            temporary.unlink(missing_ok=True)
    return path


def write_durable_file(path: Path, fill: Callable[[BinaryIO], object]) -> Path:
    """As `write_file`; the content has reached the disk when this returns, so that it survives a power cut."""

    def fill_and_wait(stream: BinaryIO) -> None:
        fill(stream)
        stream.flush()
        os.fsync(stream.fileno())

    return write_file(path, fill_and_wait)


def write_bytes(path: Path, content: bytes | memoryview) -> Path:
    """Write bytes, whole or not at all; see `write_file`."""
    return write_file(path, lambda stream: stream.write(content))


def write_text(path: Path, content: str) -> Path:
    """Write UTF-8 text, whole or not at all; see `write_file` and `to_bytes`."""
    return write_bytes(path, to_bytes(content))


def to_bytes(content: str) -> bytes:
    r"""UTF-8; what is no text (bytes of file names in another encoding) becomes `\udcXX`, which JSON reads back."""
    return content.encode("utf-8", "backslashreplace")


def write_array(path: Path, array: np.ndarray) -> Path:
    """Write one array as `.npy`, whole or not at all; see `write_file`."""
    import numpy as np

    return write_file(path, lambda stream: np.save(stream, array, allow_pickle=False))


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> Path:
    """Write named arrays as `.npz`, whole or not at all; see `write_file` and `npz.to_npz`."""
    return write_bytes(path, to_npz(arrays))
