"""Small constant tables on a device, sent there once: every new transfer would make the GPU wait."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor


@cache  # never given back: recorded CUDA graphs read them
@torch.inference_mode(False)  # what is kept must also serve a later training
def _sent(values: tuple[Any, ...], device: torch.device) -> Tensor:
    return torch.tensor(values, dtype=torch.float32, device=device)


def _filled(values: tuple[Any, ...], device: torch.device) -> Tensor:
    """The table made on the device: a compiler turns this into numbers within its kernels."""
    rows = [
        _filled(value, device) if isinstance(value, tuple) else torch.full((), float(value), device=device)
        for value in values
    ]
    return torch.stack(rows)


def constant(values: tuple[Any, ...], device: torch.device) -> Tensor:
    """float32 tensor of a (nested) tuple. Shared between callers: do not write into it."""
    # Compiled code would send a tensor of numbers at every call, and make the GPU wait.
    return _filled(values, device) if torch.compiler.is_compiling() else _sent(values, device)
