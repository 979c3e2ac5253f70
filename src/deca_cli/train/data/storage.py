"""Where the bytes of a dataset's pictures lie: single files, or tars read by position."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Protocol

from deca_cli.errors import InputError
from deca_cli.train.data.decode import read_bytes

if TYPE_CHECKING:
    from pathlib import Path

    from deca_cli.train.data.manifest import Record

OPEN_TARS = 64  # per process


class Storage(Protocol):
    """Encoded pictures and masks by record."""

    def image(self, record: Record) -> bytes:
        """The encoded picture.

        Raises:
            InputError: it cannot be read.
        """

    def mask(self, record: Record) -> bytes:
        """The encoded mask of a record that has one.

        Raises:
            InputError: it cannot be read.
        """


@dataclass(frozen=True)
class Files:
    """One file each."""

    folder: Path

    def image(self, record: Record) -> bytes:
        """See `Storage`."""
        return read_bytes(self.folder / record.image)

    def mask(self, record: Record) -> bytes:
        """See `Storage`."""
        return read_bytes(self.folder / str(record.mask))


@dataclass(frozen=True)
class Tars:
    """Members of uncompressed tars, by the offsets that the manifest holds."""

    folder: Path
    shards: tuple[str, ...]

    def image(self, record: Record) -> bytes:
        """See `Storage`."""
        shard, offset, length = self._place(record)[:3]
        return self._read(shard, offset, length)

    def mask(self, record: Record) -> bytes:
        """See `Storage`."""
        shard, _, _, offset, length = self._place(record)
        return self._read(shard, offset, length)

    def _place(self, record: Record) -> tuple[int, ...]:
        if record.at is None or len(record.at) != 5 or not 0 <= record.at[0] < len(self.shards):
            raise InputError("the manifest does not say where in which shard it lies")
        return record.at

    def _read(self, shard: int, offset: int, length: int) -> bytes:
        path = self.folder / self.shards[shard]
        try:
            content = os.pread(_open(path, os.getpid()), length, offset)
        except OSError as error:
            raise InputError(f"{path} cannot be read: {error.strerror or error}") from error
        if len(content) != length:
            raise InputError(f"{path} is cut short")
        return content


@lru_cache(maxsize=OPEN_TARS)
def _open(path: Path, process: int) -> int:  # noqa: ARG001 - a forked worker must not share its parent's place
    """A file descriptor; the system is asked to read the whole tar ahead, since all of it will be needed soon."""
    descriptor = os.open(path, os.O_RDONLY)
    if hasattr(os, "posix_fadvise"):
        with suppress(OSError):
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_WILLNEED)
    return descriptor
