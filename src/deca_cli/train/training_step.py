"""One update of the weights after the other, as ordinary steps or as replays of a recorded one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

from deca_cli.errors import DeviceError
from deca_cli.train.shared_gradients import SharedGradients, share_start, share_statistics
from deca_cli.train.shared_norm import share_norms
from deca_cli.train.step_graph import RecordedStep
from deca_cli.train.step_parts import (
    learning_rate_at,
    make_optimizer,
    records_steps,
    seed_everything,
    set_learning_rate,
    swap_order,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from torch import Tensor

    from deca_cli.train.config.settings import LoopSettings
    from deca_cli.train.data.batch import PersonBatch
    from deca_cli.train.processes import Process
    from deca_cli.train.stages import Stage


class TrainingStep:
    """Moves the weights of a stage, together with the other processes.

    Args:
        stage: what is trained; its batch normalisations may be exchanged for shared ones.
        train: settings.
        process: this one among all.
        tell: is told if steps should be recorded and cannot be.

    Raises:
        UsageError: recorded steps are wanted where there is no NVIDIA GPU.
    """

    def __init__(
        self, stage: Stage, train: LoopSettings, process: Process, tell: Callable[[str], None]
    ) -> None:
        self.stage, self.train, self.process, self.tell = stage, train, process, tell
        self.shared: SharedGradients | None = None
        if process.world > 1:
            if train.sync_batch_norm:
                share_norms(stage.trained, process.device)
            share_start(stage.trained)
            self.shared = SharedGradients(stage.trained, process.device, early=not train.sync_batch_norm)
        self.optimizer = make_optimizer(stage.trained, train, process)
        stage.tune(self.optimizer)
        self.recorded: RecordedStep | None = None
        if records_steps(train, process):
            self.recorded = RecordedStep(
                lambda batch, order: self._update(batch, order, shows=False)[0], process
            )

    @property
    def learning_rate(self) -> float:
        """Of the latest step."""
        return float(self.optimizer.param_groups[0]["lr"])

    def __call__(
        self, step: int, batch: PersonBatch, done: float, *, shows: bool
    ) -> tuple[dict[str, Tensor], dict[str, Tensor] | None]:
        """Make step number `step` of a run of which the share `done` is done.

        Args:
            step: counted from 0.
            batch: of this process.
            done: for the learning rate.
            shows: whether the first process draws pictures. That is an ordinary step in all processes: messages of a recorded
                one might not meet those of an ordinary one.

        Returns:
            Terms, and the pictures of the first process.

        Raises:
            DeviceError: steps must be recorded, and cannot be.
        """
        seed_everything(self.train.seed, step, self.process.rank)
        set_learning_rate(self.optimizer, learning_rate_at(self.train, step, done))
        order = swap_order(self.train.seed, step, batch, self.process)
        if self.recorded is not None and not shows:
            try:
                return self.recorded(batch, order), None
            except DeviceError as error:
                self.recorded = None
                if self.train.cuda_graphs != "auto":
                    raise
                self.tell(f"ordinary steps from here on. {error}")
        return self._update(batch, order, shows=shows)

    def share_statistics(self, *averages: Mapping[str, Tensor]) -> None:
        """Before weights are looked at or saved, in all processes: where each normalises over its own batch, average what it saw.

        Args:
            averages: states over time whose statistics are averaged as well.
        """
        if self.shared is not None and not self.train.sync_batch_norm:
            share_statistics(self.stage.trained, *averages)

    def close(self) -> None:
        """No step follows. Before the processes part: a recorded step holds on to what connects them."""
        self.recorded = None
        if self.shared is not None:
            self.shared.close()

    def _update(
        self, batch: PersonBatch, order: Tensor, *, shows: bool
    ) -> tuple[dict[str, Tensor], dict[str, Tensor] | None]:
        """Everything that happens on the device: terms, gradients, the optimizer. May be recorded as a CUDA graph."""
        trained = self.stage.trained
        result = self.stage.step(trained, batch, order, pictures=shows and self.process.first)
        self.optimizer.zero_grad(set_to_none=True)
        if self.shared is not None:
            self.shared.begin()
        result.total.backward()
        if self.shared is not None:
            self.shared.finish()
        if self.train.clip:
            nn.utils.clip_grad_norm_(trained.parameters(), self.train.clip)
        self.optimizer.step()
        terms = result.terms | {"all_loss": result.total}
        return {name: term.detach() for name, term in terms.items()}, result.pictures
