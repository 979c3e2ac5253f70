"""The loop of the stages pretrain, coarse and detail.

What step n does depends on the settings, n and the weights only: batches, swaps and random states all follow from seed and
step. So a run that was cut and resumed is the uncut run, and several processes do together what one would do alone.
"""

from __future__ import annotations

import math
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from deca_cli.errors import UsageError
from deca_cli.train.average import MovingAverage
from deca_cli.train.checkpoint import (
    Checkpoint,
    CheckpointFolder,
    optimizer_tensors,
    restore_optimizer,
)
from deca_cli.train.config.write import flat_settings
from deca_cli.train.objectives.batches import draw_order
from deca_cli.train.run_log import RunLog
from deca_cli.train.run_pack import write_run_pack
from deca_cli.train.shared_norm import share_norms
from deca_cli.train.validation import as_row
from deca_cli.train.watch import LossWatch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from deca_cli.train.config.settings import LoopSettings, TrainSettings
    from deca_cli.train.data.batch import PersonBatch
    from deca_cli.train.data.loader import PersonLoader
    from deca_cli.train.processes import Process
    from deca_cli.train.stages import Stage
    from deca_cli.train.validation import Validation

AGREE_EVERY = 10  # steps between looks at the clock and at requests to stop, which all processes share
STOP = 2.0
CHECKPOINTS = "checkpoints"
JUDGED_BY = "nme_percent"  # the best checkpoint has the least of it
# These may change when a run goes on; everything else makes it another run.
MAY_CHANGE = (
    "output_dir", "pretrained_modelpath", "dataset.num_workers", "dataset.prefetch", "train.max_epochs", "train.max_steps",
    "train.max_minutes", "train.log_steps", "train.vis_steps", "train.checkpoint_steps", "train.val_steps", "train.val_people",
    "train.keep_last", "train.archive", "train.write_summary", "train.resume",
)  # fmt: skip


@dataclass(frozen=True)
class Progress:
    """Where a run stands; given to the caller's report function."""

    step: int
    total_steps: int
    done: float
    """Share of the run, 0 to 1."""
    images_per_s: float
    seconds_left: float
    values: dict[str, float]
    """Weighted terms and their sum `all_loss`."""
    validation: dict[str, float] = field(default_factory=dict)
    """Of the last validation."""


@dataclass(frozen=True)
class Watchers:
    """How a run talks to the one who started it; both are called in the first process only."""

    progress: Callable[[Progress], None] = lambda _: None
    message: Callable[[str], None] = lambda _: None
    wants_stop: Callable[[], bool] = lambda: False
    """Whether to save and leave at the next opportunity."""


