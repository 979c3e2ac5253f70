"""The body of `deca train pretrain|coarse|detail`."""

from __future__ import annotations

import os
import signal
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from deca_cli.cli.interrupt import INTERRUPTED
from deca_cli.cli.waiting import duration
from deca_cli.errors import UsageError
from deca_cli.train.config.build import Loaded, load_settings
from deca_cli.train.config.write import settings_text
from deca_cli.train.config.yaml_tree import DUPLICATES
from deca_cli.train.processes import device_sentence, found_device
from deca_cli.train.progress import Watchers
from deca_cli.train.run import train_stage
from deca_cli.train.stages import without

if TYPE_CHECKING:
    from collections.abc import Iterator

    from deca_cli.train.config.settings import TrainSettings
    from deca_cli.train.progress import Progress as Where

ENDLESS = 10**9
STOPPING = "\nstopping: validating and saving at the end of a step; press Ctrl-C again to stop without\n"
PLAIN_EVERY_S = 5.0
COLUMNS = 100  # of a line in a log
BAR_TAKES = 62  # columns of a terminal before the values
BESIDES = ("train_", "mean_head_")  # values of the validation that stand in log.jsonl only
IN_EVERY_LINE = ("nme_percent",)  # values of the validation that stand in every line of progress


@dataclass(frozen=True)
class Request:
    """What the command line asks for."""

    stage: str
    data: tuple[str, ...]
    output: Path | None
    config: Path | None
    options: tuple[str, ...]
    init: str | None
    head: str | None
    without: tuple[str, ...]
    minutes: float | None
    steps: int | None
    device: str
    duplicates: str
    show_settings: bool


def run(request: Request) -> None:
    """Train a stage, with a progress line."""
    loaded = settings_of(request)
    if request.show_settings:
        typer.echo(settings_text(loaded.settings), nl=False)
        return
    settings = loaded.settings
    folder = request.output or Path(settings.output_dir or f"runs/{request.stage}")
    first = os.environ.get("RANK", "0") == "0"
    with _display(quiet=not first) as display, _stop_requests(quiet=not first) as asked:
        watchers = Watchers(display.show, display.say, lambda: bool(asked))
        device = found_device(request.device)
        display.say(device_sentence(device))
        pack = train_stage(loaded, folder, device, watchers)
    if first and asked:
        typer.echo(f"stopped and saved; give the same command again to go on. Pack so far: {pack}")
    if signal.SIGINT in asked:
        raise typer.Exit(INTERRUPTED)
    if first and not asked:
        typer.echo(f"model pack: {pack}\nuse it with: deca reconstruct PHOTO --model {folder}")


def settings_of(request: Request) -> Loaded:
    """Settings of the stage, the file, and all options.

    Raises:
        UsageError: they do not fit together.
    """
    if request.duplicates not in DUPLICATES:
        raise UsageError(f"--duplicate-keys {request.duplicates}: choose one of {', '.join(DUPLICATES)}.")
    loaded = load_settings(request.stage, request.config, request.options, request.duplicates)
    settings, written = without(loaded.settings, request.without), set(loaded.written)
    if request.data:
        data = replace(settings.dataset, training_data=request.data)
        if "dataset.eval_data" not in written:
            data = replace(data, eval_data=request.data)
        settings = replace(settings, dataset=data)
    if request.init is not None:
        settings = replace(settings, pretrained_modelpath=request.init)
    if request.head is not None:
        settings = replace(settings, model=replace(settings.model, head=request.head))
        written.add("model.head")
    settings = _length(settings, request, written)
    return Loaded(settings, frozenset(written), loaded.notes)


def _length(settings: TrainSettings, request: Request, written: set[str]) -> TrainSettings:
    """--steps and --minutes replace the published lengths."""
    train = settings.train
    if request.steps is not None:
        train = replace(train, max_steps=request.steps, max_epochs=ENDLESS)
    if request.minutes is not None:
        train = replace(train, max_minutes=request.minutes, max_epochs=ENDLESS)
        if request.steps is None and "train.max_steps" not in written:
            train = replace(train, max_steps=ENDLESS)
    return replace(settings, train=train)


