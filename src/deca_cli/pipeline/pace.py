"""How much of a run happens at a time: sizes of batches, pools and queues."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from deca_cli.cores import usable_cores
from deca_cli.photo.detectors import AUTO, LBP, choose_detector
from deca_cli.pipeline.encoding import default_batch_size

if TYPE_CHECKING:
    import torch

CROPS_A_PHOTO = (
    4  # that go through the encoder together in the first round, roughly; the bundled finder is generous
)
CORES_FOR_PROCESSES = 4  # from so many cores on threads would wait for Python's lock
PHOTOS_A_PROCESS = 4  # at least; starting processes takes a second
MOST_PROCESSES = 32
MOST_SAVERS = 8
MOST_WAITING = 24  # savers that wait for a worker process


@dataclass(frozen=True)
class Pace:
    """Sizes for one run."""

    batch_size: int  # crops that go through the networks together
    group: int  # photos whose faces are fitted together
    finders: int  # threads or processes that read photos and find faces
    processes: bool  # whether the finders are processes
    savers: int  # threads that draw and write, or have it done by a process
    padded: bool = False  # fill batches up to their size, for compiled networks

    @property
    def read_ahead(self) -> int:
        """Photos read or being read before their turn."""
        return 2 * self.finders + self.group

    @property
    def write_behind(self) -> int:
        """Photos whose files may still be unwritten while the next are fitted."""
        return 2 * self.savers + self.group

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
        many = many and choose_detector(detector).name == LBP
        # With the networks on the CPU half of the cores are theirs.
        own = cores if device.type == "cuda" else max(1, cores // 2)
        finders = min(own, MOST_PROCESSES, photos // PHOTOS_A_PROCESS) if many else 1
        return Pace(
            batch_size=size,
            group=max(1, min(size // CROPS_A_PHOTO, photos)),
            finders=max(1, finders),
            processes=many,
            savers=max(1, min(cores, MOST_WAITING if many else MOST_SAVERS)),
            padded=padded,
        )
