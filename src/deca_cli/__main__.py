"""`deca` and `python -m deca_cli`."""

from __future__ import annotations

import gc
import os

# How OpenMP's threads, which torch computes with, wait for each other: GNU's turns of a loop, Intel's and LLVM's
# milliseconds, before they go to sleep. Their own choice keeps a core busy for so long that on a machine with other work
# everything takes ten times as long. It is read when torch is loaded.
SOON_ASLEEP = {"GOMP_SPINCOUNT": "1000", "KMP_BLOCKTIME": "0"}

# New objects after which Python looks for unused cycles. Its own choice, some hundreds, has it look hundreds of times at the
# million objects that torch and numba consist of, while these are being loaded: a quarter of a short command's time.
OBJECTS_BETWEEN_LOOKS = 20_000


def main() -> None:
    """Run the command line; a user's error becomes one sentence and exit code 1."""
    gc.set_threshold(OBJECTS_BETWEEN_LOOKS)
    if "OMP_WAIT_POLICY" not in os.environ:
        for name, value in SOON_ASLEEP.items():
            os.environ.setdefault(name, value)
    from deca_cli.cli.app import app

    try:
        app(prog_name="deca")
    finally:
        gc.freeze()  # else Python goes through all objects several times more before it ends


if __name__ == "__main__":
    main()
