"""Parts of the shared memory into which workers cut the crops of a round."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

    from deca_cli.pipeline.slate import Slate


@dataclass(frozen=True, eq=False)
class Page:
    """Room for the crops of one round.

    Attributes:
        first: which of all shared crops its first is.
        images: float32 [N, 3, S, S].
    """

    first: int
    images: np.ndarray


class Pages:
    """All pages of a run.

    Args:
        slate: the shared memory.
        count: number of pages.
        length: crops on a page.
        side: of a crop, pixels.
    """

    def __init__(self, slate: Slate, count: int, length: int, side: int) -> None:
        self.length, self.shape = length, (count * length, 3, side, side)
        self.crops = slate.crops(self.shape)
        firsts = range(0, count * length, length)
        self.every = [Page(first, self.crops[first : first + length]) for first in firsts]
        self.free = list(self.every)

    def some_free(self) -> bool:
        """Whether there is a page to take."""
        return bool(self.free)

    def take(self) -> Page:
        """A free page."""
        return self.free.pop()

    def give_back(self, page: Page) -> None:
        """The page may be written on again."""
        self.free.append(page)
