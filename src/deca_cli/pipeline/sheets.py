"""Parts of the shared memory into which pictures come from the GPU, and from which workers read them.

A sheet is taken for the pictures of a batch. It is free again when nobody in the main process has it any more: not the
captures, not the requests to save them. So it does not matter how a photo ends, or where a run is interrupted.
"""

from __future__ import annotations

import mmap
import weakref
from bisect import insort
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from deca_cli.export.shape_layers import Layers

if TYPE_CHECKING:
    from deca_cli.export.view import Region
    from deca_cli.pipeline.slate import Slate

ROOM = 160 * 2**20  # bytes; a photo of 512 pixels takes about half a million until it is saved


@dataclass(frozen=True, eq=False)
class Sheet:
    """Shared memory for one batch of pictures.

    Attributes:
        start: of its first byte in the shared memory.
        content: the pictures.
    """

    start: int
    content: np.ndarray

    def placed(self, layers: Layers) -> Placed:
        """Where layers that are parts of the pictures lie."""
        address = layers.opacity.__array_interface__["data"][0]
        first = address - self.content.__array_interface__["data"][0]
        return Placed(
            layers.region,
            self.start + first,
            2 if layers.detail is None else 3,
            (self.content.strides[1], *layers.opacity.strides),
        )


@dataclass(frozen=True)
class Placed:
    """Layers in shared memory, for a process that maps it."""

    region: Region
    start: int
    count: int
    strides: tuple[int, ...]  # of layers, rows and pixels

    def layers(self, slate: Slate) -> Layers:
        """The layers."""
        shape = (self.count, self.region.height, self.region.width)
        found = slate.array(self.start, shape, np.uint8, self.strides)
        return Layers(self.region, found[0], found[1], found[2] if self.count > 2 else None)


class Sheets:
    """All of this memory.

    Args:
        slate: the shared memory.
        start: of the first byte for sheets.
        room: bytes; `ROOM` if left out.
    """

    def __init__(self, slate: Slate, start: int, room: int | None = None) -> None:
        room = ROOM if room is None else room
        self.start = -(-start // mmap.PAGESIZE) * mmap.PAGESIZE
        self.memory = slate.array(self.start, (room,), np.uint8)
        self.free = [(0, room)]  # gaps: first byte and the one after the last, in order
        self.returned: deque[tuple[int, int]] = deque()  # the last one to have a sheet may be any thread

    def take(self, shape: tuple[int, ...]) -> Sheet | None:
        """Memory for pictures of a shape; None if there is no gap that is large enough."""
        size = int(np.prod(shape))
        self._tidy()
        at = next((at for at, (first, end) in enumerate(self.free) if end - first >= size), None)
        if at is None or size == 0:
            return None
        first, end = self.free.pop(at)
        if first + size < end:
            self.free.insert(at, (first + size, end))
        sheet = Sheet(self.start + first, self.memory[first : first + size].reshape(shape))
        weakref.finalize(sheet, self.returned.append, (first, first + size)).atexit = False
        return sheet

    def _tidy(self) -> None:
        """Join what has been returned with the gaps beside it."""
        while self.returned:
            insort(self.free, self.returned.popleft())
        joined: list[tuple[int, int]] = []
        for first, end in self.free:
            if joined and joined[-1][1] == first:
                joined[-1] = (joined[-1][0], end)
            else:
                joined.append((first, end))
        self.free = joined
