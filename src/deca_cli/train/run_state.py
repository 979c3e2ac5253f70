"""The state of an unfinished run on disk: written in one step, read without running anything in the file."""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from deca_cli.atomic import make_folder, write_durable_file
from deca_cli.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

FILE_NAME = "state.pt"


@dataclass(frozen=True)
class RunState:
    """All that a run needs to go on as if it had never stopped; its pictures follow from seed and step."""

    step: int
    done: float  # share of the run, 0..1
    elapsed_s: float
    settings: str  # YAML
    network: dict[str, Any]
    average: dict[str, Any]
    optimizer: dict[str, Any]


def write_state(folder: Path, state: RunState) -> None:
    """Replace the state in a run's folder; an older one stays until the new one is whole and on the disk.

    Raises:
        OutputError: it cannot be written.
    """
    write_durable_file(make_folder(folder) / FILE_NAME, lambda stream: torch.save(dict(vars(state)), stream))


def refuse_earlier_run(folder: Path) -> None:
    """Leave a folder alone that holds a run.

    Raises:
        UsageError: it does.
    """
    if (folder / FILE_NAME).exists():
        raise UsageError(
            f"{folder} holds a run already ({FILE_NAME}): go on with it by --resume, or choose another folder with --output."
        )


def read_state(folder: Path, device: torch.device) -> RunState:
    """Read the state of a run.

    Raises:
        UsageError: there is none, or it cannot be read.
    """
    path = folder / FILE_NAME
    try:
        return RunState(**torch.load(path, map_location=device, weights_only=True))
    except FileNotFoundError as error:
        raise UsageError(
            f"There is nothing to resume in {folder} (no {FILE_NAME}): start it without --resume."
        ) from error
    except (OSError, RuntimeError, TypeError, EOFError, pickle.UnpicklingError) as error:
        raise UsageError(
            f"The state in {path} cannot be read ({error}): start again without --resume."
        ) from error
