"""Compiling chains of small operations over pixels into few kernels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from deca_cli.synthetic.constants import constant

if TYPE_CHECKING:
    from collections.abc import Callable


def as_it_is(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function itself, where compiling it would not pay."""
    return function


def fuser(*, fused: bool) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """What to put the functions through: torch's compiler, or nothing."""
    if not fused:
        return as_it_is
    # Compiled code is to keep the tables on the device; sending them anew would make it wait every time.
    torch.compiler.assume_constant_result(constant)
    return torch.compile
