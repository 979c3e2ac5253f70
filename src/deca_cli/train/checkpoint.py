"""Checkpoints: one safetensors file each, whole or absent, nothing in it is ever run."""

from __future__ import annotations

import json
import os
import re
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from deca_cli.atomic import make_folder, write_durable_file, write_file
from deca_cli.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from torch import Tensor, nn

    from deca_cli.train.average import MovingAverage

NAME = re.compile(r"step_(\d{8})\.safetensors")
BEST = "best.safetensors"


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """The state of a run after a number of steps."""

    step: int
    tensors: Mapping[str, Tensor]
    """By dotted names: `network.*`, `average.*`, `optimizer.NUMBER.*`."""
    settings: Mapping[str, Any]
    """Every setting by its name in a file."""
    values: Mapping[str, Any] = field(default_factory=dict)
    """Further plain values: seconds so far, best validation, where the start came from."""

    def part(self, prefix: str) -> dict[str, Tensor]:
        """The tensors below a name, without it."""
        start = f"{prefix}."
        return {n.removeprefix(start): t for n, t in self.tensors.items() if n.startswith(start)}


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> Path:
    """Write a checkpoint; it is on the disk when this returns.

    Raises:
        OutputError: it cannot be written; an older file of that name stays as it was.
    """
    about = {
        "step": checkpoint.step,
        "settings": dict(checkpoint.settings),
        "values": dict(checkpoint.values),
    }
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in checkpoint.tensors.items()}
    content = save(tensors, metadata={"deca": json.dumps(about)})
    return write_durable_file(path, lambda stream: stream.write(content))


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint.

    Raises:
        ModelError: the file is missing, damaged or none of this program.
    """
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            about = json.loads((file.metadata() or {})["deca"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no mapping
        return Checkpoint(int(about["step"]), tensors, about["settings"], about["values"])
    except (SafetensorError, OSError, KeyError, ValueError, TypeError) as error:
        raise ModelError(
            f"{path} is not a readable checkpoint ({error}). Delete it; an earlier one is used."
        ) from error


@dataclass(frozen=True)
class CheckpointFolder:
    """The checkpoints of a run: the last few, the best, and those kept for good."""

    folder: Path
    keep_last: int
    archive: int = 0
    """Every so many checkpoints one is kept for good."""
    every: int = 1
    """Steps between checkpoints."""

    def save(self, checkpoint: Checkpoint, *, is_best: bool) -> Path:
        """Write a checkpoint and take away what is no longer kept.

        Raises:
            OutputError: it cannot be written.
        """
        make_folder(self.folder)
        path = save_checkpoint(self.folder / f"step_{checkpoint.step:08d}.safetensors", checkpoint)
        if is_best:
            self._link(path, self.folder / BEST)
        # Files of later steps are no part of the count: the run went on from before them, as they cannot be read.
        earlier = [(step, old) for step, old in self.found() if step < checkpoint.step]
        for step, old in earlier[max(self.keep_last - 1, 0) :]:
            if not self.archive or step % (self.archive * self.every):
                old.unlink(missing_ok=True)
        return path

    def found(self) -> list[tuple[int, Path]]:
        """Step and file of all checkpoints, newest first."""
        files = list(self.folder.iterdir()) if self.folder.is_dir() else []
        numbered = [(NAME.fullmatch(path.name), path) for path in files]
        return sorted(((int(match[1]), path) for match, path in numbered if match), reverse=True)

    def newest(self) -> tuple[Checkpoint | None, list[str]]:
        """The newest checkpoint that can be read, and a sentence for each newer one that cannot."""
        problems: list[str] = []
        for _, path in self.found():
            checkpoint = self._readable(path, problems)
            if checkpoint is not None:
                return checkpoint, problems
        return None, problems

    @staticmethod
    def _readable(path: Path, problems: list[str]) -> Checkpoint | None:
        try:
            return load_checkpoint(path)
        except ModelError as error:
            problems.append(str(error))
            return None

    def tidy(self) -> None:
        """Take away what a killed run left half written. Only for the one process that owns the run."""
        for part in self.folder.glob(".*.part") if self.folder.is_dir() else ():
            part.unlink(missing_ok=True)

    def _link(self, path: Path, target: Path) -> None:
        """A second name for a file, in one step; a copy where the disk knows no second names."""
        draft = target.with_name(f".{target.name}.part")
        with suppress(OSError):
            draft.unlink(missing_ok=True)
            os.link(path, draft)
            draft.replace(target)
            return
        write_file(target, lambda stream: stream.write(path.read_bytes()))


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimizer's memory by dotted names; its settings follow from the run's settings."""
    state = optimizer.state_dict()["state"]
    return {
        f"{number}.{name}": torch.as_tensor(value)
        for number, entries in state.items()
        for name, value in entries.items()
    }


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Give an optimizer its memory back.

    Raises:
        ModelError: it belongs to other parameters.
    """
    state: dict[int, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        place, _, entry = key.partition(".")
        state.setdefault(int(place), {})[entry] = tensor
    groups = optimizer.state_dict()["param_groups"]
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    fits = all(
        number < len(parameters) and entries["exp_avg"].shape == parameters[number].shape
        for number, entries in state.items()
    )
    if not fits:
        raise ModelError(
            "The optimizer's memory in the checkpoint belongs to another network. Start a new run with --init."
        )
    for number, entries in state.items():
        parameter = parameters[number]
        for name, tensor in entries.items():
            if tensor.shape == parameter.shape:
                # Fused kernels rely on the parameter's own order of numbers.
                entries[name] = torch.empty_like(parameter, requires_grad=False).copy_(tensor)
    optimizer.load_state_dict({"state": state, "param_groups": groups})


def run_tensors(
    networks: Mapping[str, nn.Module], average: MovingAverage | None, optimizer: torch.optim.Optimizer
) -> dict[str, Tensor]:
    """Everything of a run that is made of tensors."""
    tensors: dict[str, Tensor] = {}
    for name, network in networks.items():
        tensors |= {f"network.{name}.{key}": value for key, value in network.state_dict().items()}
    if average is not None:
        tensors |= {f"average.{name}": value for name, value in average.state.items()}
    return tensors | {f"optimizer.{name}": value for name, value in optimizer_tensors(optimizer).items()}


def restore_run(
    checkpoint: Checkpoint,
    networks: Mapping[str, nn.Module],
    average: MovingAverage | None,
    optimizer: torch.optim.Optimizer,
) -> None:
    """Put the tensors of `run_tensors` back.

    Raises:
        ModelError: the optimizer's belong to other parameters.
    """
    for name, network in networks.items():
        network.load_state_dict(checkpoint.part(f"network.{name}"))
    if average is not None:
        for name, value in checkpoint.part("average").items():
            average.state[name].copy_(value)
    restore_optimizer(optimizer, checkpoint.part("optimizer"))
