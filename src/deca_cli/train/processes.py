"""One process per GPU: joining the group that ``torchrun`` started."""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from deca_cli.errors import DeviceError

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True)
class Process:
    """This process among those of ``torchrun``; alone it is the first of one."""

    rank: int
    world: int
    device: torch.device

    @property
    def first(self) -> bool:
        """Whether this process reports and saves."""
        return self.rank == 0

    def agree(self, value: float) -> float:
        """The first process's value, in all of them: what depends on a clock must not differ between processes."""
        if self.world == 1:
            return value
        shared = torch.tensor(value, device=self.device)
        torch.distributed.broadcast(shared, 0)
        return float(shared)

    def gather(self, value: int) -> list[int]:
        """The values of all processes by rank, in all of them."""
        if self.world == 1:
            return [value]
        places = [torch.zeros(1, dtype=torch.int64, device=self.device) for _ in range(self.world)]
        torch.distributed.all_gather(places, torch.tensor([value], device=self.device))
        return [int(place) for place in places]


def found_device(name: str) -> str:
    """`auto` -> `cuda` where torch sees an NVIDIA GPU, else `cpu`; other names stay."""
    if name != "auto":
        return name
    return "cuda" if torch.cuda.is_available() else "cpu"


def device_sentence(name: str) -> str:
    """Where training goes on: for a line at its start. Takes what `found_device` gives."""
    if name == "cuda" and torch.cuda.is_available():
        return f"training on {torch.cuda.get_device_name()}"
    if name == "cpu":
        return "training on the CPU" + (
            "" if torch.cuda.is_available() else ": torch sees no NVIDIA GPU here"
        )
    return f"training on {name}"


@contextmanager
def joined_processes(device: str) -> Iterator[Process]:
    """Join the group of processes, if there is one, and leave it at the end.

    Args:
        device: ``cuda`` (this process's own GPU) or ``cpu``.

    Raises:
        DeviceError: ``cuda`` without an NVIDIA GPU.
    """
    world, rank = (
        int(os.environ.get(name, default)) for name, default in (("WORLD_SIZE", "1"), ("RANK", "0"))
    )
    if device == "cuda":
        if not torch.cuda.is_available():
            raise DeviceError(
                "Training on `cuda` was asked for, but torch sees no NVIDIA GPU. Use --device cpu for a small try."
            )
        chosen = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(chosen)
    else:
        chosen = torch.device(device)
    if world == 1:
        yield Process(0, 1, chosen)
        return
    torch.distributed.init_process_group("nccl" if chosen.type == "cuda" else "gloo")
    try:
        yield Process(rank, world, chosen)
    finally:
        torch.distributed.destroy_process_group()
