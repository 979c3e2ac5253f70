"""One worker of a crew, as seen from the main thread: a thread, or a process."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from threading import Thread
from typing import TYPE_CHECKING, Any

from deca_cli.pipeline.bench import Bench
from deca_cli.pipeline.forks import fork_context, without_interrupts
from deca_cli.pipeline.serve import RemoteError, Waiting, answers_to, serve

if TYPE_CHECKING:
    from collections.abc import Callable
    from queue import SimpleQueue

    from deca_cli.pipeline.bench import Request
    from deca_cli.pipeline.crew import Crew
    from deca_cli.pipeline.serve import Asked, Message


@dataclass(eq=False)
class Pending:
    """A request on its way."""

    request: Request
    done: bool = False
    value: Any = None
    error: BaseException | None = None
    holds: object = None  # what must not be given up before it is done

    def finish(self, value: Any = None, error: BaseException | None = None) -> None:  # noqa: ANN401 - as the request says
        """This is the answer."""
        self.done, self.value, self.error, self.holds = True, value, error, None

    def result(self) -> Any:  # noqa: ANN401 - as the request says
        """The answer.

        Raises:
            Exception: what doing it raised.
        """
        if self.error is not None:
            raise self.error
        return self.value


class Worker:
    """One worker as seen from the main thread."""

    def __init__(self) -> None:
        self.asked: dict[int, Pending] = {}
        self.busy = 0  # how many requests it has still to answer, but for quick ones
        self.met = False  # it was there once
        self.gone = False  # it is no longer there, and all that it said is among the replies
        self.again = False  # it replaces one that could not be started
        self.failure: Exception | None = None  # why it could not be started

    def ask(self, pending: dict[int, Pending]) -> None:
        """Ask for all of this, to be answered together; by ticket."""
        self.asked |= pending
        self.busy += sum(not one.request.quick for one in pending.values())
        self._send([(ticket, one.request) for ticket, one in pending.items()])

    def hear(self, message: Message) -> None:
        """Take the answers in; none at all says that the worker is there."""
        self.met = True
        for ticket, value, error in message:
            known = error.unpacked() if isinstance(error, RemoteError) else error
            pending = self.asked.pop(ticket)
            self.busy -= not pending.request.quick
            pending.finish(value, known)

    def _send(self, message: Asked) -> None:
        raise NotImplementedError

    def send_home(self) -> None:
        """Let it finish what it is doing, and end."""
        raise NotImplementedError

    def wait(self) -> None:
        """Wait until it is gone; it was sent home before."""
        raise NotImplementedError


class ThreadWorker(Worker):
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

    def send_home(self) -> None:
        """Let it finish what it is doing, and end."""
        for queue in self.queues.values():
            queue.put(None)

    def wait(self) -> None:
        """Wait until it is gone; it was sent home before."""
        for thread in self.threads:
            thread.join()


class ProcessWorker(Worker):
    """A worker in a process of its own; it is started by the thread that sends, as that may take a second."""

    def __init__(self, crew: Crew) -> None:
        super().__init__()
        self.outbox, self.replies, self.slate = crew.outbox, crew.replies, crew.slate
        context = fork_context()
        self.connection, self.there = context.Pipe()
        self.process = context.Process(target=serve, args=(self.there, crew.slate, crew.behind), daemon=True)
        self.receiver = Thread(target=self._receive, name="receive", daemon=True)
        self.receiver.start()
        self.outbox.put(self.start)

    def start(self) -> None:
        """Start the process."""
        try:
            if not self.slate.stopped:  # else another process to copy from might be started for it
                self.process.start()
        except Exception as error:  # noqa: BLE001 - besides OSError, EOFError of a fork server that is gone
            self.failure = error
        finally:
            self.there.close()  # so that the end of the process is the end of the connection

    def _receive(self) -> None:
        while True:
            try:
                message = self.connection.recv()
            except (EOFError, OSError):
                self.gone = True
                self.replies.put((self, None))
                return
            self.replies.put((self, message))

    def _send(self, message: Asked) -> None:
        self.outbox.put(lambda: self.connection.send(message))

    def send_home(self) -> None:
        """Let it finish what it is doing, and end."""
        self.outbox.put(lambda: self.connection.send(None))

    def wait(self) -> None:
        """Wait until it is gone; it was sent home before."""
        self.receiver.join()


def do_all(outbox: SimpleQueue[Callable[[], None] | None]) -> None:
    """Send messages to processes, in their order, until None comes."""
    with without_interrupts():
        while (action := outbox.get()) is not None:
            with suppress(OSError):  # it has crashed, or could not be started; whoever receives from it knows
                action()
