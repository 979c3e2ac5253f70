"""Many crops through the networks in large batches; a batch that does not fit into the GPU's memory is halved."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from deca_cli.pipeline.fit import fit_batch
from deca_cli.pipeline.memory import ran_out, release, too_small

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import TypeVar

    import numpy as np

    from deca_cli.packs.store import Pack
    from deca_cli.photo.crop import Crop, PixelBox
    from deca_cli.photo.face import Face
    from deca_cli.pipeline.fit import Fit

    T = TypeVar("T")

CPU_BATCH = 4  # crops; more of them need more memory and are not quicker
LARGEST_BATCH = 256  # more does not make a GPU quicker, and this few launches cost the CPU little
GOOD_IN_A_ROW = 8  # full batches, before one of twice the size is tried again
BYTES_PER_CROP = 96 * 2**20  # two ResNet-50 and all maps of a head at 224 pixels, generously


class Batches:
    """Runs work in batches of a size that shrinks when memory runs out, and grows again when it was there for a while.

    Args:
        size: crops that go through the networks together.
        grows: whether it does; not where networks are compiled, which they would be for every size on the way.

    Attributes:
        size: what it is now.
        asked: what it was at the beginning.
    """

    def __init__(self, size: int, *, grows: bool = True) -> None:
        self.size = self.asked = size
        self.grows = grows
        self.largest = 0  # that memory has held since it last ran out
        self.good = 0  # full batches in a row that memory held
        self.patience = GOOD_IN_A_ROW  # so many of them before a larger one is tried
        self.grown = False  # whether a larger one was

    def run(self, work: Callable[[slice], list[T]], count: int) -> list[T]:
        """Do the work for 0 .. count - 1 in parts; a part that runs out of memory is done again in halves.

        Raises:
            DeviceError: one alone does not fit.
        """
        done: list[T] = []
        while len(done) < count:
            taken = min(self.size, count - len(done))
            try:
                done += work(slice(len(done), len(done) + taken))
                self._held(taken)
                continue
            except Exception as error:
                if not ran_out(error):
                    raise
                # Where batches are filled up, one crop alone takes the memory of a whole batch.
                if taken == 1 and self.size == 1:
                    raise too_small("a single face", error) from error
                self._shrink(taken)
            release()
        return done

    def _held(self, taken: int) -> None:
        """After a batch that memory held: perhaps it holds more by now."""
        self.largest = max(self.largest, taken)
        if taken < self.size or self.size == self.asked or not self.grows:
            return
        self.good += 1
        if self.good >= self.patience:
            self.size, self.good, self.grown = min(2 * self.size, self.asked), 0, True

    def _shrink(self, taken: int) -> None:
        """After a batch that memory did not hold; where a larger one was tried in vain, wait longer before the next."""
        # The last batch may be far from full. If larger ones were held before, it is not its size that is to blame.
        failed = self.size if taken <= self.largest else taken
        self.size, self.largest, self.good = max(1, failed // 2), 0, 0
        if self.grown:
            self.patience, self.grown = 2 * self.patience, False


def default_batch_size(device: torch.device) -> int:
    """Crops at a time that suit the device: a power of two for which half of the free memory is enough."""
    if device.type != "cuda":
        return CPU_BATCH
    free, _ = torch.cuda.mem_get_info(device)
    fitting = max(1, free // 2 // BYTES_PER_CROP)
    return int(min(LARGEST_BATCH, 2 ** (fitting.bit_length() - 1)))


def decode_size(device: torch.device, batch_size: int) -> int:
    """Heads that are decoded at a time: on a CPU one, whose maps fit its caches; four together need more memory."""
    return batch_size if device.type == "cuda" else 1


def fit_crops_together(
    faces: Sequence[Face],
    crops: Sequence[Crop],
    boxes: Sequence[PixelBox],
    images: np.ndarray,
    pack: Pack,
    batches: Batches,
    *,
    padded: bool,
) -> list[Fit | None]:
    """A fit for each crop, or None where the model's answer is unusable.

    Args:
        faces: which face each crop is for.
        crops: the crops, without their images.
        boxes: the box that each was cut around.
        images: float32 [B, 3, S, S].
        pack: the model.
        batches: how many at a time.
        padded: fill every batch up to the full size, for compiled networks.
    """

    def work(part: slice) -> list[Fit | None]:
        pad_to = batches.size if padded else 0
        return fit_batch(faces[part], crops[part], boxes[part], pack, images=images[part], pad_to=pad_to)

    return batches.run(work, len(crops))
