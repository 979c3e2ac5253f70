"""Memory that the main process and its workers share: the crops of a batch, and the sign to stop."""

from __future__ import annotations

import mmap
import os
import tempfile
from multiprocessing import reduction
from typing import TYPE_CHECKING, Any

import numpy as np

from deca_cli.errors import OutputError

if TYPE_CHECKING:
    from collections.abc import Callable

HEADER = mmap.PAGESIZE  # bytes before the crops; the first is the sign to stop


class Slate:
    """Memory of this process, or a file in memory that processes map: it goes to a process among its first arguments.

    Its size is set when it is known how large crops are; workers may have been started before.

    Args:
        descriptor: of the file; None for memory of this process alone.
    """

    def __init__(self, descriptor: int | None = None) -> None:
        self.descriptor = descriptor
        self.header = bytearray(1) if descriptor is None else mmap.mmap(descriptor, HEADER)
        self.mapped: np.ndarray | None = None

    @staticmethod
    def for_processes() -> Slate:
        """A new one that can be shared."""
        descriptor = _file_in_memory()
        _make_long(descriptor, HEADER)
        return Slate(descriptor)

    def __reduce__(self) -> tuple[Callable[..., Slate], tuple[object, ...]]:
        assert self.descriptor is not None  # noqa: S101 - only a slate of `for_processes` travels
        return _received, (reduction.DupFd(self.descriptor),)

    @property
    def stopped(self) -> bool:
        """Whether nothing more shall be written."""
        return self.header[0] != 0

    def stop(self) -> None:
        """Tell everyone not to begin anything more."""
        self.header[0] = 1

    def crops(self, shape: tuple[int, ...]) -> np.ndarray:
        """The crops as float32 of a shape; the same memory for everyone who asks with the same shape."""
        if self.mapped is None or self.mapped.shape != shape:
            self.mapped = self._room(shape)
        return self.mapped

    def _room(self, shape: tuple[int, ...]) -> np.ndarray:
        if self.descriptor is None:
            return np.empty(shape, np.float32)
        size = HEADER + 4 * int(np.prod(shape))
        if os.fstat(self.descriptor).st_size < size:
            _make_long(self.descriptor, size)
        memory = mmap.mmap(self.descriptor, size)
        return np.frombuffer(memory, np.float32, offset=HEADER).reshape(shape)

    def close(self) -> None:
        """Give the file back; what is mapped stays until nobody uses it."""
        if self.descriptor is not None:
            os.close(self.descriptor)


def _make_long(descriptor: int, size: int) -> None:
    """Give the file a size; on a disk with its room taken now, since writing to a mapped file on a full disk kills a process.

    Raises:
        OutputError: the disk is full.
    """
    if hasattr(os, "memfd_create") or not hasattr(os, "posix_fallocate"):
        os.ftruncate(descriptor, size)
        return
    try:
        os.posix_fallocate(descriptor, 0, size)
    except OSError as error:
        raise OutputError(
            f"the folder for temporary files, {tempfile.gettempdir()}, has no room for {size} bytes ({error.strerror}). "
            "Make room there, or set TMPDIR to a folder that has."
        ) from error


def _file_in_memory() -> int:
    """Not under /dev/shm, which is tiny in many containers."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("deca")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


def _received(duplicate: Any) -> Slate:  # noqa: ANN401 - the type of a duplicated descriptor has no name
    return Slate(duplicate.detach())
