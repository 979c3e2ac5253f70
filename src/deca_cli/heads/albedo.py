"""Skin colour in UV space as a linear model."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from deca_cli.heads.assets import AlbedoAssets


class Albedo(nn.Module):
    """Mean plus components (spec section 1.4): red, green, blue, about 0..1 and not clamped."""

    mean: Tensor  # [3, A, A]
    basis: Tensor  # [N, 3 A A]

    def __init__(self, assets: AlbedoAssets) -> None:
        super().__init__()
        self.size: int = assets.mean.shape[1]
        self.components: int = assets.basis.shape[3]
        basis = torch.from_numpy(assets.basis).movedim(3, 0).reshape(self.components, assets.mean.size)
        self.register_buffer("mean", torch.from_numpy(assets.mean).clone(), persistent=False)
        self.register_buffer("basis", basis.contiguous(), persistent=False)

    def forward(self, codes: Tensor) -> Tensor:
        """[B, N] albedo codes -> [B, 3, A, A] colours."""
        return self.mean + (codes @ self.basis).unflatten(1, self.mean.shape)
