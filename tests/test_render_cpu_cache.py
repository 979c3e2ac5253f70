"""The compiled kernel is kept on disk, and the program can tell beforehand."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from deca_cli.render import cpu

PROGRAM = """
from deca_cli.render import cpu
before = cpu.is_compiled()
cpu.compile_kernel()
print(before, cpu.is_compiled())
"""


def run(cache: Path) -> str:
    environment = os.environ | {"NUMBA_CACHE_DIR": str(cache)}
    finished = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, check=True
    )
    return finished.stdout.strip()


def test_a_second_process_finds_the_kernel_in_the_cache(tmp_path: Path):
    assert run(tmp_path) == "False True"
    assert list(tmp_path.rglob("cpu._draw_band-*.nbi"))
    assert run(tmp_path) == "True True"


def test_without_a_folder_for_the_cache_the_kernel_is_compiled_all_the_same(monkeypatch: pytest.MonkeyPatch):
    def njit(*, cache: bool, **_options: object) -> Callable[[object], str]:
        if cache:
            raise RuntimeError("no locator available")
        return lambda _function: "compiled without a cache"

    monkeypatch.setattr(cpu.numba, "njit", njit)
    assert cpu.jit(run) == "compiled without a cache"
