"""The doubled batch: everything once as it is, and once with a code of another picture of the same person."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from deca_cli.train.data.batch import PersonBatch


@dataclass(frozen=True, eq=False)
class FlatBatch:
    """The pictures of all people in a row, N = P K."""

    images: Tensor  # [N, 3, S, S]
    landmarks: Tensor  # [N, 68, 3]
    masks: Tensor  # [N, 1, S, S]

    @staticmethod
    def of(batch: PersonBatch) -> FlatBatch:
        """Drop the borders between people."""
        return FlatBatch(
            batch.images.flatten(0, 1), batch.landmarks.flatten(0, 1), batch.masks.flatten(0, 1)[:, None]
        )


def flat_order(order: Tensor) -> Tensor:
    """Whose code every picture gets: [P, K], each row a permutation of 0 ... K-1, -> [N] picture numbers."""
    people, pictures = order.shape
    first = torch.arange(people, device=order.device)[:, None] * pictures
    return (first + order).flatten()


def draw_order(people: int, pictures: int, generator: torch.Generator | None = None) -> Tensor:
    """Random permutations [P, K] int64 on the CPU; the identity may be among them (spec section 8.2)."""
    return torch.rand(people, pictures, generator=generator).argsort(dim=1)


def twice(values: Tensor) -> Tensor:
    """[N, ...] -> [2 N, ...], all of it and all of it again."""
    return torch.cat([values, values])
