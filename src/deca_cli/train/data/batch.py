"""What a training step is shown."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class PersonBatch:
    """P people with K pictures each, all on one device (specification, sections 8.2 and 8.7)."""

    images: Tensor  # [P, K, 3, S, S] float32 RGB in 0..1, zero outside the source picture
    landmarks: Tensor  # [P, K, 68, 3] NDC x and y of the label by the pack's pixel offset; the third is 1
    masks: (
        Tensor  # [P, K, S, S] float32 0..1, 1 on bare skin of the face; bilinear, so in between at its edges
    )
    names: tuple[str, ...]  # P * K, `person/picture`, in the order of the flattened images

    @property
    def people(self) -> int:
        """P."""
        return int(self.images.shape[0])

    @property
    def per_person(self) -> int:
        """K."""
        return int(self.images.shape[1])
