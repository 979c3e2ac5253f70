"""One model in several processes: the same weights at the start, the mean of all gradients in every step.

Everything travels in one message, after the backward pass. Between GPUs of one machine that takes a few hundredths of a step, and
unlike hooks on single gradients it can be a part of a recorded step.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from torch import Tensor, nn


@torch.no_grad()
def share_start(network: nn.Module) -> None:
    """Give all processes the first one's weights and statistics."""
    state = [value.detach() for value in network.state_dict().values()]
    for kind in (True, False):
        some = [value for value in state if value.is_floating_point() == kind]
        if some:
            _in_one_message(some, lambda message: torch.distributed.broadcast(message, 0))


@torch.no_grad()
def share_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Replace every gradient by its mean over all processes, in which the same parameters must have one."""
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]

    def mean(message: Tensor) -> None:
        torch.distributed.all_reduce(message)
        message.div_(torch.distributed.get_world_size())

    _in_one_message(gradients, mean)


def _in_one_message(tensors: Sequence[Tensor], send: Callable[[Tensor], object]) -> None:
    """Copy tensors of one type behind each other, let `send` change the whole, and copy them back."""
    # In the order of memory, which follows that of the weights and is the same in all processes: no layout is converted.
    rows = [tensor.as_strided((tensor.numel(),), (1,)) for tensor in tensors]
    message = torch.cat(rows)
    send(message)
    torch._foreach_copy_(rows, message.split([len(row) for row in rows]))
