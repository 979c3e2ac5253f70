"""Exponential moving average of weights."""

from __future__ import annotations

import torch
from torch import nn


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
        mine, theirs = [], []
        for name, value in network.state_dict().items():
            if value.is_floating_point():
                mine.append(self.state[name])
                theirs.append(value.detach())
            else:
                self.state[name].copy_(value)
        torch._foreach_lerp_(mine, theirs, 1 - decay)  # one launch for all tensors
