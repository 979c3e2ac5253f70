"""What a person sees while something takes long: moving lines on a terminal, now and then a plain line elsewhere."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from rich.console import Console

Item = TypeVar("Item")
EVERY_S = 5.0  # between plain lines, which are for log files and pipes


class _Now:
    """Says lines, but not more often than every `EVERY_S`."""

    def __init__(self, console: Console) -> None:
        self.console, self.last = console, time.monotonic()

    def __call__(self, text: str) -> None:
        if time.monotonic() - self.last >= EVERY_S:
            self.last = time.monotonic()
            self.console.print(text, markup=False)


@contextmanager
def waiting(console: Console, text: str) -> Iterator[Callable[[str], None]]:
    """Show what is being waited for; the function given back changes the words.

    Off a terminal `text` is not said, because most waits are short; later words are, every few seconds.
    """
    if console.is_terminal:
        with console.status(text) as status:
            yield status.update
    else:
        yield _Now(console)


def counted(items: Iterable[Item], count: int, what: str, console: Console) -> Iterator[Item]:
    """The items, with a bar of how many of `count` are done; off a terminal a line every few seconds."""
    now, started = _Now(console), time.monotonic()
    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(compact=True))
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(what, total=count)
        for done, item in enumerate(items, 1):
            yield item
            progress.advance(task)
            if not console.is_terminal and done < count:
                left_s = (time.monotonic() - started) / done * (count - done)
                now(f"{what}: {done} of {count}, about {duration(left_s)} to go")


def duration(seconds: float) -> str:
    """A duration as a person says it: `119 s`, `2 min`, `2.5 h`."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
