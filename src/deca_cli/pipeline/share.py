"""Which part of the photos this process does, when several processes do one job together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from deca_cli.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import TypeVar

    T = TypeVar("T")

# Who started this process, and its variables: number of the process, how many there are, number on its machine.
LAUNCHERS = (
    ("torchrun", "RANK", ("WORLD_SIZE",), "LOCAL_RANK"),
    ("SLURM", "SLURM_PROCID", ("SLURM_STEP_NUM_TASKS", "SLURM_NTASKS"), "SLURM_LOCALID"),
)


@dataclass(frozen=True)
class Share:
    """Every `of`-th photo, from photo `number` on; counted from 0."""

    number: int = 0
    of: int = 1
    local: int = 0  # number among the processes of this machine: which of its GPUs is used
    given_by: str = ""  # who said so, for messages

    @property
    def alone(self) -> bool:
        """Whether this process does everything."""
        return self.of == 1

    def take(self, items: Sequence[T]) -> list[T]:
        """The part of a list that belongs to this share."""
        return list(items[self.number :: self.of])


def find_share(shard: tuple[int, int] | None, environment: Mapping[str, str]) -> Share:
    """The share asked for with `--shard i/n` (i from 1 on), else that of torchrun or SLURM, else everything.

    Raises:
        UsageError: the variables of torchrun or SLURM make no sense.
    """
    local = _local(environment)
    if shard is not None:
        return Share(shard[0] - 1, shard[1], local, "--shard")
    for launcher, number, counts, _ in LAUNCHERS:
        of = next((environment[name] for name in counts if environment.get(name)), None)
        if not environment.get(number) or of is None:
            continue
        if not (environment[number].isdecimal() and of.isdecimal() and int(environment[number]) < int(of)):
            raise UsageError(
                f"{launcher} says that this is process {environment[number]} of {of}, which makes no sense. "
                "Say it with --shard i/n, or --shard 1/1 for everything."
            )
        return Share(int(environment[number]), int(of), local, launcher)
    return Share(local=local)


def _local(environment: Mapping[str, str]) -> int:
    for _, _, _, name in LAUNCHERS:
        if environment.get(name, "").isdecimal():
            return int(environment[name])
    return 0
