"""The life of a worker process, and answering requests in any worker."""

from __future__ import annotations

import pickle
import signal
import sys
import traceback
from queue import SimpleQueue
from threading import Lock, Thread
from typing import TYPE_CHECKING, Any

from deca_cli.pipeline.bench import Bench

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
        except Exception as error:  # noqa: BLE001, PERF203 - told when the photo's turn comes
            answers.append((ticket, None, RemoteError(error) if remote else error))
    return answers


def serve(connection: Connection, slate: Slate) -> None:
    """Answer requests until None comes or the main process is gone."""
    _begin()
    bench, sending = Bench(slate), Lock()
    waiting: SimpleQueue[Asked | None] = SimpleQueue()

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

    Thread(target=receive, name="receive", daemon=True).start()
    try:
        while (message := waiting.get()) is not None:
            answer(message)
    except OSError:
        return  # the main process is gone


def _begin() -> None:
    """One thread each, and Ctrl-C is for the main process to handle."""
    import cv2

    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cv2.setNumThreads(1)
