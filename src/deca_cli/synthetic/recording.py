"""Batches drawn by a CUDA graph: recorded once, replayed without the cost of launching every small kernel."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Generic, TypeVar

import torch

from deca_cli.errors import DeviceError

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from deca_cli.synthetic.draws import Draws

WARM_UP = 3  # batches drawn before recording: kernels are compiled, constants sent, workspaces made
Batch = TypeVar("Batch")


def copied(batch: Batch) -> Batch:
    """A dataclass of tensors (or None) with storage of its own."""
    values = {field.name: getattr(batch, field.name) for field in fields(batch)}  # type: ignore[arg-type]
    return type(batch)(**{name: None if value is None else value.clone() for name, value in values.items()})


class Recording(Generic[Batch]):
    """A CUDA graph that draws batches of one size.

    The graph takes its random numbers from the given stream: a replay goes on where the stream stands, and seeding the
    stream anew between replays works as without a graph. It reads and writes the tensors that ``draw`` used while it
    was recorded, so whatever lasts from batch to batch must be changed in place.

    Args:
        draw: draws one batch; must not wait for the device nor copy from the host.
        draws: the source of its random numbers.
        lasting: tensors that ``draw`` writes into; they are as before after recording.

    Raises:
        DeviceError: not a CUDA device, or the batch cannot be recorded.
    """

    def __init__(self, draw: Callable[[], Batch], draws: Draws, lasting: list[Tensor]) -> None:
        if draws.device.type != "cuda":
            raise DeviceError(
                f"Batches are to be drawn by a CUDA graph, but the device is {draws.device}. "
                "Set the generator's `graph` to false, or train with --device cuda."
            )
        before, state = [tensor.clone() for tensor in lasting], draws.stream.get_state()
        try:
            self._warm_up(draw, draws.device)
            draws.stream.set_state(state)
            self.graph = torch.cuda.CUDAGraph()
            self.graph.register_generator_state(draws.stream)
            # Another thread (NCCL's watchdog) may use CUDA meanwhile.
            with torch.cuda.graph(self.graph, capture_error_mode="thread_local"):
                self.batch = draw()
        except RuntimeError as error:
            raise DeviceError(
                f"The batch of synthetic faces could not be recorded as a CUDA graph: {error} "
                "Set the generator's `graph` to false to draw without it, more slowly."
            ) from error
        for tensor, earlier in zip(lasting, before, strict=True):
            tensor.copy_(earlier)

    @staticmethod
    def _warm_up(draw: Callable[[], Batch], device: torch.device) -> None:
        aside = torch.cuda.Stream(device)
        aside.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(aside):
            for _ in range(WARM_UP):
                draw()
        torch.cuda.current_stream(device).wait_stream(aside)

    def replay(self) -> Batch:
        """The next batch."""
        self.graph.replay()
        return copied(self.batch)
