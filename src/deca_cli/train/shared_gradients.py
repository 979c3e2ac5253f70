"""One model in several processes: the same weights at the start, the mean of all gradients in every step."""

from __future__ import annotations

from contextlib import nullcontext
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch.nn.modules.batchnorm import _BatchNorm

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from contextlib import AbstractContextManager

    from torch import Tensor, nn

PIECE = 24 * 2**20  # bytes: large enough for the full speed of a connection


@torch.no_grad()
def share_start(network: nn.Module) -> None:
    """Give all processes the first one's weights and statistics."""
    state = [value.detach() for value in network.state_dict().values()]
    for kind in (True, False):
        some = [value for value in state if value.is_floating_point() == kind]
        if some:
            _in_one_message(some, lambda message: torch.distributed.broadcast(message, 0))


@torch.no_grad()
def share_statistics(network: nn.Module, *averages: Mapping[str, Tensor]) -> None:
    """Give all processes the mean of their running statistics of batch normalisation in training.

    Args:
        network: whose statistics are changed.
        averages: of the network's state over time, by its names; changed as well.
    """
    norms = [name for name, one in network.named_modules() if isinstance(one, _BatchNorm) and one.training]
    state = network.state_dict()
    names = [f"{norm}.{kind}" for norm in norms for kind in ("running_mean", "running_var")]
    some = [values[name].detach() for values in (state, *averages) for name in names if name in state]
    if some:
        _in_one_message(some, _mean)


class SharedGradients:
    """Replaces every gradient by its mean over all processes, in which the same parameters must have one.

    Either all gradients travel in one message after the backward pass; or `early`, in a few pieces, those of the last layers first:
    each sets out when the pass has made it, on a stream of its own, so that the rest of the pass does not wait for it. If
    the pass sends messages itself, as shared batch normalisation does, these would have to wait for the pieces, or the pieces need
    a second connection; and NCCL promises nothing about two that are busy at once. Both ways can be a part of a recorded step.

    Args:
        network: whose gradients are shared.
        device: of the network.
        early: during the pass. Nothing in it may send messages.
    """

    def __init__(self, network: nn.Module, device: torch.device, *, early: bool) -> None:
        parameters = [one for one in network.parameters() if one.requires_grad]
        self.pieces = _pieces(parameters) if early else [parameters]
        self.side = torch.cuda.Stream(device) if early and device.type == "cuda" else None
        self.begin()
        self.hooks = [
            parameter.register_post_accumulate_grad_hook(partial(self._arrived, number))
            for number, piece in enumerate(self.pieces)
            for parameter in piece
            if early
        ]

    def begin(self) -> None:
        """Before the backward pass."""
        self.missing, self.sent = [len(piece) for piece in self.pieces], 0

    def finish(self) -> None:
        """After the backward pass: send what is left, and let the device wait for all answers."""
        while self.sent < len(self.pieces):
            self._send()
        if self.side is not None:
            torch.cuda.current_stream().wait_stream(self.side)

    def close(self) -> None:
        """Leave the gradients of later backward passes alone."""
        for hook in self.hooks:
            hook.remove()

    def _arrived(self, number: int, _: Tensor) -> None:
        """Called when a parameter of a piece got its gradient."""
        self.missing[number] -= 1
        # One after the other: messages must set out in the same order in all processes.
        while self.sent < len(self.pieces) and self.missing[self.sent] == 0:
            self._send()

    @torch.no_grad()
    def _send(self) -> None:
        """The next piece."""
        gradients = [one.grad for one in self.pieces[self.sent] if one.grad is not None]
        self.sent += 1
        if gradients:
            with self._aside():
                _in_one_message(gradients, _mean)

    def _aside(self) -> AbstractContextManager[object]:
        """On the stream of its own, if there is one, after what the device was given to do so far."""
        if self.side is None:
            return nullcontext()
        self.side.wait_stream(torch.cuda.current_stream())
        return torch.cuda.stream(self.side)


def _mean(message: Tensor) -> None:
    torch.distributed.all_reduce(message)
    message.div_(torch.distributed.get_world_size())


def _pieces(parameters: Sequence[nn.Parameter]) -> list[list[nn.Parameter]]:
    """Parameters from the last to the first, in pieces of about the same size."""
    pieces: list[list[nn.Parameter]] = []
    room = 0
    for parameter in reversed(parameters):
        if room <= 0:
            pieces.append([])
            room = PIECE
        pieces[-1].append(parameter)
        room -= parameter.numel() * parameter.element_size()
    return pieces


def _in_one_message(tensors: Sequence[Tensor], send: Callable[[Tensor], object]) -> None:
    """Copy tensors of one type behind each other, let `send` change the whole, and copy them back."""
    # In the order of memory, which follows that of the weights and is the same in all processes: no layout is converted.
    rows = [tensor.as_strided((tensor.numel(),), (1,)) for tensor in tensors]
    message = torch.cat(rows)
    send(message)
    torch._foreach_copy_(rows, message.split([len(row) for row in rows]))
