"""The GPU's driver takes a good part of a second to get ready, and needs neither torch nor Python's lock for it."""

from __future__ import annotations

import ctypes
import os

DRIVER = "nvcuda.dll" if os.name == "nt" else "libcuda.so.1"


def wake_gpu(local: int) -> None:
    """Make the context of the GPU that torch will use; for a thread beside the one that imports torch.

    What goes wrong is left for torch to find and to tell.

    Args:
        local: number of this process among those on this machine; they take the GPUs in turn.
    """
    try:
        driver = ctypes.CDLL(DRIVER)
    except OSError:
        return
    count, device, context = ctypes.c_int(), ctypes.c_int(), ctypes.c_void_p()
    if driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count)) or not count.value:
        return
    if not driver.cuDeviceGet(ctypes.byref(device), local % count.value):
        driver.cuDevicePrimaryCtxRetain(ctypes.byref(context), device)
