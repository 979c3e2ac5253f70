"""Whether a checkpoint belongs to the run that wants to go on from it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deca_cli.errors import OutputError, UsageError
from deca_cli.train.config.write import flat_settings

if TYPE_CHECKING:
    from pathlib import Path

    from deca_cli.train.checkpoint import Checkpoint
    from deca_cli.train.config.settings import TrainSettings
    from deca_cli.train.processes import Process

# These may change when a run goes on; everything else makes it another run.
MAY_CHANGE = (
    "output_dir", "pretrained_modelpath", "dataset.num_workers", "dataset.prefetch", "train.max_epochs", "train.max_steps",
    "train.max_minutes", "train.log_steps", "train.vis_steps", "train.checkpoint_steps", "train.val_steps", "train.val_people",
    "train.keep_last", "train.archive", "train.write_summary", "train.resume", "train.lr", "train.clip", "train.cuda_graphs",
)  # fmt: skip


def check_same_run(checkpoint: Checkpoint, settings: TrainSettings, folder: Path) -> None:
    """Refuse to go on with other settings.

    Length, reports and what is kept may change. So may `train.lr`, `train.clip` and `train.cuda_graphs`: changing them and
    going on from the last checkpoint is the way out of a run that diverged, or whose steps cannot be recorded. They hold from
    the step at which the run goes on; the checkpoints after it name the new values.

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


def check_same_folder(checkpoint: Checkpoint | None, process: Process, folder: Path) -> None:
    """Refuse to train when processes would begin at different steps. All of them have to come here.

    Raises:
        OutputError: they did not find the same checkpoint; raised in all of them.
    """
    steps = process.gather(0 if checkpoint is None else checkpoint.step)
    if len(set(steps)) > 1:
        found = ", ".join(f"{rank}: {step}" for rank, step in enumerate(steps))
        raise OutputError(
            f"The processes do not find the same run in {folder} (steps by process: {found}), so they would train apart. The "
            "folder is not shared by all machines, or one sees an old state of it. Name with --output a folder that all of them "
            "share, or copy its checkpoints to all of them, and start the same command again."
        )
