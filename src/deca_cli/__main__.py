"""`deca` and `python -m deca_cli`."""

from __future__ import annotations

import os
import sys

from deca_cli.cli.interrupt import INTERRUPTED, say_interrupted
from deca_cli.cycles import look_less_often, look_no_more_at_what_is_here

# How OpenMP's threads, which torch computes with, wait for each other: GNU's turns of a loop, Intel's and LLVM's
# milliseconds, before they go to sleep. Their own choice keeps a core busy for so long that on a machine with other work
# everything takes ten times as long. It is read when torch is loaded.
SOON_ASLEEP = {"GOMP_SPINCOUNT": "1000", "KMP_BLOCKTIME": "0"}


def main() -> None:
    """Run the command line; a user's error becomes one sentence and exit code 1, Ctrl-C at any moment one and 130."""
    try:
        look_less_often()
        if "OMP_WAIT_POLICY" not in os.environ:
            for name, value in SOON_ASLEEP.items():
                os.environ.setdefault(name, value)
        from deca_cli.cli.app import app

        try:
            app(prog_name="deca")
        finally:
            look_no_more_at_what_is_here()
    except KeyboardInterrupt:
        say_interrupted()
        sys.exit(INTERRUPTED)


if __name__ == "__main__":
    main()
