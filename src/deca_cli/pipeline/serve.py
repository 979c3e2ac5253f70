"""The life of a worker process, and answering requests in any worker."""

from __future__ import annotations

import os
import pickle
import signal
import sys
import traceback
from contextlib import suppress
from heapq import heappop, heappush
from itertools import count
from queue import Empty, SimpleQueue
from threading import Lock, Thread
from typing import TYPE_CHECKING, Any

from deca_cli.pipeline.bench import Bench

# Steps of niceness. Beside a GPU a tenth of a core where others want it: while the main process starts, as many workers as
# there are cores look for faces, and later it alone feeds the GPU; with three steps they made `import torch` take 1.7
# times as long.
BEHIND, BEHIND_ON_GPU = 3, 10

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    from deca_cli.pipeline.bench import Request
    from deca_cli.pipeline.slate import Slate

    Asked = list[tuple[int, Request]]  # with a number for each
    Message = list[tuple[int, Any, Any]]  # number of the request, value, error


class RemoteError:
    """An exception on its way from another process."""

    def __init__(self, error: BaseException) -> None:
        self.where = "".join(traceback.format_exception(error))
        try:
            self.content = pickle.dumps(error)
            pickle.loads(self.content)  # noqa: S301 - our own
        except Exception:  # noqa: BLE001 - exceptions of libraries need not survive this
            self.content = pickle.dumps(RuntimeError(f"{type(error).__name__}: {error}"))

    def unpacked(self) -> BaseException:
        """The exception; its cause is the traceback there."""
        error: BaseException = pickle.loads(self.content)  # noqa: S301 - from our own worker
        error.__cause__ = _ThereError(self.where)
        return error


class _ThereError(Exception):
    """The traceback in another process."""


def answers_to(message: Asked, bench: Bench, *, remote: bool) -> Message:
    """Do what is asked for; an exception is an answer, too."""
    answers: Message = []
    for ticket, request in message:
        try:
            answers.append((ticket, request.run(bench), None))
        except BaseException as error:  # noqa: BLE001, PERF203 - told when the photo's turn comes; someone waits for it
            answers.append((ticket, None, RemoteError(error) if remote else error))
    return answers


class Waiting:
    """Messages that wait for a worker: what brings photos to their end comes before what begins new ones."""

    def __init__(self) -> None:
        self.inbox: SimpleQueue[Asked | None] = SimpleQueue()  # Ctrl-C cannot break off putting something in
        self.numbers = count()
        self.sorted: list[tuple[int, int, Asked | None]] = []  # a heap, of the one who gets alone

    def put(self, message: Asked | None) -> None:
        """Let it wait; None, after which nothing comes, behind everything."""
        self.inbox.put(message)

    def get(self) -> Asked | None:
        """The next one."""
        with suppress(Empty):
            while True:
                message = self.inbox.get(block=not self.sorted)
                rank = 2 if message is None else int(message[0][1].begins)
                heappush(self.sorted, (rank, next(self.numbers), message))
        return heappop(self.sorted)[2]


def serve(connection: Connection, slate: Slate, behind: int) -> None:
    """Answer requests until None comes or the main process is gone; so many steps of niceness behind that."""
    _begin(behind)
    bench, sending = Bench(slate), Lock()
    waiting = Waiting()

    def answer(message: Asked) -> None:
        answers = answers_to(message, bench, remote=True)
        with sending:
            connection.send(answers)

    def receive() -> None:
        try:
            while (message := connection.recv()) is not None:
                if message[0][1].quick:
                    answer(message)
                else:
                    waiting.put(message)
        except (EOFError, OSError):
            slate.stop()  # the main process was killed: what is begun is finished, nothing more
        waiting.put(None)

    try:
        connection.send([])  # here, so whatever ends this process from now on is what it is asked to do
        Thread(target=receive, name="receive", daemon=True).start()
        while (message := waiting.get()) is not None:
            answer(message)
    except OSError:
        return  # the main process is gone


def _begin(behind: int) -> None:
    """One thread each, behind the main process, which must never wait; and Ctrl-C is for that to handle."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(os, "nice"):
        os.nice(behind)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)
    else:
        os.environ["OMP_NUM_THREADS"] = "1"  # for when it is loaded
    import cv2

    cv2.setNumThreads(1)
