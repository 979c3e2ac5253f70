"""Measure one job after the other, in this process or in several."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from typing import TYPE_CHECKING, TypeVar

from deca_cli.cores import usable_cores
from deca_cli.errors import DecaError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

Job = TypeVar("Job")
Result = TypeVar("Result")


def run_jobs(
    measure: Callable[[Job], Result], jobs: Sequence[Job], workers: int | None = None
) -> Iterator[Result]:
    """Results in the order of the jobs, each as soon as it is there.

    Args:
        measure: a function of a module (processes find it by name) that turns unusable input into a result.
        jobs: what to measure.
        workers: processes; one per core if left out.

    Raises:
        DecaError: a process ended early.
    """
    count = min(workers or usable_cores(), len(jobs))
    if count <= 1:
        yield from map(measure, jobs)
        return
    yield measure(jobs[0])  # compiles here, so that the processes find the kernels in numba's cache
    try:
        with ProcessPoolExecutor(count, mp_context=get_context("spawn")) as pool:
            yield from pool.map(measure, jobs[1:])
    except BrokenProcessPool:
        raise DecaError(
            "the worker processes ended early: too little memory, or a script that starts them outside of "
            "`if __name__ == '__main__':`. Run again with fewer (-j 1)."
        ) from None