class _Display:
    """A bar on a terminal, else a line now and then."""

    def __init__(self, bar: Progress | None) -> None:
        self.bar = bar
        self.task = None if bar is None else bar.add_task("", total=1.0, values="", rate="", left="")
        self.told_at = 0.0
        self.validation: dict[str, float] = {}

    def show(self, where: Where) -> None:
        """Report progress."""
        rate, left = f"{where.images_per_s:.0f} images/s", duration(where.seconds_left)
        if where.validation != self.validation:
            self.validation = dict(where.validation)
            self._tell_validation()
        if self.bar is not None and self.task is not None:
            self.bar.update(
                self.task,
                completed=where.done,
                description=f"step {where.step}",
                values=_within(self.bar.console.width - BAR_TAKES, _values(where)),
                rate=rate,
                left=f"{left} left",
            )
            return
        if time.monotonic() - self.told_at >= PLAIN_EVERY_S or where.done >= 1:
            self.told_at = time.monotonic()
            line = [f"step {where.step}", f"{100 * where.done:.0f} %", rate, f"{left} left", *_values(where)]
            typer.echo(_within(COLUMNS, line))

    def _tell_validation(self) -> None:
        """All of it, once."""
        values = [
            f"{name} {value:.4g}" for name, value in self.validation.items() if not name.startswith(BESIDES)
        ]
        line = _within(COLUMNS, ["held-out people:", *values])
        if self.bar is not None:
            self.bar.console.print(line, markup=False, highlight=False)
        else:
            typer.echo(line)

    def say(self, sentence: str) -> None:
        """A sentence beside the progress."""
        if self.bar is not None:
            self.bar.console.print(f"note: {sentence}", markup=False, highlight=False)
        else:
            sys.stderr.write(f"note: {sentence}\n")


class _Silent(_Display):
    """The other processes of torchrun say nothing."""

    def show(self, where: Where) -> None:
        """Nothing."""

    def say(self, sentence: str) -> None:
        """Nothing."""


@contextmanager
def _display(*, quiet: bool) -> Iterator[_Display]:
    console = Console(stderr=True)
    if quiet:
        yield _Silent(None)
    elif not console.is_terminal:
        yield _Display(None)
    else:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(bar_width=12),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}  {task.fields[rate]}  {task.fields[values]}"),
        )
        with Progress(*columns, console=console, transient=False) as bar:
            yield _Display(bar)


@contextmanager
def _stop_requests(*, quiet: bool) -> Iterator[list[int]]:
    """Ctrl-C, and SIGTERM as clusters send it before the end of a job: the first one saves and stops, a second Ctrl-C kills."""
    asked: list[int] = []

    def ask(number: int, _: object) -> None:
        if (
            number in asked and number == signal.SIGINT
        ):  # SIGTERM comes from a cluster and from torchrun, which had it too
            raise KeyboardInterrupt
        if not asked and not quiet:
            os.write(2, STOPPING.encode())  # past the stream, which may be in the middle of a write
        asked.append(number)  # torchrun passes Ctrl-C on as SIGTERM, which is no second request

    kept = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)


def _values(where: Where) -> list[str]:
    """The sum of the losses, and how well landmarks of held-out people were found last."""
    shown = {"loss": where.values.get("all_loss", float("nan"))}
    shown |= {name: where.validation[name] for name in IN_EVERY_LINE if name in where.validation}
    return [f"{name} {value:.4g}" for name, value in shown.items()]


def _within(columns: int, parts: list[str]) -> str:
    """As many of the parts as fit into a line, the first one anyway."""
    line = parts[0]
    for part in parts[1:]:
        if len(line) + 2 + len(part) > columns:
            break
        line += "  " + part
    return line
