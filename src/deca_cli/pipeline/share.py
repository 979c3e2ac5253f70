"""Which part of the photos this process does, when several processes do one job together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from deca_cli.launchers import find_launch, local_number

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import TypeVar

    T = TypeVar("T")


@dataclass(frozen=True)
class Share:
    """Every `of`-th photo, from photo `number` on; counted from 0."""

    number: int = 0
    of: int = 1
    local: int = 0  # number among the processes of this machine: which of its GPUs is used
    given_by: str = ""  # who said so, for messages
    launch: str = ""  # which start of torchrun or SLURM all shares belong to; empty: each was started by hand

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
    local = local_number(environment)
    if shard is not None:
        return Share(shard[0] - 1, shard[1], local, "--shard")
    launch = find_launch(environment)
    if launch is None:
        return Share(local=local)
    return Share(launch.number, launch.of, local, launch.launcher, launch.start)
