"""Weights on disk: safetensors files, read strictly."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save

from deca_cli.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from torch import Tensor, nn

COUNTER = "num_batches_tracked"  # only training reads it; old checkpoints lack it
NAMED_AT_MOST = 5


def load_weights(network: nn.Module, path: Path) -> None:
    """Fill a network (which may be on the meta device) from a file, as float32.

    Raises:
        ModelError: The file is missing or damaged, or its tensors are not exactly those of the network.
    """
    try:
        state = load_file(path, device="cpu")
    except FileNotFoundError as error:
        raise ModelError(f"The model pack lacks the file {path}: get the pack again.") from error
    except (SafetensorError, OSError) as error:
        raise ModelError(
            f"{path} is not a readable safetensors file ({error}): get the pack again."
        ) from error
    fill(network, state, str(path))


def fill(network: nn.Module, state: Mapping[str, Tensor], source: str) -> None:
    """Give a network exactly these tensors, as float32.

    Raises:
        ModelError: A tensor is missing, unknown or misshapen; the message names it and `source`.
    """
    expected = network.state_dict()
    check_state(expected, state, source)
    complete = {
        name: torch.zeros((), dtype=torch.int64) if name.endswith(COUNTER) else state[name].to(torch.float32)
        for name in expected
    }
    network.load_state_dict(complete, strict=True, assign=True)


def check_state(expected: Mapping[str, Tensor], state: Mapping[str, Tensor], source: str) -> None:
    """Compare names and shapes.

    Raises:
        ModelError: They differ; the message names the tensors.
    """
    missing = [name for name in expected if name not in state and not name.endswith(COUNTER)]
    unknown = [name for name in state if name not in expected]
    misshapen = [
        f"{name} ({list(state[name].shape)} instead of {list(tensor.shape)})"
        for name, tensor in expected.items()
        if name in state and not name.endswith(COUNTER) and state[name].shape != tensor.shape
    ]
    problems = [
        f"{what} {_some(names)}"
        for what, names in (("missing:", missing), ("misshapen:", misshapen), ("unknown:", unknown))
        if names
    ]
    if problems:
        raise ModelError(
            f"The weights in {source} do not fit their network; {'; '.join(problems)}. The file is incomplete or "
            "belongs to another model: get it again."
        )


def _some(names: list[str]) -> str:
    rest = len(names) - NAMED_AT_MOST
    return ", ".join(names[:NAMED_AT_MOST]) + (f" and {rest} more" if rest > 0 else "")


def save_weights(state: Mapping[str, Tensor], path: Path, dtype: torch.dtype) -> None:
    """Write a state dict; matrices and kernels as `dtype`, vectors as float32, counters not at all."""
    stored = {
        name: tensor.detach().cpu().to(dtype if tensor.dim() > 1 else torch.float32).contiguous()
        for name, tensor in state.items()
        if not name.endswith(COUNTER)
    }
    path.write_bytes(save(stored))  # the library's own writer lets nobody but the owner read the file
