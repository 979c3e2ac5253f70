"""What torchrun and SLURM tell a process about the others that they started with it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from deca_cli.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True)
class Launcher:
    """Who starts processes together, and the variables in which it tells them so."""

    name: str
    number: str  # of the process, from 0 on
    of: str  # how many there are
    local: str  # number of the process on its machine
    always_both: bool  # `number` without `of` is a mistake
    start: tuple[str, ...]  # have together another value at every start, and the same in all processes of one


# A batch script of SLURM has a SLURM_PROCID too, and the SLURM_NTASKS that its job may start: only inside a step, which
# srun makes and to which the number of tasks in SLURM_STEP_NUM_TASKS belongs, are there others that do the rest.
LAUNCHERS = (
    Launcher(
        "torchrun",
        "RANK",
        "WORLD_SIZE",
        "LOCAL_RANK",
        always_both=True,
        start=("TORCHELASTIC_RUN_ID", "MASTER_ADDR", "MASTER_PORT"),
    ),
    Launcher(
        "SLURM",
        "SLURM_PROCID",
        "SLURM_STEP_NUM_TASKS",
        "SLURM_LOCALID",
        always_both=False,
        start=("SLURM_JOB_ID", "SLURM_STEP_ID", "SLURM_RESTART_COUNT"),
    ),
)


@dataclass(frozen=True)
class Launch:
    """This process among those that were started together."""

    launcher: str
    number: int  # from 0 on
    of: int
    start: str  # tells this start of the processes from others


def find_launch(environment: Mapping[str, str]) -> Launch | None:
    """What torchrun, else SLURM says; None where neither started this process.

    Raises:
        UsageError: the variables make no sense.
    """
    for launcher in LAUNCHERS:
        number, of = environment.get(launcher.number), environment.get(launcher.of)
        if not number or (not of and not launcher.always_both):
            continue
        if not of:
            raise UsageError(
                f"{launcher.number}={number} is set as by {launcher.name}, but {launcher.of}, how many processes there "
                "are, is not. Set it too, or say the part with --shard i/n, --shard 1/1 for everything."
            )
        if not (number.isdecimal() and of.isdecimal() and int(number) < int(of)):
            raise UsageError(
                f"{launcher.name} says that this is process {number} of {of}, which makes no sense. "
                "Say it with --shard i/n, or --shard 1/1 for everything."
            )
        start = [f"{name}={environment[name]}" for name in launcher.start if environment.get(name)]
        return Launch(launcher.name, int(number), int(of), " ".join([launcher.name, *start]))
    return None


def local_number(environment: Mapping[str, str]) -> int:
    """Number of this process among those on its machine, from 0 on."""
    for launcher in LAUNCHERS:
        if environment.get(launcher.local, "").isdecimal():
            return int(environment[launcher.local])
    return 0


def sharers_of_cores(cores: int, machine: int, environment: Mapping[str, str]) -> int:
    """How many processes were started together that all may use the same cores, this one included.

    torchrun leaves every process all cores. SLURM mostly gives every task cores of its own; where a task may use all
    that the step has on the machine, it has not.

    Args:
        cores: that this process may use.
        machine: that the machine has.
        environment: of the process.
    """
    if environment.get("RANK") and environment.get("WORLD_SIZE"):
        return max(1, _number(environment.get("LOCAL_WORLD_SIZE")))
    if environment.get("SLURM_PROCID") and environment.get("SLURM_STEP_NUM_TASKS"):
        step = _number(environment.get("SLURM_CPUS_ON_NODE")) or machine
        return _tasks_here(environment) if cores >= min(step, machine) else 1
    return 1


def _tasks_here(environment: Mapping[str, str]) -> int:
    """Tasks of the step on this machine: in `4(x2),3` machine 0 and 1 have four and machine 2 three."""
    counts: list[int] = []
    for tasks, machines in re.findall(
        r"(\d+)(?:\(x(\d+)\))?", environment.get("SLURM_STEP_TASKS_PER_NODE", "")
    ):
        counts += [int(tasks)] * int(machines or 1)
    machine = _number(environment.get("SLURM_NODEID"))
    if machine < len(counts):
        return max(1, counts[machine])
    return max(1, _number(environment.get("SLURM_NTASKS_PER_NODE")))


def _number(text: str | None) -> int:
    return int(text) if text and text.isdecimal() else 0
