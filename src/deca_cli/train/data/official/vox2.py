"""VoxCeleb2: frames of videos, by a list of `person/video/face/frame`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from deca_cli.errors import InputError
from deca_cli.train.data.official.lists import folder_of, read_list, read_picture

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from deca_cli.train.data.settings import DataSettings
    from deca_cli.train.data.source import Picture

MOST_KEYS = 100_000
VALIDATION_KEYS = 100  # the last ones


class VoxSource:
    """A source whose people are faces of videos (`person/video/face`).

    Args:
        settings: roots, K and whether frames are consecutive.
        split: `train` or `held_out` (the last 100 faces, of short lists a tenth).

    Raises:
        InputError: the list or the folders cannot be used, or no face has K frames.
        UsageError: something is not set.
    """

    name = "vox2"

    def __init__(self, settings: DataSettings, split: str) -> None:
        folders = settings.vox2
        path = folder_of(folders, "list", self.name)
        self.images, self.landmarks = (folder_of(folders, one, self.name) for one in ("images", "landmarks"))
        self.masks: Path | None = folder_of(folders, "masks", self.name) if folders.masks else None
        self.is_temporal = settings.isTemporal
        names = np.sort(read_list(path, 0))
        keys = np.array([name.rpartition("/")[0] for name in names.tolist()])
        _, starts, sizes = np.unique(keys, return_index=True, return_counts=True)
        enough = np.flatnonzero(sizes >= settings.per_person)[:MOST_KEYS]
        if not len(enough):
            raise InputError(
                f"No face in {path} has {settings.per_person} frames (dataset.K). Names look like "
                f"person/video/face/frame, the first is {names[0]!r}. Lower dataset.K or mend the list."
            )
        kept = min(VALIDATION_KEYS, -(-len(enough) // 10)) if len(enough) > 1 else 0
        part = enough[: len(enough) - kept] if split == "train" else enough[len(enough) - kept :]
        self.names, self.starts, self.sizes = names, starts[part], sizes[part]

    def __len__(self) -> int:
        """Faces."""
        return len(self.starts)

    def order(self, random: np.random.Generator) -> np.ndarray:
        """All faces, shuffled."""
        return random.permutation(len(self))

    def pick(self, person: int, count: int, random: np.random.Generator) -> Sequence[int]:
        """Random frames, with repetition as in the official reader, or consecutive ones."""
        start, size = int(self.starts[person]), int(self.sizes[person])
        if self.is_temporal:
            first = int(random.integers(size - count + 1))
            return range(start + first, start + first + count)
        return [start + int(index) for index in random.integers(size, size=count)]

    def pictures(self, person: int) -> Sequence[int]:
        """All frames of a face, the first one too (specification B16)."""
        start = int(self.starts[person])
        return range(start, start + int(self.sizes[person]))

    def label(self, key: int) -> str:
        """The name in the list."""
        return str(self.names[key])

    def read(self, key: int) -> Picture:
        """Decode.

        Raises:
            InputError: a file is missing or damaged.
        """
        name = self.label(key)
        mask = None if self.masks is None else self.masks / f"{name}.npy"
        return read_picture(self.images / f"{name}.png", self.landmarks / f"{name}.npy", mask)
