"""The helpers of a run: processes or threads that read photos and find faces, threads that cut, draw and write."""

from __future__ import annotations

import multiprocessing
import signal
import sys
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import forkserver
from threading import Lock
from typing import TYPE_CHECKING, Any, TypeVar

from deca_cli.errors import InputError
from deca_cli.photo import sighting

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from deca_cli.photo.face import Face
    from deca_cli.pipeline.pace import Pace

T = TypeVar("T")

# Loaded once, in the process that the others are copies of.
PRELOADED = ["deca_cli.photo.warm", "deca_cli.export"]
PRELOADED_TO_DRAW = "deca_cli.export.warm"  # loads torch
MOST_CUTTERS = 4
# After so long a thread that waits for Python's lock may have it; 5 ms, the default, would starve the GPU.
SWITCH_S = 2e-4


class Workers:
    """The pools of one run; use it in a `with` block, which ends them.

    Args:
        pace: how many of each.
        drawing: worker processes will draw on the CPU.
    """

    def __init__(self, pace: Pace, *, drawing: bool = False) -> None:
        self.pace = pace
        if pace.processes:
            start_early(drawing=drawing)
        self.starting = Lock()
        self.finders = self._start_finders(pace.finders)
        self.savers = ThreadPoolExecutor(pace.savers, "save")
        self.cutters = ThreadPoolExecutor(min(pace.savers, MOST_CUTTERS), "cut")
        self.switch_before_s = sys.getswitchinterval()
        # Last: if a pool cannot be started, there is no `__exit__` that would restore it.
        sys.setswitchinterval(SWITCH_S)

    def __enter__(self) -> Workers:  # noqa: PYI034 - Python 3.10 has no Self
        return self

    def __exit__(self, *_: object) -> None:
        try:
            for pool in (self.savers, self.cutters, self.finders):  # savers wait for finders
                pool.shutdown(wait=True, cancel_futures=True)
        finally:
            sys.setswitchinterval(self.switch_before_s)

    def _start_finders(self, count: int) -> Executor:
        if not self.pace.processes:
            return ThreadPoolExecutor(count, "find")
        return ProcessPoolExecutor(count, _context(), initializer=_begin)

    def sight(self, path: Path, detector: str | None) -> Future[sighting.Sighting]:
        """Read a photo and look for faces in the background."""
        return self._submit(sighting.sight, path, detector)

    def look_again(self, path: Path, detector: str) -> Future[list[Face]]:
        """Search a photo thoroughly in the background."""
        return self._submit(sighting.look_again, path, detector)

    def answer(self, future: Future[Any], task: Callable[..., Any], path: Path, detector: str | None) -> Any:  # noqa: ANN401
        """Wait for a result of `sight` or `look_again`; what a crash of another photo took away is done again.

        Raises:
            InputError: this photo makes the process that reads it crash.
        """
        try:
            return future.result()
        except BrokenProcessPool:
            # One photo ends all processes and with them the work on others: this one is tried in a process of its own.
            with self._start_finders(1) as alone:
                try:
                    return alone.submit(task, path, detector).result()
                except BrokenProcessPool as error:
                    raise InputError(
                        f"{path} makes the process that reads it crash; it is damaged, or memory is short. "
                        "Export it again as JPEG or PNG."
                    ) from error

    def write(self, task: Callable[..., T], *arguments: object) -> T:
        """Do something in a worker process and wait for it; here, if the processes crash meanwhile."""
        try:
            return self._submit(task, *arguments).result()
        except BrokenProcessPool:
            return task(*arguments)

    def _submit(self, task: Callable[..., T], *arguments: object) -> Future[T]:
        with self.starting:
            try:
                return self.finders.submit(task, *arguments)
            except BrokenProcessPool:
                self.finders.shutdown(wait=False)
                self.finders = self._start_finders(self.pace.finders)
                return self.finders.submit(task, *arguments)


def start_early(*, drawing: bool) -> None:
    """Let the process that workers are copies of load what they need, while this one loads the model.

    Args:
        drawing: workers draw on the CPU, so torch is loaded too.
    """
    context = _context()
    if context.get_start_method() == "forkserver":
        context.set_forkserver_preload([*PRELOADED, PRELOADED_TO_DRAW] if drawing else PRELOADED)
        forkserver.ensure_running()


def _context() -> multiprocessing.context.BaseContext:
    """Copies of this process would share its GPU and its locks; so they are copies of a fresh one where that exists."""
    return multiprocessing.get_context("spawn" if sys.platform == "win32" else "forkserver")


def _begin() -> None:
    """Start of a worker process: one thread each, and Ctrl-C is for the main process to handle."""
    import cv2

    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cv2.setNumThreads(1)
