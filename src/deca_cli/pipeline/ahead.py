"""Workers that read photos and look for faces while the model is still being loaded. Nothing here imports torch."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from deca_cli.pipeline.forks import start_early
from deca_cli.pipeline.pace import GPU_LIKELY, worker_count

if TYPE_CHECKING:
    from collections.abc import Sequence

    from deca_cli.pipeline.crew import Crew
    from deca_cli.pipeline.settings import Settings

# Before the model is there at most so much is read, whichever comes first: what a worker searches in ten seconds, and as
# much memory as photos may take afterwards.
PHOTOS_A_WORKER = 100
BYTES_AHEAD = 10**9


def gpu_likely(device: str) -> bool:
    """Whether the networks will run on a GPU, as far as can be told without torch; `device` is what is asked for."""
    return device == "cuda" or (device == "auto" and any(Path(name).exists() for name in GPU_LIKELY))


def crew_ahead(
    photos: Sequence[Path], settings: Settings, *, device: str, rasterizer: str, cores: int | None
) -> Crew | None:
    """Worker processes that have begun with the first photos; None where there are to be none.

    Args:
        photos: in the order in which they will be done.
        settings: what is asked for.
        device: asked for, `auto`, `cpu` or `cuda`.
        rasterizer: asked for, `auto`, `cpu` or `cuda`.
        cores: CPU cores to use; all that this process may use if left out.

    Raises:
        UsageError: the detector that is asked for is not here.
    """
    gpu = gpu_likely(device)
    count = worker_count(len(photos), gpu=gpu, cores=cores, detector=settings.detector)
    if count == 0:
        return None
    drawing = not gpu or rasterizer == "cpu" or settings.of_the_mesh
    start_early(drawing=drawing)
    # The process that workers are copies of loads numpy and the like now, and so does this one for their messages.
    from deca_cli.pipeline.crew import Crew
    from deca_cli.pipeline.task import bytes_of

    crew = Crew(count, processes=True, drawing=drawing)
    if not settings.resume:  # what is finished is not read again
        room = BYTES_AHEAD
        for number, path in enumerate(islice(photos, PHOTOS_A_WORKER * count)):
            size = bytes_of(path)
            room -= size
            if room < 0:
                break
            crew.begin(number, path, settings, size)
    return crew
