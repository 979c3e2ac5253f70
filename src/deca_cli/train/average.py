"""Exponential moving average of weights."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import nn

if TYPE_CHECKING:
    from collections.abc import Iterator


class MovingAverage:
    """Average of a network's weights and running statistics over the last steps.

    Args:
        network: what is averaged; its present state is the start.
        decay: share of the old average that stays at every step.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay = decay
        self.state = {name: value.detach().clone() for name, value in network.state_dict().items()}

    @torch.no_grad()
    def update(self, network: nn.Module, step: int) -> None:
        """Take in the network's state after step number ``step``; the memory is short at the start."""
        decay = min(self.decay, (step + 1) / (step + 10))
        present = network.state_dict()
        smooth = [name for name, value in present.items() if value.is_floating_point()]
        counts = [name for name, value in present.items() if not value.is_floating_point()]
        # One launch for all tensors of a kind.
        torch._foreach_lerp_(
            [self.state[n] for n in smooth], [present[n].detach() for n in smooth], 1 - decay
        )
        if counts:
            torch._foreach_copy_([self.state[n] for n in counts], [present[n] for n in counts])


@contextmanager
def averaged(network: nn.Module, average: MovingAverage | None) -> Iterator[None]:
    """Inside, the network has the averaged weights; without an average nothing changes."""
    if average is None:
        yield
        return
    kept = {name: value.detach().clone() for name, value in network.state_dict().items()}
    network.load_state_dict(average.state)
    try:
        yield
    finally:
        network.load_state_dict(kept)
