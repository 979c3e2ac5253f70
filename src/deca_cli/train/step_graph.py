"""Whole training steps as a CUDA graph: recorded once, then replayed without the host's work for every kernel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from deca_cli.errors import DeviceError
from deca_cli.train.data.batch import PersonBatch

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from deca_cli.train.processes import Process

WARM_UP = 4  # ordinary steps first: kernels are compiled and chosen, the optimizer gets its memory


@dataclass(frozen=True, eq=False)
class Recording:
    """A recorded step with the places that it reads from and writes to."""

    graph: torch.cuda.CUDAGraph
    inputs: tuple[Tensor, ...]
    terms: dict[str, Tensor]


class RecordedStep:
    """Gives the same results as the step itself. The first few steps are ordinary ones.

    Args:
        update: a batch and its order -> detached terms, after the weights have moved. It must not wait for the device, and
            read nothing that changes from step to step but its arguments and tensors that are changed in place.
        process: this one among all. Either all replay or none does: messages of a replay would not meet those of an ordinary step.
    """

    def __init__(self, update: Callable[[PersonBatch, Tensor], dict[str, Tensor]], process: Process) -> None:
        self.update, self.process, self.steps = update, process, 0
        self.side = torch.cuda.Stream()
        self.recording: Recording | None = None

    def __call__(self, batch: PersonBatch, order: Tensor) -> dict[str, Tensor]:
        """One step; the terms stay valid after the next one.

        Raises:
            DeviceError: the step cannot be recorded, in this process or in another one; then all raise it.
        """
        self.steps += 1
        if self.steps <= WARM_UP:
            return self._aside(batch, order)
        inputs = (batch.images, batch.landmarks, batch.masks, order)
        if self.recording is None:
            self.recording = self._record_together(inputs)
        for place, value in zip(self.recording.inputs, inputs, strict=True):
            place.copy_(value)
        self.recording.graph.replay()
        return {name: term.clone() for name, term in self.recording.terms.items()}

    def _aside(self, batch: PersonBatch, order: Tensor) -> dict[str, Tensor]:
        """An ordinary step on another stream, as recording asks for."""
        self.side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self.side):
            terms = self.update(batch, order)
        torch.cuda.current_stream().wait_stream(self.side)
        return terms

    def _record_together(self, inputs: tuple[Tensor, ...]) -> Recording:
        """Recording sends no message itself, so all processes get to where they agree."""
        try:
            recording = self._record(inputs)
        except DeviceError:
            self.process.gather(0)
            raise
        recorded = self.process.gather(1)
        if not all(recorded):
            raise DeviceError(
                f"This step cannot be recorded as a CUDA graph in process {recorded.index(0)}, so no process replays it. "
                "Train without it: --set train.cuda_graphs=false."
            )
        return recording

    def _record(self, inputs: tuple[Tensor, ...]) -> Recording:
        places = tuple(value.clone() for value in inputs)
        images, landmarks, masks, order = places
        batch = PersonBatch(images, landmarks, masks, ("",) * (images.shape[0] * images.shape[1]))
        graph = torch.cuda.CUDAGraph()
        try:
            # Threads that load data may go on talking to the device meanwhile.
            with torch.cuda.graph(graph, stream=self.side, capture_error_mode="thread_local"):
                terms = self.update(batch, order)
        except RuntimeError as error:
            raise DeviceError(
                f"This step cannot be recorded as a CUDA graph ({str(error).splitlines()[0]}). Train without it: "
                "--set train.cuda_graphs=false."
            ) from error
        return Recording(graph, places, terms)
