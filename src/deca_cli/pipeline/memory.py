"""Telling when a GPU's memory ran out, whichever library says so, and what to do then."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch

from deca_cli.errors import DeviceError

if TYPE_CHECKING:
    from collections.abc import Iterator

# What torch's own allocator has no part in comes as another RuntimeError, with one of these in its text.
RAN_OUT = (
    "CUDA out of memory",
    "CUDA error: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
)


def ran_out(error: BaseException) -> bool:
    """Whether the error says that the GPU's memory does not hold what was asked of it."""
    if isinstance(error, torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(text in str(error) for text in RAN_OUT)


def too_small(what: str, error: BaseException) -> DeviceError:
    """The error that says what the GPU's memory does not hold."""
    told = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
    return DeviceError(
        f"the GPU's memory does not hold {what} ({told}). Close other programs that use the GPU, or use --device cpu."
    )


def release() -> None:
    """Give back what torch and the rasteriser keep for later; outside of a handler, whose traceback keeps tensors."""
    if not torch.cuda.is_available():
        return
    drawing = sys.modules.get("deca_cli.render.cuda_draw")  # without it nothing has been drawn
    if drawing is not None:
        drawing.rooms_of(torch.cuda.current_device()).drop()
    torch.cuda.empty_cache()


@contextmanager
def room_for(what: str) -> Iterator[None]:
    """A block that needs so much of the GPU's memory.

    Raises:
        DeviceError: it ran out.
    """
    try:
        yield
    except Exception as error:
        if ran_out(error):
            raise too_small(what, error) from error
        raise
