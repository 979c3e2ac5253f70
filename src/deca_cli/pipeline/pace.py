"""How much of a run happens at a time: sizes of batches, pools and queues."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from deca_cli.cores import usable_cores
from deca_cli.photo.detectors import AUTO, LBP, choose_detector

if TYPE_CHECKING:
    import torch

    from deca_cli.pipeline.crew import Crew

CROPS_A_PHOTO = 4  # that go through the encoder in the first round, roughly; the bundled finder is generous
GROUP_ON_GPU, GROUP_ON_CPU = 64, 4  # photos
GROUPS_WITH_PROCESSES = 3  # being fitted, each at another point, so that nobody waits
CORES_FOR_PROCESSES = 4  # from so many cores on threads would wait for Python's lock
PHOTOS_A_PROCESS = 4  # at least, where the CPU does everything; beside a GPU none waits for another
MOST_PROCESSES = 32
MOST_THREADS = 8
GPU_LIKELY = ("/dev/nvidiactl", "/dev/dxg")  # one of these is there if torch may find a GPU
QUEUED = 2  # photos that a worker is told to read before the first of them is done


@dataclass(frozen=True)
class Pace:
    """Sizes for one run."""

    batch_size: int  # crops that go through the networks together
    group: int  # photos whose faces are fitted together
    groups: int  # that are being fitted at a time
    workers: int  # threads or processes that read, look for faces, cut, draw and write
    processes: bool  # whether they are processes
    padded: bool = False  # fill batches up to their size, for compiled networks
    queued: int = QUEUED

    @property
    def page(self) -> int:
        """Crops of one round that there is room for at a time."""
        return max(self.batch_size, CROPS_A_PHOTO * self.group)

    @property
    def most_flying(self) -> int:
        """Photos between reading and the end of writing."""
        return (self.groups + 2) * self.group + 2 * self.queued * self.workers

    def formats_drawn_on(self, draw_on: str) -> str:
        """Where the head is drawn for what is written beside the overlay: processes have no GPU of their own.

        Args:
            draw_on: device on which overlays are drawn.
        """
        return "cpu" if self.processes else draw_on

    @staticmethod
    def of(
        device: torch.device,
        photos: int,
        *,
        cores: int | None = None,
        batch_size: int | None = None,
        padded: bool = False,
        detector: str = AUTO,
        crew: Crew | None = None,
    ) -> Pace:
        """Sizes that suit the machine.

        Args:
            device: of the networks.
            photos: how many there are.
            cores: CPU cores to use; all that this process may use if left out.
            batch_size: chosen by the user.
            padded: the networks are compiled for one batch size.
            detector: those that use torch run in threads, which share its memory; the bundled one in processes.
            crew: workers that are there already.
        """
        from deca_cli.pipeline.encoding import default_batch_size

        gpu = device.type == "cuda"
        size = batch_size or default_batch_size(device)
        count = len(crew.workers) if crew else worker_count(photos, gpu=gpu, cores=cores, detector=detector)
        group = size // CROPS_A_PHOTO
        if batch_size is None:
            group = GROUP_ON_GPU if gpu else GROUP_ON_CPU
        return Pace(
            batch_size=size,
            group=max(1, min(group, photos)),
            groups=GROUPS_WITH_PROCESSES if count else 2,
            workers=count or max(1, min(cores or usable_cores(), MOST_THREADS)),
            processes=count > 0,
            padded=padded,
        )


def worker_count(photos: int, *, gpu: bool, cores: int | None = None, detector: str = AUTO) -> int:
    """How many worker processes suit the machine; 0: threads will do.

    Args:
        photos: how many there are.
        gpu: the networks run on a GPU.
        cores: CPU cores to use; all that this process may use if left out.
        detector: those that use torch run in threads, which share its memory; the bundled one in processes.

    Raises:
        UsageError: the detector is not here.
    """
    cores = cores or usable_cores()
    # One process more loads the face finder while this one loads torch; with the pictures drawn on a GPU that is all it loads.
    least = 1 if gpu else PHOTOS_A_PROCESS * CORES_FOR_PROCESSES
    if cores < CORES_FOR_PROCESSES or photos < least:
        return 0
    if sys.platform == "win32" or choose_detector(detector).name != LBP:
        return 0
    if gpu:
        return min(cores, MOST_PROCESSES, photos)
    # With the networks on the CPU half of the cores are theirs.
    return max(1, min(cores // 2, MOST_PROCESSES, photos // PHOTOS_A_PROCESS))
