"""Where the bytes of a dataset's pictures lie: single files, or tars read by position."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
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


class Tars:
    """Members of uncompressed tars, by the offsets that the manifest holds.

    Args:
        folder: the dataset.
        shards: the tars, relative to it.
    """

    def __init__(self, folder: Path, shards: tuple[str, ...]) -> None:
        self.folder, self.shards = folder, shards
        self._open: dict[
            int, int
        ] = {}  # shard -> file descriptor; reads name their place, so forks may share it

    def __getstate__(self) -> dict[str, object]:
        return {"folder": self.folder, "shards": self.shards, "_open": {}}

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
            content = _read_at(self._descriptor(shard, path), length, offset)
        except OSError as error:
            raise InputError(f"{path} cannot be read: {error.strerror or error}") from error
        if len(content) != length:
            raise InputError(f"{path} is cut short")
        return content

    def _descriptor(self, shard: int, path: Path) -> int:
        """An open tar; the system is asked to read the whole of it ahead, since all will be needed soon."""
        if shard not in self._open:
            while len(self._open) >= OPEN_TARS:
                os.close(self._open.pop(next(iter(self._open))))
            descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
            if hasattr(os, "posix_fadvise"):
                with suppress(OSError):
                    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_WILLNEED)
            self._open[shard] = descriptor
        return self._open[shard]


def _read_at(descriptor: int, length: int, offset: int) -> bytes:
    """Bytes at a place, without moving the place that forked processes share where the system can do that."""
    if hasattr(os, "pread"):
        return os.pread(descriptor, length, offset)
    os.lseek(descriptor, offset, os.SEEK_SET)
    return os.read(descriptor, length)
