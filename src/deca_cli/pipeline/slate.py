"""Memory that the main process and its workers share: crops, pictures, and the sign to stop."""

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
        self.mapped: np.ndarray | None = None  # the crops
        self.memory: mmap.mmap | None = None  # all of the file that was asked for

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

    @property
    def end_of_crops(self) -> int:
        """The byte after them."""
        return HEADER + (0 if self.mapped is None else self.mapped.nbytes)

    def _room(self, shape: tuple[int, ...]) -> np.ndarray:
        if self.descriptor is None:
            return np.empty(shape, np.float32)
        return self.array(HEADER, shape, np.float32)

    def array(
        self,
        start: int,
        shape: tuple[int, ...],
        dtype: type[np.generic],
        strides: tuple[int, ...] | None = None,
    ) -> np.ndarray:
        """Memory from some byte on, for processes; the file grows where it is too short.

        Args:
            start: the byte.
            shape: of the array.
            dtype: of its numbers.
            strides: bytes from one to the next along each axis; without gaps if left out.

        Raises:
            OutputError: the file is on a disk that is full.
        """
        assert self.descriptor is not None  # noqa: S101 - threads share their memory anyway
        if strides is None:
            end = start + np.dtype(dtype).itemsize * int(np.prod(shape))
            if os.fstat(self.descriptor).st_size < end:
                _make_long(self.descriptor, end)
        else:
            end = (
                start
                + np.dtype(dtype).itemsize
                + sum((n - 1) * s for n, s in zip(shape, strides, strict=True))
            )
        if self.memory is None or len(self.memory) < end:
            self.memory = mmap.mmap(self.descriptor, os.fstat(self.descriptor).st_size)
        return np.ndarray(shape, dtype, self.memory, start, strides)

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
