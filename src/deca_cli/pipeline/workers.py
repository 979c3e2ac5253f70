"""The helpers of a run: processes or threads that read photos and find faces, threads that cut, draw and write."""

from __future__ import annotations

import multiprocessing
import signal
import sys
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TYPE_CHECKING, Any

from deca_cli.errors import InputError
from deca_cli.photo import sighting

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from deca_cli.photo.face import Face
    from deca_cli.pipeline.pace import Pace

PRELOADED = [
    "deca_cli.photo.sighting",
    "deca_cli.photo.lbp",
]  # once, in the process that the others are copies of


class Workers:
    """The pools of one run; use it in a `with` block, which ends them."""

    def __init__(self, pace: Pace) -> None:
        self.pace = pace
        self.finders = self._start_finders(pace.finders)
        self.savers = ThreadPoolExecutor(pace.savers, "save")
        self.cutters = ThreadPoolExecutor(pace.savers, "cut")

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *_: object) -> None:
        for pool in (self.finders, self.cutters, self.savers):
            pool.shutdown(wait=True, cancel_futures=True)

    def _start_finders(self, count: int) -> Executor:
        if not self.pace.processes:
            return ThreadPoolExecutor(count, "find")
        # Copies of this process would share its GPU and its locks; so they are copies of a fresh one where that exists.
        method = "spawn" if sys.platform == "win32" else "forkserver"
        context = multiprocessing.get_context(method)
        if method == "forkserver":
            context.set_forkserver_preload(PRELOADED)
        return ProcessPoolExecutor(count, context, initializer=_begin)

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

    def _submit(self, task: Callable[..., Any], path: Path, detector: str | None) -> Future[Any]:
        try:
            return self.finders.submit(task, path, detector)
        except BrokenProcessPool:
            self.finders.shutdown(wait=False)
            self.finders = self._start_finders(self.pace.finders)
            return self.finders.submit(task, path, detector)


def _begin() -> None:
    """Start of a worker process: one thread each, and Ctrl-C is for the main process to handle."""
    import cv2

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cv2.setNumThreads(1)
