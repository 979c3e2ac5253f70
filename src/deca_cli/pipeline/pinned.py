"""Shared memory that the GPU reads and writes by itself: without this every byte is copied once more by the CPU."""

from __future__ import annotations

from contextlib import suppress
from threading import Thread
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

PORTABLE = 1  # for all contexts of the process


class Pinned:
    """Memory that a thread of its own pins, part after part, while copies from and to it go on.

    Where a system does not allow it, copies stay what they are: slower, and no different in what they bring.

    Args:
        parts: contiguous arrays that begin on a page of memory each and share none; a copy lies within one of them.
        device: the GPU.
    """

    def __init__(self, parts: Sequence[np.ndarray], device: torch.device) -> None:
        self.parts, self.device = parts, device
        self.done: list[np.ndarray] = []
        self.ending = False
        self.thread = Thread(target=self._try_to_pin, name="pin", daemon=True)
        self.thread.start()

    def _try_to_pin(self) -> None:
        with suppress(RuntimeError):  # of CUDA; whoever uses the GPU next tells what is wrong with it
            self._pin()

    def _pin(self) -> None:
        runtime = torch.cuda.cudart()
        torch.cuda.set_device(self.device)
        for part in self.parts:
            if self.ending:
                return
            if runtime.cudaHostRegister(part.ctypes.data, part.nbytes, PORTABLE) != runtime.cudaError.success:
                return
            self.done.append(part)

    def close(self) -> None:
        """Make it ordinary memory again."""
        self.ending = True
        self.thread.join()
        while self.done:
            torch.cuda.cudart().cudaHostUnregister(self.done.pop().ctypes.data)
