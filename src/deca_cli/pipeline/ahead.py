"""Workers that read photos and look for faces while the model is still being loaded. Nothing here imports torch."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from deca_cli.pipeline.forks import start_early
from deca_cli.pipeline.pace import GPU_LIKELY, worker_count
from deca_cli.pipeline.task import bytes_guess

if TYPE_CHECKING:
    from collections.abc import Sequence

    from deca_cli.pipeline.crew import Crew
    from deca_cli.pipeline.settings import Settings

PHOTOS_A_WORKER = 24  # at most, before the model is there
BYTES_AHEAD = 4 * 10**8


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
    gpu = device == "cuda" or (device == "auto" and any(Path(name).exists() for name in GPU_LIKELY))
    count = worker_count(len(photos), gpu=gpu, cores=cores, detector=settings.detector)
    if count == 0:
        return None
    drawing = not gpu or rasterizer == "cpu"
    start_early(drawing=drawing)
    from deca_cli.pipeline.crew import Crew

    crew = Crew(count, processes=True, drawing=drawing)
    if not settings.resume:  # what is finished is not read again
        room = BYTES_AHEAD
        for number, path in enumerate(islice(photos, PHOTOS_A_WORKER * count)):
            room -= bytes_guess(path)
            if room < 0:
                break
            crew.begin(number, path, settings)
    return crew
