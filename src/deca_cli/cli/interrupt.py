"""How a command ends after Ctrl-C. Imports nothing, so that it can be told at any moment."""

from __future__ import annotations

import sys

INTERRUPTED = 130  # 128 + SIGINT, as shells report it


def say_interrupted() -> None:
    """Print the sentence to stderr."""
    sys.stderr.write("deca: interrupted.\n")
