"""How many processor cores this process may use."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from deca_cli.launchers import sharers_of_cores

if TYPE_CHECKING:
    from collections.abc import Mapping


def usable_cores(environment: Mapping[str, str] | None = None) -> int:
    """Cores for this process: those given to it, divided by the processes that torchrun or SLURM gave the same ones.

    Where the system cannot say which cores are given, all that it has are.

    Args:
        environment: what the launcher says; that of this process if left out.
    """
    machine = os.cpu_count() or 1
    given = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else machine
    return max(
        1, given // sharers_of_cores(given, machine, os.environ if environment is None else environment)
    )
