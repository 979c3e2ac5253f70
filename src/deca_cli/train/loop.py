"""The loop of the stages pretrain, coarse and detail.

What step n does depends on the settings, n and the weights only: batches, swaps and random states all follow from seed and
step. So a run that was cut and resumed is the uncut run, and several processes do together what one would do alone.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import torch

from deca_cli.errors import UsageError
from deca_cli.train.average import MovingAverage, averaged
from deca_cli.train.checkpoint import (
    Checkpoint,
    CheckpointFolder,
    restore_run,
    run_tensors,
)
from deca_cli.train.config.write import flat_settings
from deca_cli.train.pace import Pace, seconds_left
from deca_cli.train.progress import Progress, Watchers
from deca_cli.train.run_log import RunLog
from deca_cli.train.run_pack import write_run_pack
from deca_cli.train.same_run import check_same_folder, check_same_run
from deca_cli.train.step_parts import mean_over_processes
from deca_cli.train.training_step import TrainingStep
from deca_cli.train.validation import as_row
from deca_cli.train.watch import LossWatch

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from torch import Tensor

    from deca_cli.train.config.settings import TrainSettings
    from deca_cli.train.data.batch import PersonBatch
    from deca_cli.train.data.loader import PersonLoader
    from deca_cli.train.processes import Process
    from deca_cli.train.stages import Stage
    from deca_cli.train.validation import Validation

# Steps between looks at the clock and at requests to stop, where several processes share what is seen.
AGREE_EVERY = 10
STOP = 2.0
CHECKPOINTS = "checkpoints"
JUDGED_BY = "nme_percent"  # the best checkpoint has the least of it


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
        self.train_step = TrainingStep(stage, train, process, self._message)
        self.optimizer = self.train_step.optimizer
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
        self.validated_step: int | None = None

    @property
    def images_per_step(self) -> int:
        """Of all processes together."""
        return self.loader.settings.batch_size * self.loader.settings.per_person * self.process.world

    def run(self, accepted: Callable[[], object] = lambda: None) -> None:
        """Train from where the run stands to its end; leaves checkpoint, pack and log behind.

        Args:
            accepted: called by the first process once it is known that the run in the folder is this one.

        Raises:
            InputError: the data cannot be read.
            ModelError: the run in the folder is another one.
            OutputError: something cannot be written, or processes do not share the folder.
            UsageError: training diverged, or the run in the folder has other settings.
        """
        self._resume()
        log = None
        if self.process.first:
            accepted()
            log = RunLog(self.folder, self.step, tensorboard=self.settings.train.write_summary)
        try:
            self._steps(log)
        finally:
            self.train_step.close()
            if log is not None:
                log.close()

    def _steps(self, log: RunLog | None) -> None:
        self.stage.set_training(on=True)
        done = self._agreed_done()
        if done >= 1:
            self._save(log)  # a run that was killed after its last step may lack its pack
            return
        if self.step == 0 and log is not None:
            self._validate(log)
        pace = Pace(self.step)
        every = 1 if self.process.world == 1 else AGREE_EVERY
        for batch in self.loader.batches(self.step):
            started = time.monotonic()
            terms, pictures = self._one_step(batch, done)
            self.step += 1
            self.seconds += time.monotonic() - started + pace.waited(started)
            if self.step % every == 0 or self.step >= self.total_steps:
                done = self._agreed_done()
            with pace.paused():
                self._after_step(log, terms, pictures, done, pace)
            if done >= 1:
                break

    def _one_step(
        self, batch: PersonBatch, done: float
    ) -> tuple[dict[str, Tensor], dict[str, Tensor] | None]:
        """One update of the weights."""
        train, step = self.settings.train, self.step
        shows = train.vis_steps > 0 and (step + 1) % train.vis_steps == 0
        terms, pictures = self.train_step(step, batch, self._share(step, done), shows=shows)
        self.watch.push(step, terms, batch)
        if self.average is not None:
            self.average.update(self.stage.trained, step)
        return terms, pictures

    def _share(self, step: int, done: float) -> float:
        """How much of the run lies behind: by steps exactly, by the clock as last agreed."""
        return max(step / self.total_steps, done if self.settings.train.max_minutes else 0.0)

    def _agreed_done(self) -> float:
        """Share of the run that is done, the same in all processes; 1 or more ends it."""
        train = self.settings.train
        done = self.step / self.total_steps
        if train.max_minutes:
            done = max(done, self.seconds / (60 * train.max_minutes))
        if self.process.first and self.watchers.wants_stop():
            done = STOP
        return self.process.agree(done)

    def _message(self, sentence: str) -> None:
        if self.process.first:
            self.watchers.message(sentence)

    def _after_step(
        self,
        log: RunLog | None,
        terms: dict[str, Tensor],
        pictures: dict[str, Tensor] | None,
        done: float,
        pace: Pace,
    ) -> None:
        train, ends = self.settings.train, done >= 1
        if self.step % train.log_steps == 0 or ends:
            values = mean_over_processes(terms, self.process)
            if log is not None:
                self._tell(log, values, done, pace)
        validates = train.val_steps > 0 and (self.step % train.val_steps == 0 or ends)
        saves = self.step % train.checkpoint_steps == 0 or ends
        if validates or saves:
            self.train_step.share_statistics(*([] if self.average is None else [self.average.state]))
        if log is None:
            return
        if pictures is not None:
            log.show(self.step, pictures)
        if validates:
            self._validate(log)
        if saves:
            self._save(log)

    def _validate(self, log: RunLog) -> None:
        if self.validation is not None:
            with averaged(self.stage.trained, self.average):
                self.validated, self.validated_step = self.validation.measure(), self.step
            log.write("validation", self.step, {**as_row(self.validated), "seconds": round(self.seconds, 2)})

    def _tell(self, log: RunLog, values: dict[str, float], done: float, pace: Pace) -> None:
        rate = pace.images_per_s(self.step, self.images_per_step)
        about = {"lr": self.train_step.learning_rate, "images_per_s": round(rate, 1)}
        about["seconds"] = round(self.seconds, 2)
        if self.process.device.type == "cuda":
            about["gpu_memory_gib"] = round(torch.cuda.max_memory_allocated() / 2**30, 2)
        log.write("train", self.step, values | about)
        share = min(max(done, self.step / self.total_steps), 1.0)
        left = seconds_left(self.step / self.total_steps, self.seconds, self.settings.train.max_minutes)
        self.watchers.progress(
            Progress(self.step, self.total_steps, share, rate, left, values, self.validated)
        )

    def _save(self, log: RunLog | None) -> None:
        """Checkpoint and pack, if the weights are numbers; only a validation of this very step says how good they are."""
        if log is None:
            return
        self.watch.flush()
        self.watch.check_weights(self.step, list(self.stage.trained.parameters()))
        measured = self.validated if self.validated_step == self.step else {}
        judged = measured.get(JUDGED_BY)
        is_best = judged is not None and (self.best is None or judged < self.best)
        self.best = judged if is_best else self.best
        self.checkpoints.save(self._state(), is_best=is_best)
        with averaged(self.stage.trained, self.average):
            write_run_pack(
                self.folder, self.stage.trainee, self.settings, self._provenance(), as_row(measured)
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
        tensors = run_tensors(self.stage.trainee.networks(), self.average, self.optimizer)
        values = {"seconds": self.seconds, "best": self.best, "origin": self.origin}
        values |= {"validated": self.validated, "validated_step": self.validated_step}
        return Checkpoint(self.step, tensors, flat_settings(self.settings), values)

    def _resume(self) -> None:
        """Go on from the newest checkpoint that can be read."""
        if self.process.first:
            self.checkpoints.tidy()
        checkpoint, problems = self.checkpoints.newest()
        for problem in problems:
            self._message(problem)
        check_same_folder(checkpoint, self.process, self.folder)
        if checkpoint is None:
            return
        if not self.settings.train.resume:
            raise UsageError(
                f"{self.folder} holds a run that has come to step {checkpoint.step}, and train.resume is false. Choose another "
                "folder with --output, or delete this one."
            )
        check_same_run(checkpoint, self.settings, self.folder)
        self._restore(checkpoint)
        self._message(f"going on from step {self.step}")

    def _restore(self, checkpoint: Checkpoint) -> None:
        restore_run(checkpoint, self.stage.trainee.networks(), self.average, self.optimizer)
        self.step, self.seconds = checkpoint.step, checkpoint.values["seconds"]
        self.best, self.validated = checkpoint.values["best"], dict(checkpoint.values["validated"])
        self.validated_step = checkpoint.values.get("validated_step")  # None: of which step was not noted
        self.origin = dict(checkpoint.values["origin"])
