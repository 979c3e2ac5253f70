"""One heap for all threads, so that memory does not grow with the number of photos."""

from __future__ import annotations

import ctypes
import os

M_ARENA_MAX = -8  # of <malloc.h>


def share_one_heap() -> bool:
    """Let threads that allocate for the first time from now on use the main heap; whether that can be said here.

    The C library of Linux gives threads heaps of their own. What one of them has freed the others cannot use, and it is
    hardly ever given back: with networks in one thread and drawing in two others that was 150 MB. Other C
    libraries do not do that, or have no such setting; then nothing changes.
    """
    if "CS_GNU_LIBC_VERSION" not in getattr(os, "confstr_names", {}):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and bool(mallopt(M_ARENA_MAX, 1))
