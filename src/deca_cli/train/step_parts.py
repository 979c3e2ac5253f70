"""Parts of a training step: optimizer, learning rate, random states, means over processes."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from deca_cli.errors import UsageError
from deca_cli.train.objectives.batches import draw_order

if TYPE_CHECKING:
    from deca_cli.train.config.settings import LoopSettings
    from deca_cli.train.data.batch import PersonBatch
    from deca_cli.train.processes import Process


def records_steps(train: LoopSettings, process: Process) -> bool:
    """Whether steps are replayed as a CUDA graph.

    Raises:
        UsageError: wanted, but there is no GPU.
    """
    if train.cuda_graphs == "auto":
        return process.device.type == "cuda"
    if train.cuda_graphs and process.device.type != "cuda":
        raise UsageError(
            f"train.cuda_graphs needs an NVIDIA GPU, but this run is on the {process.device.type}. Leave it out, or "
            "--set train.cuda_graphs=false."
        )
    return train.cuda_graphs


def make_optimizer(network: nn.Module, train: LoopSettings, process: Process) -> torch.optim.Optimizer:
    """Adam or AdamW; weight decay on kernels and matrices only. For recorded steps it lives on the device altogether."""
    kernels = [p for p in network.parameters() if p.dim() > 1]
    vectors = [p for p in network.parameters() if p.dim() <= 1]
    recorded = records_steps(train, process)
    rates = [torch.tensor(train.lr, device=process.device) if recorded else train.lr for _ in range(2)]
    groups = [
        {"params": kernels, "weight_decay": train.weight_decay, "lr": rates[0]},
        {"params": vectors, "weight_decay": 0.0, "lr": rates[1]},
    ]
    kind = torch.optim.Adam if train.optimizer == "adam" else torch.optim.AdamW
    return kind(groups, fused=process.device.type == "cuda", capturable=recorded)


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """For all parameters; a rate that lives on the device is changed where it is, because a recorded step reads it there."""
    for group in optimizer.param_groups:
        if isinstance(group["lr"], torch.Tensor):
            group["lr"].fill_(rate)
        else:
            group["lr"] = rate


def learning_rate_at(train: LoopSettings, step: int, done: float) -> float:
    """Linear warm-up over steps; then constant, or half a cosine over the share `done` of the run."""
    warm = min(1.0, (step + 1) / train.warmup_steps) if train.warmup_steps else 1.0
    if train.schedule == "constant":
        return train.lr * warm
    return train.lr * warm * 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))


def step_seed(seed: int, step: int, rank: int) -> int:
    """A number below 2^63 that depends on all three; rank -1 is common to all processes."""
    words = np.random.SeedSequence([seed, step, rank + 1]).generate_state(2, np.uint32)
    return (int(words[0]) << 31) ^ int(words[1])


def seed_everything(seed: int, step: int, rank: int) -> None:
    """Random states of torch at the start of a step; nothing else draws numbers in a step."""
    torch.manual_seed(step_seed(seed, step, rank))


def mean_over_processes(terms: dict[str, Tensor], process: Process) -> dict[str, float]:
    """Terms of the whole batch: sums over it were multiplied by the number of processes already."""
    values = torch.stack([term.detach().float() for term in terms.values()])
    if process.world > 1:
        torch.distributed.all_reduce(values)
        values = values / process.world
    return dict(zip(terms, values.tolist(), strict=True))


def swap_order(seed: int, step: int, batch: PersonBatch, process: Process) -> Tensor:
    """Whose code every picture gets in a step: this process's rows [P, K] of the swap of the whole batch (spec 8.2)."""
    generator = torch.Generator().manual_seed(step_seed(seed, step, -1))
    order = draw_order(batch.people * process.world, batch.per_person, generator)
    first = batch.people * process.rank
    mine = order[first : first + batch.people]
    if (
        batch.images.device.type == "cuda"
    ):  # from pinned memory the copy does not wait for what the GPU is doing
        return mine.pin_memory().to(batch.images.device, non_blocking=True)
    return mine
