"""Batch normalisation over the batch of all processes, so that many processes learn as one."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.distributed.nn.functional import all_reduce


class SharedBatchNorm2d(nn.BatchNorm2d):
    """`nn.BatchNorm2d` whose statistics in training are those of all processes together; works on the CPU too."""

    def forward(self, values: Tensor) -> Tensor:
        """[N, C, H, W] -> the same, normalised; every process must bring the same N."""
        if not self.training:
            return super().forward(values)
        x = values.float()
        count = x.numel() / x.shape[1] * torch.distributed.get_world_size()
        mean = all_reduce(x.sum((0, 2, 3))) / count
        centred = x - mean[:, None, None]
        variance = all_reduce(centred.square().sum((0, 2, 3))) / count
        self._remember(mean, variance * count / (count - 1))
        scale = self.weight * torch.rsqrt(variance + self.eps)
        return (centred * scale[:, None, None] + self.bias[:, None, None]).to(values.dtype)

    @torch.no_grad()
    def _remember(self, mean: Tensor, variance: Tensor) -> None:
        """Move the running statistics as one process would."""
        assert self.running_mean is not None  # noqa: S101 - tells mypy
        assert self.running_var is not None  # noqa: S101 - tells mypy
        assert self.num_batches_tracked is not None  # noqa: S101 - tells mypy
        assert self.momentum is not None  # noqa: S101 - tells mypy
        self.num_batches_tracked += 1
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance, self.momentum)


def share_norms(network: nn.Module, device: torch.device) -> None:
    """Let every batch normalisation of a network look at all processes; weights and names stay."""
    if device.type == "cuda":
        nn.SyncBatchNorm.convert_sync_batchnorm(network)
        return
    for module in network.modules():
        if type(module) is nn.BatchNorm2d:
            module.__class__ = SharedBatchNorm2d
