"""How worker processes come to be: copies of a process that has loaded what they need."""

from __future__ import annotations

import atexit
import multiprocessing
import os
import signal
import sys
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from multiprocessing.context import ForkServerContext, SpawnContext

# Loaded once, in the process that the others are copies of.
PRELOADED = ["deca_cli.photo.warm", "deca_cli.pipeline.serve"]
PRELOADED_TO_DRAW = "deca_cli.export.warm"  # loads torch


def start_early(*, drawing: bool) -> None:
    """Let the process that workers are copies of load what they need, while this one does something else.

    Args:
        drawing: workers draw on the CPU, so torch is loaded too.
    """
    context = fork_context()
    if context.get_start_method() == "forkserver":
        context.set_forkserver_preload([*PRELOADED, PRELOADED_TO_DRAW] if drawing else PRELOADED)
        _run_server()


def _run_server() -> None:
    """Start the fork server; Ctrl-C while it loads is for the main process alone, else it would break off."""
    from multiprocessing import forkserver, resource_tracker

    resource_tracker.ensure_running()  # lets interrupts through again when it starts, so it starts before
    with without_interrupts():
        forkserver.ensure_running()
    atexit.unregister(stop_loading)
    atexit.register(stop_loading)  # newer versions of Python wait at their end until it is gone


def stop_loading() -> None:
    """End the process that workers are copies of, if it runs; whoever waits for a copy gets an EOFError."""
    if sys.platform == "win32":
        return
    from multiprocessing import forkserver

    server = getattr(forkserver, "_forkserver", None)  # there is no public way to it
    process = getattr(server, "_forkserver_pid", None)
    if process is not None:
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGTERM)


@contextmanager
def without_interrupts() -> Iterator[None]:
    """Ctrl-C waits, in this thread and for ever in the processes that it starts."""
    if sys.platform == "win32":
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def fork_context() -> SpawnContext | ForkServerContext:
    """Copies of this process would share its GPU and its locks; so they are copies of a fresh one where that exists."""
    if sys.platform == "win32":
        return multiprocessing.get_context("spawn")
    return multiprocessing.get_context("forkserver")