class TrainingLoop:
    """One run of a stage.

    Args:
        stage: what is trained.
        settings: resolved ones.
        process: this one among all.
        folder: of the run.
        loader: batches of this process.
        validation: for the first process, if there is one.
        watchers: who is told.
    """

    def __init__(
        self,
        stage: Stage,
        settings: TrainSettings,
        process: Process,
        folder: Path,
        loader: PersonLoader,
        validation: Validation | None,
        watchers: Watchers,
    ) -> None:
        self.stage, self.settings, self.process, self.folder = stage, settings, process, folder
        self.loader, self.validation, self.watchers = loader, validation, watchers
        train = settings.train
        if process.world > 1 and train.sync_batch_norm:
            share_norms(stage.trained, process.device)
        self.optimizer = make_optimizer(stage.trained, train, process.device)
        self.average = MovingAverage(stage.trained, train.ema) if train.ema else None
        self.checkpoints = CheckpointFolder(
            folder / CHECKPOINTS, train.keep_last, train.archive, train.checkpoint_steps
        )
        self.watch = LossWatch(folder, process.rank, train.lr)
        self.total_steps = min(train.max_steps, train.max_epochs * loader.steps_per_pass)
        self.step, self.seconds = 0, 0.0
        self.origin = stage.trainee.origin
        self.best: float | None = None
        self.validated: dict[str, float] = {}

    @property
    def images_per_step(self) -> int:
        """Of all processes together."""
        return self.loader.settings.batch_size * self.loader.settings.per_person * self.process.world

    def run(self) -> None:
        """Train from where the run stands to its end; leaves checkpoint, pack and log behind.

        Raises:
            InputError: the data cannot be read.
            ModelError: the run in the folder is another one.
            OutputError: something cannot be written.
            UsageError: training diverged, or the run in the folder has other settings.
        """
        self._resume()
        trained = self._wrapped()
        log = None
        if self.process.first:
            log = RunLog(self.folder, self.step, tensorboard=self.settings.train.write_summary)
        try:
            self._steps(trained, log)
        finally:
            if log is not None:
                log.close()

    def _wrapped(self) -> nn.Module:
        """The trained module, sharing its gradients with the other processes."""
        if self.process.world == 1:
            return self.stage.trained
        device = self.process.device
        return nn.parallel.DistributedDataParallel(
            self.stage.trained,
            device_ids=[device.index] if device.type == "cuda" else None,
            broadcast_buffers=not self.settings.train.sync_batch_norm,
        )

    def _steps(self, trained: nn.Module, log: RunLog | None) -> None:
        self.stage.set_training(on=True)
        self._record()
        done = self._agreed_done()
        if done >= 1:
            self._save(log)  # a run that was killed after its last step may lack its pack
            return
        if self.step == 0 and log is not None:
            self._validate(log)
        pace = _Pace(self.step)
        for batch in self.loader.batches(self.step):
            started = time.monotonic()
            terms, pictures = self._train_step(trained, batch, done)
            self.step += 1
            self.seconds += time.monotonic() - started + pace.waited(started)
            if self.step % AGREE_EVERY == 0 or self.step >= self.total_steps:
                done = self._agreed_done()
            with pace.paused():
                self._after_step(log, terms, pictures, done, pace)
            if done >= 1:
                break

    def _record(self) -> None:
        """Let the stage record its kernels, if that is wanted and possible."""
        if self.settings.train.cuda_graphs and self.process.device.type == "cuda" and self.process.world == 1:
            data = self.loader.settings
            self.stage.record(self.images_per_step, data.image_size)

    def _train_step(
        self, trained: nn.Module, batch: PersonBatch, done: float
    ) -> tuple[dict[str, Tensor], dict[str, Tensor] | None]:
        """One update of the weights."""
        train, step = self.settings.train, self.step
        seed_everything(train.seed, step, self.process.rank)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate_at(train, step, self._share(step, done))
        shows = train.vis_steps > 0 and (step + 1) % train.vis_steps == 0 and self.process.first
        result = self.stage.step(trained, batch, self._order(batch), pictures=shows)
        self.optimizer.zero_grad(set_to_none=True)
        result.total.backward()
        terms = result.terms | {"all_loss": result.total}
        self.watch.push(step, terms, batch)
        if train.clip:
            nn.utils.clip_grad_norm_(self.stage.trained.parameters(), train.clip)
        self.optimizer.step()
        if self.average is not None:
            self.average.update(self.stage.trained, step)
        return terms, result.pictures

    def _share(self, step: int, done: float) -> float:
        """How much of the run lies behind: by steps exactly, by the clock as last agreed."""
        return max(step / self.total_steps, done if self.settings.train.max_minutes else 0.0)

    def _order(self, batch: PersonBatch) -> Tensor:
        """This process's rows of the swap of the whole batch."""
        generator = torch.Generator().manual_seed(step_seed(self.settings.train.seed, self.step, -1))
        people = batch.people * self.process.world
        order = draw_order(people, batch.per_person, generator)
        first = batch.people * self.process.rank
        return order[first : first + batch.people].to(batch.images.device)

    def _agreed_done(self) -> float:
        """Share of the run that is done, the same in all processes; 1 or more ends it."""
        train = self.settings.train
        done = self.step / self.total_steps
        if train.max_minutes:
            done = max(done, self.seconds / (60 * train.max_minutes))
        if self.process.first and self.watchers.wants_stop():
            done = STOP
        return self.process.agree(done)

    def _after_step(
        self,
        log: RunLog | None,
        terms: dict[str, Tensor],
        pictures: dict[str, Tensor] | None,
        done: float,
        pace: _Pace,
    ) -> None:
        train, ends = self.settings.train, done >= 1
        if self.step % train.log_steps == 0 or ends:
            values = mean_over_processes(terms, self.process)
            if log is not None:
                self._tell(log, values, done, pace)
        if log is None:
            return
        if pictures is not None:
            log.show(self.step, pictures)
        if train.val_steps > 0 and (self.step % train.val_steps == 0 or ends):
            self._validate(log)
        if self.step % train.checkpoint_steps == 0 or ends:
            self._save(log)

    def _validate(self, log: RunLog) -> None:
        if self.validation is not None:
            with self._averaged():
                self.validated = self.validation.measure()
            log.write("validation", self.step, {**as_row(self.validated), "seconds": round(self.seconds, 2)})

    def _tell(self, log: RunLog, values: dict[str, float], done: float, pace: _Pace) -> None:
        rate = pace.images_per_s(self.step, self.images_per_step)
        about = {"lr": self.optimizer.param_groups[0]["lr"], "images_per_s": round(rate, 1)}
        about["seconds"] = round(self.seconds, 2)
        if self.process.device.type == "cuda":
            about["gpu_memory_gib"] = round(torch.cuda.max_memory_allocated() / 2**30, 2)
        log.write("train", self.step, values | about)
        share = min(max(done, self.step / self.total_steps), 1.0)
        self.watchers.progress(
            Progress(self.step, self.total_steps, share, rate, self._seconds_left(), values, self.validated)
        )

    def _seconds_left(self) -> float:
        """By the steps that are left or by the clock, whichever comes first."""
        left = self.seconds * (self.total_steps / max(self.step, 1) - 1)
        if self.settings.train.max_minutes:
            left = min(left, 60 * self.settings.train.max_minutes - self.seconds)
        return max(left, 0.0)

    @contextmanager
    def _averaged(self) -> Iterator[None]:
        """Inside, the trained module has the averaged weights."""
        if self.average is None:
            yield
            return
        module = self.stage.trained
        kept = {name: value.detach().clone() for name, value in module.state_dict().items()}
        module.load_state_dict(self.average.state)
        try:
            yield
        finally:
            module.load_state_dict(kept)

    def _save(self, log: RunLog | None) -> None:
        """Checkpoint and pack, if the weights are numbers."""
        if log is None:
            return
        self.watch.flush()
        self.watch.check_weights(self.step, list(self.stage.trained.parameters()))
        judged = self.validated.get(JUDGED_BY)
        is_best = judged is not None and (self.best is None or judged < self.best)
        self.best = judged if is_best else self.best
        self.checkpoints.save(self._state(), is_best=is_best)
        with self._averaged():
            write_run_pack(
                self.folder, self.stage.trainee, self.settings, self._provenance(), as_row(self.validated)
            )

    def _provenance(self) -> dict[str, Any]:
        device = self.process.device
        return {
            **self.origin,
            "steps": self.step,
            "images_seen": self.step * self.images_per_step,
            "minutes": round(self.seconds / 60, 2),
            "processes": self.process.world,
            "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        }

    def _state(self) -> Checkpoint:
        """Everything that a resumed run needs; random states follow from seed and step."""
        tensors: dict[str, Tensor] = {}
        for name, network in self.stage.trainee.networks().items():
            tensors |= {f"network.{name}.{key}": value for key, value in network.state_dict().items()}
        if self.average is not None:
            tensors |= {f"average.{name}": value for name, value in self.average.state.items()}
        tensors |= {f"optimizer.{name}": value for name, value in optimizer_tensors(self.optimizer).items()}
        values = {"seconds": self.seconds, "best": self.best, "validated": self.validated}
        values["origin"] = self.origin
        return Checkpoint(self.step, tensors, flat_settings(self.settings), values)

    def _resume(self) -> None:
        """Go on from the newest checkpoint that can be read."""
        if self.process.first:
            self.checkpoints.tidy()
        checkpoint, problems = self.checkpoints.newest()
        if self.process.first:
            for problem in problems:
                self.watchers.message(problem)
        if checkpoint is None:
            return
        if not self.settings.train.resume:
            raise UsageError(
                f"{self.folder} holds a run that has come to step {checkpoint.step}, and train.resume is false. Choose another "
                "folder with --output, or delete this one."
            )
        check_same_run(checkpoint, self.settings, self.folder)
        self._restore(checkpoint)
        if self.process.first:
            self.watchers.message(f"going on from step {self.step}")

    def _restore(self, checkpoint: Checkpoint) -> None:
        for name, network in self.stage.trainee.networks().items():
            network.load_state_dict(checkpoint.part(f"network.{name}"))
        if self.average is not None:
            for name, value in checkpoint.part("average").items():
                self.average.state[name].copy_(value)
        restore_optimizer(self.optimizer, checkpoint.part("optimizer"))
        self.step, self.seconds = checkpoint.step, checkpoint.values["seconds"]
        self.best, self.validated = checkpoint.values["best"], dict(checkpoint.values["validated"])
        self.origin = dict(checkpoint.values["origin"])


class _Pace:
    """Images per second between reports, without the time of validations and saving."""

    def __init__(self, step: int) -> None:
        self.since, self.step, self.pause = time.monotonic(), step, 0.0
        self.last_end = self.since

    def waited(self, started: float) -> float:
        """Seconds that the loop waited for this batch."""
        return max(started - self.last_end, 0.0)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Time that does not count."""
        start = time.monotonic()
        yield
        self.last_end = time.monotonic()
        self.pause += self.last_end - start

    def images_per_s(self, step: int, images: int) -> float:
        """Since the last call."""
        now = time.monotonic()
        spent = max(now - self.since - self.pause, 1e-9)
        rate = (step - self.step) * images / spent
        self.since, self.step, self.pause = now, step, 0.0
        return rate


def make_optimizer(network: nn.Module, train: LoopSettings, device: torch.device) -> torch.optim.Optimizer:
    """Adam or AdamW; weight decay on kernels and matrices only."""
    kernels = [p for p in network.parameters() if p.dim() > 1]
    vectors = [p for p in network.parameters() if p.dim() <= 1]
    groups = [
        {"params": kernels, "weight_decay": train.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    kind = torch.optim.Adam if train.optimizer == "adam" else torch.optim.AdamW
    return kind(groups, lr=train.lr, fused=device.type == "cuda")


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


def check_same_run(checkpoint: Checkpoint, settings: TrainSettings, folder: Path) -> None:
    """Refuse to go on with other settings.

    Raises:
        UsageError: a setting differs that makes it another run; the message names it.
    """
    now = flat_settings(settings)
    changed = [
        f"{name} was {checkpoint.settings.get(name)!r} and is {value!r}"
        for name, value in now.items()
        if name not in MAY_CHANGE and checkpoint.settings.get(name) != value
    ]
    if changed:
        raise UsageError(
            f"{folder} holds a run with other settings ({'; '.join(changed[:4])}). Take its own settings (--config "
            f"{folder}/settings.yaml), or start another run with another --output; --init {folder} starts it from these networks."
        )
