"""Who watches a call: a compiler, autograd, or nobody."""

import torch
from torch import Tensor

_ORDINARY = (Tensor, torch.nn.Parameter)


def is_traced(*tensors: Tensor) -> bool:
    """Whether the operators have to be used: something compiles, exports or wraps the call."""
    if torch.compiler.is_compiling():
        return True
    for tensor in tensors:  # noqa: SIM110 - any() takes longer than the rest of this function, at every call
        if type(tensor) not in _ORDINARY:
            return True
    return False


def is_tracked(*tensors: Tensor) -> bool:
    """Whether a gradient is wanted."""
    if torch.is_grad_enabled():
        for tensor in tensors:
            if tensor.requires_grad:
                return True
    return False


def is_ordinary(*tensors: Tensor) -> bool:
    """Neither of the two above: what computes may be called without autograd and dispatcher around it."""
    if torch.compiler.is_compiling():
        return False
    tracking = torch.is_grad_enabled()
    for tensor in tensors:  # noqa: SIM110 - as above
        if type(tensor) not in _ORDINARY or (tracking and tensor.requires_grad):
            return False
    return True
