"""How worker processes come to be: copies of a process that has loaded what they need."""

from __future__ import annotations

import multiprocessing
import sys
from multiprocessing import forkserver
from typing import TYPE_CHECKING

if TYPE_CHECKING:
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
        forkserver.ensure_running()


def fork_context() -> SpawnContext | ForkServerContext:
    """Copies of this process would share its GPU and its locks; so they are copies of a fresh one where that exists."""
    if sys.platform == "win32":
        return multiprocessing.get_context("spawn")
    return multiprocessing.get_context("forkserver")
