"""Another learning rate for some of a layer's outputs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from torch.optim import Optimizer


class OutputRates:
    """Makes an optimizer move some outputs of a linear layer further, or less far, than it would.

    An optimizer knows one rate for a tensor, and Adam does not care how large a gradient is, so neither its groups nor a
    factor on the gradient can do this. After every step the layer's weights and biases are therefore carried on along the
    way that they have just gone: w = w_before + factor (w_after - w_before). Weight decay is multiplied likewise. Nothing
    is remembered from step to step, so a resumed run is not changed by it.

    Args:
        optimizer: moves the layer.
        layer: the linear layer.
        factors: [outputs] of the learning rate, one for every output.
    """

    def __init__(self, optimizer: Optimizer, layer: nn.Linear, factors: Tensor) -> None:
        factors = factors.to(layer.weight)
        self.parts = [(layer.weight, factors[:, None]), (layer.bias, factors)]
        # Places that stay, because a recorded step goes on using them.
        self.before = [torch.empty_like(parameter) for parameter, _ in self.parts]
        optimizer.register_step_pre_hook(lambda *_: self._note())
        optimizer.register_step_post_hook(lambda *_: self._carry_on())

    @torch.no_grad()
    def _note(self) -> None:
        for (parameter, _), before in zip(self.parts, self.before, strict=True):
            before.copy_(parameter)

    @torch.no_grad()
    def _carry_on(self) -> None:
        for (parameter, factor), before in zip(self.parts, self.before, strict=True):
            parameter.copy_(torch.lerp(before, parameter, factor))
