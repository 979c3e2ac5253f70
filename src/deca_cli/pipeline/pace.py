"""How much of a run happens at a time: sizes of batches, pools and queues."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from deca_cli.cores import usable_cores
from deca_cli.photo.detectors import AUTO, LBP, choose_detector
from deca_cli.pipeline.encoding import default_batch_size

if TYPE_CHECKING:
    import torch

CROPS_A_PHOTO = 4  # that go through the encoder in the first round, roughly; the bundled finder is generous
GROUP_ON_GPU = 32  # photos
GROUPS_WITH_PROCESSES = 4  # being fitted, each at another point, so that nobody waits
CORES_FOR_PROCESSES = 4  # from so many cores on threads would wait for Python's lock
PHOTOS_A_PROCESS = 4  # at least; starting processes takes a second
MOST_PROCESSES = 32
MOST_THREADS = 8
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

    @staticmethod
    def of(
        device: torch.device,
        photos: int,
        *,
        cores: int | None = None,
        batch_size: int | None = None,
        padded: bool = False,
        detector: str = AUTO,
    ) -> Pace:
        """Sizes that suit the machine.

        Args:
            device: of the networks.
            photos: how many there are.
            cores: CPU cores to use; all that this process may use if left out.
            batch_size: chosen by the user.
            padded: the networks are compiled for one batch size.
            detector: those that use torch run in threads, which share its memory; the bundled one in processes.
        """
        cores = cores or usable_cores()
        size = batch_size or default_batch_size(device)
        many = cores >= CORES_FOR_PROCESSES and photos >= PHOTOS_A_PROCESS * CORES_FOR_PROCESSES
        many = many and choose_detector(detector).name == LBP and sys.platform != "win32"
        # With the networks on the CPU half of the cores are theirs.
        own = cores if device.type == "cuda" else max(1, cores // 2)
        group = GROUP_ON_GPU if device.type == "cuda" and batch_size is None else size // CROPS_A_PHOTO
        return Pace(
            batch_size=size,
            group=max(1, min(group, photos)),
            groups=GROUPS_WITH_PROCESSES if many else 2,
            workers=max(
                1, min(own, MOST_PROCESSES, photos // PHOTOS_A_PROCESS) if many else min(cores, MOST_THREADS)
            ),
            processes=many,
            padded=padded,
        )
