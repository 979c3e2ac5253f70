"""When a call may skip torch's dispatcher."""

import torch
from torch import Tensor

_ORDINARY = (Tensor, torch.nn.Parameter)


def is_plain_call(*tensors: Tensor) -> bool:
    """Whether nobody watches: no gradient is wanted and nothing traces the call.

    The operators of `ops` cost several times what the kernels cost to start, and give nothing then.
    """
    if torch.compiler.is_compiling():
        return False
    tracked = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)
    return not tracked and all(type(tensor) in _ORDINARY for tensor in tensors)
