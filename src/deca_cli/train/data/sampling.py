"""Who is shown when: a pure function of the seed, the step and the process."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from deca_cli.train.data.source import Source

ORDER, SLOT = range(2)  # kinds of chance, so that they do not share random numbers


class People:
    """All people of several sources in an endless order: pass after pass, everybody once a pass.

    Position ``p`` of the order belongs to pass ``p // count``; every pass is shuffled anew. Steps of all processes take
    consecutive positions, so no person is shown to two processes in one pass.
    """

    def __init__(self, sources: Sequence[Source], seed: int) -> None:
        self.sources, self.seed = tuple(sources), seed
        self.count = sum(len(source) for source in self.sources)
        self._pass = lru_cache(maxsize=2)(self._shuffled)

    def __getstate__(self) -> dict[str, object]:
        return {"sources": self.sources, "seed": self.seed}

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__init__(state["sources"], state["seed"])  # type: ignore[misc]

    def at(self, position: int) -> tuple[int, int]:
        """Source number and person number at a position."""
        number, place = divmod(position, self.count)
        source, person = self._pass(number)[place]
        return int(source), int(person)

    def _shuffled(self, number: int) -> np.ndarray:
        """int64 [count, 2], source and person, of one pass: a random merge of the orders of the sources."""
        random = generator(self.seed, ORDER, number)
        sizes = [len(source) for source in self.sources]
        chosen = random.permutation(np.repeat(np.arange(len(sizes)), sizes))
        merged = np.empty((self.count, 2), np.int64)
        merged[:, 0] = chosen
        for index, source in enumerate(self.sources):
            merged[chosen == index, 1] = source.order(random)
        return merged


def generator(seed: int, *keys: int) -> np.random.Generator:
    """Random numbers that depend on all of these integers (none negative) and on nothing else."""
    return np.random.default_rng(np.random.SeedSequence([seed, *keys]))
