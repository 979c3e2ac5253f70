"""Threads that share one heap."""

import os
import subprocess
import sys

import pytest

HEAPS = """
import ctypes, sys, tempfile, threading
from deca_cli.pipeline.heap import share_one_heap
if sys.argv[1] == "share":
    assert share_one_heap()
c, together, kept = ctypes.CDLL(None), threading.Barrier(4), []
c.malloc.restype, c.fopen.restype = ctypes.c_void_p, ctypes.c_void_p
c.malloc_info.argtypes, c.fclose.argtypes = [ctypes.c_int, ctypes.c_void_p], [ctypes.c_void_p]
def work():
    kept.append(c.malloc(50_000))
    together.wait()
threads = [threading.Thread(target=work) for _ in range(4)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
with tempfile.NamedTemporaryFile() as file:
    told = c.fopen(file.name.encode(), b"w")
    c.malloc_info(0, told)
    c.fclose(told)
    print(file.read().count(b"<heap nr="))
"""


def heaps(how: str) -> int:
    """How many heaps four threads that allocate at the same time make do with."""
    done = subprocess.run([sys.executable, "-c", HEAPS, how], capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif(
    "CS_GNU_LIBC_VERSION" not in getattr(os, "confstr_names", {}), reason="needs the C library of GNU"
)
def test_threads_share_one_heap_from_then_on():
    assert heaps("keep") > 1
    assert heaps("share") == 1
