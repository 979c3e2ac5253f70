"""One run of a stage for `stage_speed.py`: `deca train` as it is, but for a clock around its batches.

The loop warms up, then trains on what the loader brings, then on the last batch again and again, as if loading cost nothing. The
first process prints a line of JSON after each part. Started once for each GPU by torchrun.

    python benchmarks/stage_speed_run.py STAGE SET RUN --device cuda --seconds 8 --set NAME=VALUE ...
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from functools import partial
from itertools import islice, repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from deca_cli.train import run as program
from deca_cli.train.config.build import load_settings
from deca_cli.train.data.loader import PersonLoader
from deca_cli.train.progress import Watchers

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from deca_cli.train.data.batch import PersonBatch
    from deca_cli.train.processes import Process

WARM_STEPS = 40  # kernels are chosen, steps are recorded, and what the workers made meanwhile is used up
PROBE_STEPS = 20


class TimedLoader:
    """A loader that measures how quickly the loop takes its batches.

    Args:
        loader: the real one.
        process: this one among all.
        seconds: how long each part shall last, about.
        warm: steps before the first part.
        probe: steps from which the number of steps in a part is guessed.
    """

    def __init__(self, loader: PersonLoader, process: Process, seconds: float, warm: int, probe: int) -> None:
        self.loader, self.process, self.seconds, self.warm, self.probe = loader, process, seconds, warm, probe
        self.settings, self.problems, self.steps_per_pass = loader.settings, loader.problems, 10**9
        self.is_done, self.waited = False, 0.0
        self.began = time.monotonic()

    def batches(self, first_step: int = 0) -> Iterator[PersonBatch]:
        """As of the real loader, and in the end always the last one."""
        real = self.loader.batches(first_step)
        yield from islice(real, self.warm)
        self._tell(part="start", seconds=round(time.monotonic() - self.began, 1))
        _, seconds = yield from self._taken(real, self.probe)
        # All processes must take the same number of steps.
        count = max(int(self.process.agree(self.seconds * self.probe / seconds)), 2)
        last = yield from self._timed("loading", real, count)
        yield from self._timed("resident", repeat(last), count)
        self.is_done = True
        while True:
            yield last

    def _taken(
        self, source: Iterator[PersonBatch], count: int
    ) -> Generator[PersonBatch, None, tuple[PersonBatch, float]]:
        """Yield so many batches; the last one, and the seconds until its step was done."""
        start = self._now()
        for _ in range(count):
            before = time.perf_counter()
            batch = next(source)
            self.waited += time.perf_counter() - before
            yield batch
        return batch, self._now() - start

    def _timed(
        self, part: str, source: Iterator[PersonBatch], count: int
    ) -> Generator[PersonBatch, None, PersonBatch]:
        """The same, and tell how quick it was."""
        self.waited, used = 0.0, time.process_time()
        last, spent = yield from self._taken(source, count)
        images = self.settings.batch_size * self.settings.per_person * self.process.world
        self._tell(
            part=part, steps=count, images_per_s=round(count * images / spent, 1), ms_per_step=round(1e3 * spent / count, 2),
            ms_waiting_for_data=round(1e3 * self.waited / count, 2),
            ms_of_main_process=round(1e3 * (time.process_time() - used) / count, 2),
            gpu_memory_gib=round(torch.cuda.max_memory_allocated() / 2**30, 2) if self._is_cuda else None,
        )  # fmt: skip
        return last

    @property
    def _is_cuda(self) -> bool:
        return bool(self.process.device.type == "cuda")

    def _now(self) -> float:
        if self._is_cuda:
            torch.cuda.synchronize()
        return time.perf_counter()

    def _tell(self, **values: object) -> None:
        if self.process.first:
            sys.stdout.write(json.dumps(values) + "\n")
            sys.stdout.flush()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("stage")
    parser.add_argument("data")
    parser.add_argument("run", type=Path)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--warm", type=int, default=WARM_STEPS)
    parser.add_argument("--probe", type=int, default=PROBE_STEPS)
    parser.add_argument("--set", action="append", default=[])
    options = parser.parse_args()
    loaders: list[TimedLoader] = []

    def timed(*arguments: Any) -> TimedLoader:  # noqa: ANN401 - those of PersonLoader
        lengths = options.seconds, options.warm, options.probe
        loaders.append(TimedLoader(PersonLoader(*arguments), arguments[2], *lengths))
        return loaders[-1]

    program.PersonLoader = partial(timed)
    loaded = load_settings(options.stage, options=[f"dataset.training_data=[{options.data}]", *options.set])
    say = partial(print, file=sys.stderr)
    watchers = Watchers(message=say, wants_stop=lambda: bool(loaders) and loaders[0].is_done)
    program.train_stage(loaded, options.run, options.device, watchers)


if __name__ == "__main__":
    main()
