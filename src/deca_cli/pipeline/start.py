"""Set the machine up for a run: threads, device, compiled kernels."""

from __future__ import annotations

import cv2
import torch

from deca_cli.cores import usable_cores
from deca_cli.errors import DeviceError
from deca_cli.photo import cascade, cascade_kernel, sample_kernel
from deca_cli.render import cpu


def set_threads(wanted: int | None) -> None:
    """Let torch, the rasteriser (it follows torch) and OpenCV use so many CPU threads; None = all cores given to us."""
    count = wanted or usable_cores()
    torch.set_num_threads(count)
    cv2.setNumThreads(count)


def choose_device(name: str) -> torch.device:
    """`auto`, `cpu` or `cuda` -> a device; `auto` takes the GPU if there is one.

    Raises:
        DeviceError: `cuda` without a usable NVIDIA GPU.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name == "cuda" and not torch.cuda.is_available():
        raise DeviceError(
            "--device cuda needs an NVIDIA GPU that torch can use, and there is none here. Check `nvidia-smi` and "
            "that a CUDA build of torch is installed, or use --device cpu."
        )
    return torch.device(name)


def kernels_are_compiled() -> bool:
    """Whether the rasteriser and the face finder start at once: in memory or in the disk cache."""
    return cpu.is_compiled() and cascade_kernel.is_compiled() and sample_kernel.is_compiled()


def compile_kernels() -> None:
    """Compile both and keep them on disk; takes some seconds on the first run."""
    cpu.compile_kernel()
    cascade.compile_kernel()
    sample_kernel.compile_kernel()
