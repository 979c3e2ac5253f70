"""All loops that numba compiles for reconstructing photos."""

from __future__ import annotations

from deca_cli.photo import cascade, cascade_kernel, sample_kernel
from deca_cli.render import cpu


def kernels_are_compiled() -> bool:
    """Whether the rasteriser and the face finder start at once: in memory or in the disk cache."""
    return cpu.is_compiled() and cascade_kernel.is_compiled() and sample_kernel.is_compiled()


def compile_kernels() -> None:
    """Compile both and keep them on disk; takes some seconds on the first run."""
    cpu.compile_kernel()
    cascade.compile_kernel()
    sample_kernel.compile_kernel()
