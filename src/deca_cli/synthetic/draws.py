"""Seeded draws on one device: every random number of the generator comes from here."""

from __future__ import annotations

import math
from itertools import accumulate
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from deca_cli.synthetic.constants import constant

if TYPE_CHECKING:
    from collections.abc import Sequence


class Draws:
    """Random numbers from one seeded stream on one device.

    Args:
        seed: seed of the stream; the same seed and the same calls give the same numbers on the same device.
        device: where the numbers live.
    """

    def __init__(self, seed: int, device: torch.device | str = "cpu") -> None:
        self.device = torch.device(device)
        self.stream = torch.Generator(device=self.device).manual_seed(seed)

    def uniform(self, *shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        """Uniform in [low, high), float32 of the given shape."""
        return torch.rand(shape, generator=self.stream, device=self.device) * (high - low) + low

    def normal(self, *shape: int, mean: float = 0.0, std: float = 1.0) -> Tensor:
        """Gaussian, float32 of the given shape."""
        return torch.randn(shape, generator=self.stream, device=self.device) * std + mean

    def chance(self, probability: float, *shape: int) -> Tensor:
        """Booleans that are true with the given probability."""
        return torch.rand(shape, generator=self.stream, device=self.device) < probability

    def integers(self, count: int, *shape: int) -> Tensor:
        """Whole numbers in [0, count), int64."""
        return torch.randint(0, count, shape, generator=self.stream, device=self.device)

    def choice(self, weights: Sequence[float], size: int) -> Tensor:
        """``size`` indices drawn with the given relative weights, int64."""
        total = sum(weights)
        edges = constant(tuple(edge / total for edge in accumulate(weights))[:-1], self.device)
        return torch.bucketize(self.uniform(size), edges, right=True)

    def log_uniform(self, *shape: int, low: float, high: float) -> Tensor:
        """Uniform in the logarithm between two positive numbers."""
        return torch.exp(self.uniform(*shape, low=math.log(low), high=math.log(high)))

    def directions(self, *shape: int) -> Tensor:
        """Unit vectors, uniform on the sphere, [..., 3]."""
        return torch.nn.functional.normalize(self.normal(*shape, 3), dim=-1)

    def smooth_noise(self, batch: int, channels: int, size: int, cells: int) -> Tensor:
        """Band-limited noise [batch, channels, size, size] of about unit variance, ``cells`` bumps across."""
        coarse = self.normal(batch, channels, cells + 3, cells + 3)
        fine = torch.nn.functional.interpolate(coarse, size=(size, size), mode="bicubic", align_corners=False)
        return fine * 1.25  # bicubic averaging lowers the variance by about a third

    def cloud_noise(
        self, batch: int, channels: int, size: int, cells: Sequence[int], falloff: float = 0.6
    ) -> Tensor:
        """Sum of smooth noises over several scales, each ``falloff`` times weaker than the one before."""
        total = torch.zeros(batch, channels, size, size, device=self.device)
        weight, energy = 1.0, 0.0
        for count in cells:
            total = total + weight * self.smooth_noise(batch, channels, size, count)
            energy += weight * weight
            weight *= falloff
        return total / math.sqrt(energy)
