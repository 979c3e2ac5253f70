"""The workers of a run, processes or threads: requests go to one of them, answers are taken when they are there.

Each worker does its requests one after another, but quick ones at once, beside what it is doing. Answers of processes
are received, and requests sent, by threads of their own: so Ctrl-C, which Python raises in the main thread, never
breaks off a message in its middle, and a busy worker never holds up the main thread.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from queue import Empty, SimpleQueue
from threading import Thread
from typing import TYPE_CHECKING, Any

from deca_cli.errors import InputError
from deca_cli.pipeline.bench import Bench, Drop, Shared, Sight, detector_of
from deca_cli.pipeline.forks import fork_context, start_early
from deca_cli.pipeline.serve import RemoteError, Waiting, answers_to, serve
from deca_cli.pipeline.slate import Slate

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from deca_cli.pipeline.bench import Request
    from deca_cli.pipeline.serve import Asked, Message
    from deca_cli.pipeline.settings import Settings


@dataclass(eq=False)
class Pending:
    """A request on its way."""

    request: Request
    done: bool = False
    value: Any = None
    error: BaseException | None = None

    def result(self) -> Any:  # noqa: ANN401 - as the request says
        """The answer.

        Raises:
            Exception: what doing it raised.
        """
        if self.error is not None:
            raise self.error
        return self.value


class Crew:
    """Workers; use it in a `with` block, which ends them.

    Args:
        size: how many.
        processes: whether they are processes.
        drawing: they will draw on the CPU, so torch is loaded too.
    """

    def __init__(self, size: int, *, processes: bool, drawing: bool = False) -> None:
        self.slate = Slate.for_processes() if processes else Slate()
        self.replies: SimpleQueue[tuple[_Worker, Message | None]] = SimpleQueue()
        self.outbox: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self.tickets = count(1)
        self.shared: Shared | None = None
        if processes:
            start_early(drawing=drawing)
            Thread(target=_do_all, args=(self.outbox,), name="send", daemon=True).start()
        self.begun: dict[
            int, tuple[int, Pending]
        ] = {}  # photos that are being read already: by whom, and the answer
        kind = _Process if processes else _Thread
        self.workers: list[_Worker] = [kind(self) for _ in range(size)]

    def __enter__(self) -> Crew:  # noqa: PYI034 - Python 3.10 has no Self
        return self

    def __exit__(self, *_: object) -> None:
        self.slate.stop()
        for worker in self.workers:
            worker.end()
        self.outbox.put(None)
        self.slate.close()

    def teach(self, shared: Shared) -> None:
        """Let all workers, also later ones, know what all heads share."""
        self.shared = shared
        for index in range(len(self.workers)):
            self.post(index, [shared])

    def begin(self, number: int, path: Path, settings: Settings) -> None:
        """Let a photo be read, and faces be looked for, before anybody asks."""
        worker = self.least_busy()
        self.begun[number] = (worker, self.post(worker, [Sight(number, path, detector_of(settings))])[0])

    def least_busy(self) -> int:
        """The worker with the least to do."""
        return min(range(len(self.workers)), key=lambda index: self.workers[index].busy)

    def post(self, index: int, requests: Sequence[Request]) -> list[Pending]:
        """Ask a worker; requests that are asked together are answered together."""
        pending = {next(self.tickets): Pending(request) for request in requests}
        self.workers[index].ask(pending)
        return list(pending.values())

    def take(self, *, wait: bool) -> bool:
        """Take all answers that are there, perhaps after waiting for the first; whether there was one."""
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
                worker.hear(message)

    def _redo(self, dead: _Worker) -> None:
        """Replace a worker that has crashed; what it was asked is asked of fresh ones, one by one, to find the cause."""
        if dead not in self.workers:
            return
        self.workers[self.workers.index(dead)] = self._replacement(self.replies)
        for pending in dead.asked.values():
            if isinstance(pending.request, Drop | Shared):
                pending.done = True  # what is gone is forgotten
            else:
                self._alone(pending)

    def _replacement(self, replies: SimpleQueue) -> _Worker:
        worker = _Process(self, replies)
        if self.shared is not None:
            worker.ask({next(self.tickets): Pending(self.shared)})
        return worker

    def _alone(self, pending: Pending) -> None:
        """Have something done by a process of its own."""
        replies: SimpleQueue[tuple[_Worker, Message | None]] = SimpleQueue()
        worker = self._replacement(replies)
        worker.ask({next(self.tickets): pending})
        while not pending.done:
            _, message = replies.get()
            if message is None:
                pending.done, pending.error = True, _crash(pending.request)
            else:
                worker.hear(message)
        worker.end()


class _Worker:
    """One worker as seen from the main thread."""

    def __init__(self) -> None:
        self.asked: dict[int, Pending] = {}

    @property
    def busy(self) -> int:
        """How many requests it has still to answer, but for quick ones."""
        return sum(not pending.request.quick for pending in self.asked.values())

    def ask(self, pending: dict[int, Pending]) -> None:
        self.asked |= pending
        self._send([(ticket, one.request) for ticket, one in pending.items()])

    def hear(self, message: Message) -> None:
        """Take the answers in."""
        for ticket, value, error in message:
            pending = self.asked.pop(ticket)
            pending.done, pending.value = True, value
            pending.error = error.unpacked() if isinstance(error, RemoteError) else error

    def _send(self, message: Asked) -> None:
        raise NotImplementedError

    def end(self) -> None:
        """Let it finish what it is doing, and wait for that."""
        raise NotImplementedError


class _Thread(_Worker):
    """A worker in this process: one thread, and another one for quick requests."""

    def __init__(self, crew: Crew) -> None:
        super().__init__()
        self.bench, self.replies = Bench(crew.slate), crew.replies
        self.queues = {quick: Waiting() for quick in (False, True)}
        self.threads = [
            Thread(target=self._work, args=(queue,), name="work", daemon=True)
            for queue in self.queues.values()
        ]
        for thread in self.threads:
            thread.start()

    def _work(self, queue: Waiting) -> None:
        while (message := queue.get()) is not None:
            self.replies.put((self, answers_to(message, self.bench, remote=False)))

    def _send(self, message: Asked) -> None:
        self.queues[message[0][1].quick].put(message)

    def end(self) -> None:
        for queue in self.queues.values():
            queue.put(None)
        for thread in self.threads:
            thread.join()


class _Process(_Worker):
    """A worker in a process of its own; it is started by the thread that sends, as that may take a second."""

    def __init__(self, crew: Crew, replies: SimpleQueue | None = None) -> None:
        super().__init__()
        self.outbox, self.replies = crew.outbox, replies or crew.replies
        context = fork_context()
        self.connection, self.there = context.Pipe()
        self.process = context.Process(target=serve, args=(self.there, crew.slate), daemon=True)
        self.receiver = Thread(target=self._receive, name="receive", daemon=True)
        self.receiver.start()
        self.outbox.put(self.start)

    def start(self) -> None:
        """Start the process."""
        try:
            self.process.start()
        finally:
            self.there.close()  # so that the end of the process is the end of the connection

    def _receive(self) -> None:
        while True:
            try:
                message = self.connection.recv()
            except (EOFError, OSError):
                self.replies.put((self, None))
                return
            self.replies.put((self, message))

    def _send(self, message: Asked) -> None:
        self.outbox.put(lambda: self.connection.send(message))

    def end(self) -> None:
        self.outbox.put(lambda: self.connection.send(None))
        self.receiver.join()


def _do_all(outbox: SimpleQueue[Callable[[], None] | None]) -> None:
    """Send messages to processes, in their order, until None comes."""
    while (action := outbox.get()) is not None:
        with suppress(OSError):  # it has crashed, or could not be started; whoever receives from it knows
            action()


def _crash(request: Request) -> InputError:
    return InputError(
        f"{request.path} makes the process that reads it crash; it is damaged, or memory is short. "
        "Export it again as JPEG or PNG."
    )
