"""Many crops through the networks in large batches; a batch that does not fit into the GPU's memory is halved."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from deca_cli.errors import DeviceError
from deca_cli.pipeline.fit import fit_batch

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
BYTES_PER_CROP = 96 * 2**20  # two ResNet-50 and all maps of a head at 224 pixels, generously


class Batches:
    """Runs work in batches of a size that shrinks when memory runs out.

    Attributes:
        size: crops that go through the networks together.
        asked: what it was at the beginning.
    """

    def __init__(self, size: int) -> None:
        self.size = self.asked = size

    def run(self, work: Callable[[slice], list[T]], count: int) -> list[T]:
        """Do the work for 0 .. count - 1 in parts; a part that runs out of memory is done again in halves.

        Raises:
            DeviceError: one alone does not fit.
        """
        done: list[T] = []
        while len(done) < count:
            part = slice(len(done), min(len(done) + self.size, count))
            try:
                done += work(part)
                continue
            except torch.OutOfMemoryError as error:
                taken = part.stop - part.start
                if taken <= 1:
                    raise DeviceError(
                        f"the GPU's memory does not hold a single face ({_first_line(error)}). Close other programs "
                        "that use the GPU, or use --device cpu."
                    ) from error
                self.size = max(1, min(self.size, taken) // 2)
            # Outside of the handler: the exception's traceback kept the tensors of the failed attempt.
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
        return done


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")


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
