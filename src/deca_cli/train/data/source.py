"""What a set of pictures has to offer to the loader."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np


@dataclass(frozen=True, eq=False)
class Picture:
    """A decoded picture with its labels."""

    pixels: np.ndarray  # uint8 [H, W, 3] RGB
    landmarks: np.ndarray  # float64 [68, 2], pixel indices
    mask: np.ndarray | None  # uint8 [H, W], 255 on skin; None: all of it


class Source(Protocol):
    """A set of people (or of lists of pictures of one person each) with their pictures.

    Sources travel to worker processes, so they are plain data (few objects, for the sake of shared memory) and open files
    only while they read. Pictures are numbered through all people.
    """

    name: str

    def __len__(self) -> int:
        """How many people there are."""

    def order(self, random: np.random.Generator) -> np.ndarray:
        """int64 [len], the order in which the people of one pass are shown."""

    def pick(self, person: int, count: int, random: np.random.Generator) -> Sequence[int]:
        """Numbers of ``count`` pictures of a person."""

    def pictures(self, person: int) -> Sequence[int]:
        """Numbers of all pictures of a person, from which those that cannot be read are replaced."""

    def label(self, key: int) -> str:
        """`person/picture`, for people to read."""

    def read(self, key: int) -> Picture:
        """Decode a picture.

        Raises:
            InputError: it is missing or damaged, or its labels are.
        """
