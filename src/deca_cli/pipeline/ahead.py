"""Workers that read photos and look for faces while the model is still being loaded. Nothing here imports torch."""

from __future__ import annotations

from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from deca_cli.pipeline.forks import start_early
from deca_cli.pipeline.pace import GPU_LIKELY, worker_count

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from concurrent.futures import Executor

    from deca_cli.pipeline.crew import Crew
    from deca_cli.pipeline.settings import Settings

# Before the model is there at most so much is read, whichever comes first: what a worker searches in ten seconds, and as
# much memory as photos may take afterwards.
PHOTOS_A_WORKER = 100
BYTES_AHEAD = 10**9
AT_ONCE = 4  # photos a worker that begin before anything else; the header of each is read, which a network disk may make slow

TORCH_FOR_CUDA = ("libtorch_cuda.so", "torch_cuda.dll")  # builds of torch for other GPUs, or none, lack it


def gpu_likely(device: str) -> bool:
    """Whether the networks will run on a GPU, as far as can be told without torch; `device` is what is asked for."""
    if device == "auto":
        return torch_is_for_cuda() and any(Path(name).exists() for name in GPU_LIKELY)
    return device == "cuda"


def torch_is_for_cuda() -> bool:
    """Whether the torch that is installed was built for NVIDIA's GPUs."""
    torch = find_spec("torch")
    folders = (torch and torch.submodule_search_locations) or ()
    return any(Path(folder, "lib", name).exists() for folder in folders for name in TORCH_FOR_CUDA)


def crew_ahead(
    photos: int, settings: Settings, *, gpu: bool, rasterizer: str, cores: int | None
) -> Crew | None:
    """Worker processes; None where there are to be none.

    Args:
        photos: how many there are.
        settings: what is asked for.
        gpu: the networks will probably run on a GPU.
        rasterizer: asked for, `auto`, `cpu` or `cuda`.
        cores: CPU cores to use; all that this process may use if left out.

    Raises:
        UsageError: the detector that is asked for is not here.
    """
    count = worker_count(photos, gpu=gpu, cores=cores, detector=settings.detector)
    if count == 0:
        return None
    drawing = not gpu or rasterizer == "cpu" or settings.of_the_mesh
    start_early(drawing=drawing)
    # The process that workers are copies of loads numpy and the like now, and so does this one for their messages.
    from deca_cli.pipeline.crew import Crew

    return Crew(count, processes=True, drawing=drawing, beside_gpu=gpu)


class Ahead:
    """Lets workers begin with the first photos: a few at once, more from a thread beside the one that imports torch.

    Until it has ended nobody else asks these workers for anything, or takes their answers.

    Args:
        crew: the workers.
        photos: in the order in which they will be done.
        settings: what is asked for.
        beside: has the thread.
    """

    def __init__(self, crew: Crew, photos: Sequence[Path], settings: Settings, beside: Executor) -> None:
        self.ending = False
        steps = _begin(crew, photos, settings)
        for _ in islice(steps, AT_ONCE * len(crew.workers)):
            pass
        self.rest = beside.submit(self._go_on, steps)

    def _go_on(self, steps: Iterator[None]) -> None:
        for _ in steps:
            if self.ending:
                return

    def end(self) -> None:
        """Let no more begin, and wait until that is so."""
        self.ending = True
        self.rest.result()


def _begin(crew: Crew, photos: Sequence[Path], settings: Settings) -> Iterator[None]:
    """Let workers begin with one photo after another, as far as memory goes."""
    from deca_cli.pipeline.bench import detector_of
    from deca_cli.pipeline.task import bytes_of

    if settings.resume:  # what is finished is not read again
        return
    detector, room = detector_of(settings), BYTES_AHEAD
    for number, path in enumerate(islice(photos, PHOTOS_A_WORKER * len(crew.workers))):
        size = bytes_of(path)
        room -= size
        if room < 0:
            return
        crew.begin(number, path, detector, size)
        yield
