"""How `deca reconstruct` begins: find the photos, and start what takes long beside this process. Imports nothing heavy."""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

from deca_cli.errors import UsageError
from deca_cli.export.atomic import check_writable
from deca_cli.export.names import PARAMS_JSON, PARAMS_NPZ
from deca_cli.export.owner import OWNER
from deca_cli.photo.inputs import find_inputs
from deca_cli.pipeline.ahead import Ahead, crew_ahead, gpu_likely, torch_is_for_cuda
from deca_cli.pipeline.heap import share_one_heap
from deca_cli.pipeline.share import find_share
from deca_cli.pipeline.wake import wake_gpu

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from deca_cli.export.parts import Part
    from deca_cli.photo.inputs import Inputs
    from deca_cli.pipeline.crew import Crew
    from deca_cli.pipeline.settings import Settings
    from deca_cli.pipeline.share import Share

# Folders that hold all files of one of these hold results, not photos; the second is that of `deca transfer`.
RESULT_MARKS = (frozenset({OWNER}), frozenset({PARAMS_JSON, PARAMS_NPZ}))

THREADS_BESIDE = 3  # this one apart


@dataclass(frozen=True)
class Job:
    """The command line, parsed."""

    photos: tuple[str, ...]
    recursive: bool
    output: Path
    model: str | None  # None: the best that is installed
    device: str
    threads: int | None
    settings: Settings
    batch_size: int | None  # None: as the device can take
    precision: str | None  # None: as suits the device
    compiled: bool
    rasterizer: str
    shard: tuple[int, int] | None  # part and number of parts, from 1 on
    strict: bool
    debug: bool


@dataclass(frozen=True, eq=False)
class Begun:
    """A job that has begun."""

    job: Job
    found: Inputs
    share: Share
    photos: list[Path]  # of this share
    part: Part | None  # of the summary that all shares write together; None for one that does everything
    crew: Crew | None  # workers that read the first of them; None where there are to be none
    # To be called before anybody else asks these workers or takes their answers.
    end_ahead: Callable[[], None]
    beside: ThreadPoolExecutor  # for what need not be waited for at once
    started: float  # on the clock of time.perf_counter


@contextmanager
def begin(job: Job) -> Iterator[Begun]:
    """Let workers read photos and the GPU's driver start; workers and threads end with the block.

    Raises:
        InputError: there are no photos.
        OutputError: the output folder cannot be written.
        UsageError: what is asked for makes no sense.
    """
    started = time.perf_counter()
    gpu = gpu_likely(job.device)
    if not gpu:
        share_one_heap()  # before there are other threads
    found = find_inputs(job.photos, job.recursive, marks=RESULT_MARKS)
    if job.settings.box_px is not None and len(found.photos) > 1:
        raise UsageError(f"--bbox says where the face of one photo is, but {len(found.photos)} were given.")
    share = find_share(job.shard, os.environ)
    check_writable(job.output)
    part = None if share.alone else _part(share, found, job.output)
    photos = share.take(found.photos)
    with ThreadPoolExecutor(THREADS_BESIDE) as beside:
        if gpu and torch_is_for_cuda():
            # As torch sets it before the driver starts: kernels are loaded when they are first used.
            os.environ.setdefault("CUDA_MODULE_LOADING", "LAZY")
            beside.submit(wake_gpu, share.local)
        crew = crew_ahead(len(photos), job.settings, gpu=gpu, rasterizer=job.rasterizer, cores=job.threads)
        with crew or nullcontext(), _ahead(crew, photos, job.settings, beside) as end_ahead:
            yield Begun(job, found, share, photos, part, crew, end_ahead, beside, started)


@contextmanager
def _ahead(
    crew: Crew | None, photos: list[Path], settings: Settings, beside: ThreadPoolExecutor
) -> Iterator[Callable[[], None]]:
    """Let workers begin with the first photos until the function is called, or the block ends."""
    if crew is None:
        yield lambda: None
        return
    ahead = Ahead(crew, photos, settings, beside)
    try:
        yield ahead.end
    finally:
        ahead.end()


def _part(share: Share, found: Inputs, output: Path) -> Part:
    """The part of the summary that this process will write; among processes of one launch, what an earlier one left there goes."""
    from deca_cli.export.parts import Part, forget_part, photos_digest

    part = Part(share.number, share.of, photos_digest(found.photos), share.launch)
    if share.launch:
        forget_part(output, part)
    return part
