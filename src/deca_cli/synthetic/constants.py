"""Small constant tables on a device, sent there once: every new transfer would make the GPU wait."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor


@cache  # never given back: recorded CUDA graphs read them
def _sent(values: tuple[Any, ...], device: torch.device) -> Tensor:
    return torch.tensor(values, dtype=torch.float32, device=device)


def constant(values: tuple[Any, ...], device: torch.device) -> Tensor:
    """float32 tensor of a (nested) tuple. Shared between callers: do not write into it."""
    return _sent(values, device)
