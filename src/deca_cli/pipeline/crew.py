"""The workers of a run, processes or threads: requests go to one of them, answers are taken when they are there.

Each worker does its requests one after another, but quick ones at once, beside what it is doing. Answers of processes
are received, and requests sent, by threads of their own: so Ctrl-C, which Python raises in the main thread, never
breaks off a message in its middle, and a busy worker never holds up the main thread.
"""

from __future__ import annotations

from collections import deque
from itertools import count
from queue import Empty, SimpleQueue
from threading import Thread
from typing import TYPE_CHECKING

from deca_cli.errors import DeviceError, InputError
from deca_cli.pipeline.bench import Drop, Echo, Shared, Sight
from deca_cli.pipeline.forks import start_early, stop_loading
from deca_cli.pipeline.serve import BEHIND, BEHIND_ON_GPU
from deca_cli.pipeline.slate import Slate
from deca_cli.pipeline.stopped import StoppedError
from deca_cli.pipeline.worker import Pending, ProcessWorker, ThreadWorker, Worker, do_all

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from deca_cli.pipeline.bench import Request
    from deca_cli.pipeline.serve import Message


class Crew:
    """Workers; use it in a `with` block, which ends them.

    Args:
        size: how many.
        processes: whether they are processes.
        drawing: they will draw on the CPU, so torch is loaded too.
        beside_gpu: the networks run on a GPU, which the main process must feed in time.
    """

    def __init__(
        self, size: int, *, processes: bool, drawing: bool = False, beside_gpu: bool = False
    ) -> None:
        self.behind = BEHIND_ON_GPU if beside_gpu else BEHIND
        self.slate = Slate.for_processes() if processes else Slate()
        self.replies: SimpleQueue[tuple[Worker, Message | None]] = SimpleQueue()
        self.outbox: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self.tickets = count(1)
        self.shared: Shared | None = None
        if processes:
            start_early(drawing=drawing)
            Thread(target=do_all, args=(self.outbox,), name="send", daemon=True).start()
        # Photos that are being read already: by whom, the answer, and the bytes of their pixels.
        self.begun: dict[int, tuple[int, Pending, int]] = {}
        self.suspects: deque[Pending] = deque()  # one of them made a worker crash
        self.alone: Worker | None = None  # who does a suspect
        kind = ProcessWorker if processes else ThreadWorker
        self.workers: list[Worker] = [kind(self) for _ in range(size)]

    def __enter__(self) -> Crew:  # noqa: PYI034 - Python 3.10 has no Self
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.slate.stop()
        if kind is KeyboardInterrupt and not any(worker.met for worker in self.workers):
            stop_loading()  # nobody has begun anything yet, or nobody knows
        workers = [worker for worker in (*self.workers, self.alone) if worker is not None]
        for worker in workers:
            worker.send_home()
        for worker in workers:
            worker.wait()  # they end side by side
        self.outbox.put(None)
        self.slate.close()

    def teach(self, shared: Shared) -> None:
        """Let all workers, also later ones, know what all heads share."""
        self.shared = shared
        for index in range(len(self.workers)):
            self.post(index, [shared])

    def begin(self, number: int, path: Path, detector: str | None, size: int) -> None:
        """Let a photo be read, whose pixels take so many bytes, and faces be looked for, before anybody asks."""
        worker = self.least_busy()
        [seeing] = self.post(worker, [Sight(number, path, detector)])
        self.begun[number] = (worker, seeing, size)

    def least_busy(self) -> int:
        """The worker with the least to do."""
        return min(range(len(self.workers)), key=lambda index: self.workers[index].busy)

    def post(self, index: int, requests: Sequence[Request]) -> list[Pending]:
        """Ask a worker; requests that are asked together are answered together."""
        pending = {next(self.tickets): Pending(request) for request in requests}
        worker = self.workers[index]
        if worker.gone and self.slate.stopped:
            _give_up(pending.values())  # nobody takes its place any more
        else:
            worker.ask(pending)
        return list(pending.values())

    def settle(self) -> None:
        """After the slate says stop: take the answers of all that workers do yet.

        Ctrl-C may have come between asking and sending, or between an answer's arrival and its being heard. What was
        lost then is not waited for: each worker is asked one thing more, which it answers last.
        """
        echoes = []
        for worker in (*self.workers, self.alone):
            if worker is not None and not worker.gone:
                echoes.append(Pending(Echo()))
                worker.ask({next(self.tickets): echoes[-1]})
        while not all(echo.done for echo in echoes):
            self.take(wait=True)

    def take(self, *, wait: bool) -> bool:
        """Take all answers that are there, perhaps after waiting for the first; whether there was one.

        Raises:
            DeviceError: workers cannot be started.
        """
        taken = False
        while True:
            try:
                worker, message = self.replies.get(block=wait and not taken)
            except Empty:
                return taken
            taken = True
            if message is None:
                self._redo(worker)
            else:
                self._hear(worker, message)

    def _redo(self, dead: Worker) -> None:
        """Replace a worker that has ended; what it may have begun is asked of fresh ones, one by one, to find the cause.

        Raises:
            DeviceError: its replacement could not be started either.
        """
        if dead is not self.alone and dead not in self.workers:
            return  # it was sent home
        if self.slate.stopped:
            _give_up(dead.asked.values())
        elif not dead.met:
            self._start_again(dead)
        elif dead is self.alone:
            for pending in dead.asked.values():
                pending.finish(error=_crash(pending.request))
            self._next_alone()
        else:
            fresh = self._fresh()
            self._replace(dead, fresh)
            self._share_out(dead, fresh)
            if self.alone is None:
                self._next_alone()

    def _share_out(self, dead: Worker, fresh: Worker) -> None:
        """What a worker may have begun makes it suspect; what it had not is for the one that takes its place."""
        begun = False
        for ticket, pending in dead.asked.items():
            if isinstance(pending.request, Drop | Shared):
                pending.finish()  # what is gone is forgotten
            elif pending.request.begins and begun:
                fresh.ask({ticket: pending})  # photos are begun in order, one after another
            else:
                self.suspects.append(pending)
                begun = begun or pending.request.begins

    def _replace(self, dead: Worker, fresh: Worker) -> None:
        if dead is self.alone:
            self.alone = fresh
        else:
            self.workers[self.workers.index(dead)] = fresh

    def _fresh(self) -> Worker:
        """One more process, which knows what all heads share."""
        fresh = ProcessWorker(self)
        if self.shared is not None:
            fresh.ask({next(self.tickets): Pending(self.shared)})
        return fresh

    def _start_again(self, dead: Worker) -> None:
        """Try once more with a worker that never got as far as its work; no photo is to blame for that."""
        if dead.again:
            self.slate.stop()
            _give_up(dead.asked.values())
            raise _not_started(len(self.workers), dead.failure)
        fresh = self._fresh()
        fresh.again = True
        self._replace(dead, fresh)
        for ticket, pending in dead.asked.items():
            fresh.ask({ticket: pending})

    def _next_alone(self) -> None:
        """Have the next suspect done by a process of its own."""
        self.alone = None
        if self.suspects:
            self.alone = fresh = self._fresh()
            fresh.ask({next(self.tickets): self.suspects.popleft()})

    def _hear(self, worker: Worker, message: Message) -> None:
        worker.hear(message)
        if worker is self.alone and message and not worker.asked:
            worker.send_home()
            self._next_alone()


def _give_up(pending: Iterable[Pending]) -> None:
    for one in pending:
        one.finish(error=StoppedError())


def _not_started(size: int, failure: Exception | None) -> DeviceError:
    why = f" ({type(failure).__name__}: {failure})" if failure is not None else ""
    return DeviceError(
        f"worker processes cannot be started here{why}, {size} were wanted: this machine allows no more processes, "
        "or memory is short. Use fewer: --threads 2."
    )


def _crash(request: Request) -> InputError:
    return InputError(
        f"{request.path} makes the process that reads it crash; it is damaged, or memory is short. "
        "Export it again as JPEG or PNG."
    )
