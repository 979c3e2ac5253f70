"""Compiling chains of small operations over pixels into few kernels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Callable


def as_it_is(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function itself, where compiling it would not pay."""
    return function


def fuser(*, fused: bool) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """What to put the functions through: torch's compiler, or nothing."""
    return torch.compile if fused else as_it_is
