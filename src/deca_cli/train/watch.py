"""Stops a run whose numbers are no longer numbers, and keeps what it choked on."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from safetensors.torch import save

from deca_cli.atomic import make_folder, write_bytes
from deca_cli.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from torch import Tensor

    from deca_cli.train.data.batch import PersonBatch


def all_finite(tensors: Iterable[Tensor]) -> bool:
    """Whether none of the numbers is NaN or infinite; waits for the device once."""
    norms = torch._foreach_norm([tensor.detach() for tensor in tensors])  # noqa: SLF001 - one launch for all
    return math.isfinite(float(torch.stack(norms).sum()))


@dataclass(frozen=True, eq=False)
class Pending:
    """The loss of a step on its way from the device."""

    step: int
    values: Tensor  # on the CPU once `ready` has come
    names: tuple[str, ...]
    batch: PersonBatch
    ready: torch.cuda.Event | None


class LossWatch:
    """Looks at the losses of every step: on a CPU at once, on a GPU one step later, so that the GPU never waits.

    Args:
        folder: of the run; a batch with a non-finite loss is saved below it.
        rank: of the process, for the name of that file.
        learning_rate: for the message.
    """

    def __init__(self, folder: Path, rank: int, learning_rate: float) -> None:
        self.folder, self.rank, self.learning_rate = folder, rank, learning_rate
        self.pending: deque[Pending] = deque()

    def push(self, step: int, terms: dict[str, Tensor], batch: PersonBatch) -> None:
        """Note the losses of a step.

        Raises:
            UsageError: a loss is not finite; the batch is saved.
        """
        values = torch.stack([term.detach().float() for term in terms.values()])
        if values.device.type != "cuda":
            self._check(Pending(step, values, tuple(terms), batch, None))
            return
        landed = torch.empty(values.shape, pin_memory=True).copy_(values, non_blocking=True)
        ready = torch.cuda.Event()
        ready.record()
        self.pending.append(Pending(step, landed, tuple(terms), batch, ready))
        while len(self.pending) > 1:
            self._check(self.pending.popleft())

    def flush(self) -> None:
        """Look at everything noted so far; before a checkpoint is written.

        Raises:
            UsageError: as `push`.
        """
        while self.pending:
            self._check(self.pending.popleft())

    def check_weights(self, step: int, tensors: list[Tensor]) -> None:
        """Look at the weights themselves; before a checkpoint is written.

        Raises:
            UsageError: a weight is not finite.
        """
        if not all_finite(tensors):
            raise UsageError(
                f"Training diverged at step {step}: a gradient was not finite, and weights are not any more. Nothing of it was "
                f"saved. {self._advice()}"
            )

    def _check(self, entry: Pending) -> None:
        if entry.ready is not None:
            entry.ready.synchronize()
        wrong = [n for n, v in zip(entry.names, entry.values.tolist(), strict=True) if not math.isfinite(v)]
        if not wrong:
            return
        path = self._save(entry)
        raise UsageError(
            f"Training diverged at step {entry.step}: {', '.join(wrong)} is not finite. The batch is in {path} (images, "
            f"landmarks, masks; their names in its metadata): look whether one of its pictures or labels is broken. {self._advice()}"
        )

    def _advice(self) -> str:
        return (
            f"Lower the learning rate (--set train.lr={self.learning_rate / 3:.2g}) or shorten gradients "
            "(--set train.clip=1), and start the same command again: it goes on from the last checkpoint."
        )

    def _save(self, entry: Pending) -> Path:
        batch = entry.batch
        tensors = {n: getattr(batch, n).detach().cpu().contiguous() for n in ("images", "landmarks", "masks")}
        content = save(tensors, metadata={"names": "\n".join(batch.names), "step": str(entry.step)})
        make_folder(self.folder)
        return write_bytes(
            self.folder / f"bad_batch_step{entry.step}_process{self.rank}.safetensors", content
        )
