"""How a command ends badly: one sentence on stderr and an exit code; a traceback only when asked for."""

from __future__ import annotations

import functools
import sys
from typing import TYPE_CHECKING, ParamSpec, TypeVar

import typer

from deca_cli.cli.interrupt import INTERRUPTED, say_interrupted
from deca_cli.errors import DecaError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

P = ParamSpec("P")
R = TypeVar("R")

FAILED = 1  # nothing could be done, or --strict was given and something was left out
MISUSED = 2  # the command line is wrong, as typer reports it too


def in_a_sentence(command: Callable[P, R]) -> Callable[P, R]:
    """Wrap a command body: errors become a sentence and exit code 1 (a wrong command line 2), Ctrl-C exit code 130.

    A command with a `debug` option that is on lets the exception through, traceback and all.
    """

    @functools.wraps(command)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return command(*args, **kwargs)
        except (typer.Exit, typer.Abort, typer.BadParameter):
            raise  # these are typer's own way to leave
        except KeyboardInterrupt:
            say_interrupted()
            raise typer.Exit(INTERRUPTED) from None
        except DecaError as error:
            if kwargs.get("debug"):
                raise
            say_error(str(error))
            raise typer.Exit(MISUSED if isinstance(error, UsageError) else FAILED) from None
        except Exception as error:
            if kwargs.get("debug"):
                raise
            say_error(
                f"unexpected {type(error).__name__}: {error}. This is a fault of the program; "
                "run again with --debug and report what it prints."
            )
            raise typer.Exit(FAILED) from None

    return guarded


def say_error(sentence: str) -> None:
    """Print one error sentence to stderr."""
    sys.stderr.write(f"deca: {sentence}\n")
