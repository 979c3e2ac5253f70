"""A run of `deca train pretrain|coarse|detail` from settings to model pack."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from filelock import FileLock, Timeout

from deca_cli.atomic import check_writable, write_text
from deca_cli.errors import OutputError, UsageError
from deca_cli.train.config.write import settings_text
from deca_cli.train.data.loader import PersonLoader
from deca_cli.train.loop import TrainingLoop
from deca_cli.train.models import build_model
from deca_cli.train.processes import Process, joined_processes
from deca_cli.train.run_log import has_tensorboard
from deca_cli.train.run_pack import PACK
from deca_cli.train.stages import make_stage
from deca_cli.train.step_parts import step_seed
from deca_cli.train.validation import make_validation

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from deca_cli.train.config.build import Loaded
    from deca_cli.train.config.settings import TrainSettings
    from deca_cli.train.data.settings import DataSettings
    from deca_cli.train.progress import Watchers

SETTINGS, LOCK = "settings.yaml", ".lock"
MANY_FOR_A_CPU = 32  # pictures of a step


def train_stage(loaded: Loaded, folder: Path, device: str, watchers: Watchers) -> Path:
    """Train, or go on with a run that was interrupted.

    Args:
        loaded: settings of the stage.
        folder: of the run. Holds afterwards: `pack` (the model pack), `settings.yaml`, `log.jsonl`, `curves.png`,
            `train_images`, `tensorboard`, `checkpoints`.
        device: `cuda` or `cpu`; several processes (torchrun) share every step.
        watchers: who is told.

    Returns:
        The folder of the model pack.

    Raises:
        DeviceError: no GPU where one was asked for.
        InputError: the data cannot be read.
        ModelError: head, start or a network that a loss needs is missing or does not fit.
        OutputError: the folder cannot be written, or another process trains into it.
        UsageError: settings that do not fit together, or training diverged.
    """
    with joined_processes(device) as process, _owned(folder, process):
        _prepare_torch(process, loaded.settings.train.seed)
        trainee, settings = build_model(loaded)
        data = share_of_batch(settings.dataset, process.world)
        loader = PersonLoader(
            data.training_data, data, process, settings.train.seed
        )  # what is cheap to find missing first
        stage = make_stage(trainee, settings, process)
        validation = None
        if process.first:
            _tell(loaded, settings, watchers)
            must_be = "dataset.eval_data" in loaded.written
            validation = make_validation(stage, settings, process.device, must_be=must_be)
            if validation is None:
                watchers.message(
                    "no validation: nobody is held out, or dataset.eval_data or train.val_steps say so"
                )
        kept = settings_text(settings)
        if not has_tensorboard():
            settings = replace(settings, train=replace(settings.train, write_summary=False))
        loop = TrainingLoop(stage, settings, process, folder, loader, validation, watchers)
        if process.first:
            watchers.message(_step_sentence(loop.images_per_step, process))
        # A run that is refused must not leave its settings to the run whose folder it is.
        loop.run(lambda: write_text(folder / SETTINGS, kept))
        if loop.validated:
            watchers.message("held-out people: " + _listed(loop.validated))
        if process.first and loader.problems:
            _name_problems(loader.problems, watchers)
    return folder / PACK


def share_of_batch(data: DataSettings, world: int) -> DataSettings:
    """Settings of one process: `batch_size` of the configuration is that of a whole step.

    Raises:
        UsageError: it cannot be shared evenly.
    """
    if data.batch_size % world:
        raise UsageError(
            f"dataset.batch_size is {data.batch_size}, which {world} processes cannot share evenly. Choose a multiple of {world}: "
            "it is the number of people in a step of all processes together."
        )
    return replace(data, batch_size=data.batch_size // world)


def _step_sentence(pictures: int, process: Process) -> str:
    """How much a step is: nothing more is told before the first one is done."""
    sentence = f"a step shows {pictures} pictures"
    if process.device.type == "cpu" and pictures > MANY_FOR_A_CPU:
        sentence += (
            "; on a CPU the first may take minutes, fewer are quicker, such as --set dataset.batch_size=4"
        )
    return sentence


def _listed(values: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in values.items())


def _tell(loaded: Loaded, settings: TrainSettings, watchers: Watchers) -> None:
    for note in loaded.notes:
        watchers.message(note)
    if settings.train.write_summary and not has_tensorboard():
        watchers.message(
            "no files for TensorBoard, it is not installed: pip install 'deca-cli[train]' (log.jsonl has the same numbers)"
        )


def _name_problems(problems: dict[str, str], watchers: Watchers) -> None:
    first = "; ".join(f"{name}: {reason}" for name, reason in list(problems.items())[:3])
    watchers.message(f"{len(problems)} pictures could not be used and were replaced: {first}")


def _prepare_torch(process: Process, seed: int) -> None:
    """Random first weights are the same in all processes."""
    torch.manual_seed(step_seed(seed, 0, -1))
    if process.device.type == "cuda":
        torch.set_float32_matmul_precision(
            "high"
        )  # tensor cores for the head's bases; geometry stays float32
        torch.backends.cudnn.benchmark = True


@contextmanager
def _owned(folder: Path, process: Process) -> Iterator[None]:
    """Only one run at a time may write into a folder; a killed process lets go of it by itself."""
    if not process.first:
        yield
        return
    check_writable(folder)
    try:
        with FileLock(folder / LOCK, timeout=0):
            yield
    except Timeout as error:
        raise OutputError(
            f"Another process is training into {folder}. Wait for it, or choose another folder with --output."
        ) from error
