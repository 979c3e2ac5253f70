"""Datasets made by `deca train prepare` and `deca train render-set` as a source of pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from deca_cli.errors import InputError, UsageError
from deca_cli.train.data.decode import check_crc32, decode_colour, decode_grey
from deca_cli.train.data.manifest import MANIFEST, Description, read_description, read_record, walk_records
from deca_cli.train.data.source import Picture
from deca_cli.train.data.storage import Files, Storage, Tars

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from deca_cli.train.data.settings import DataSettings


class PreparedSource:
    """The people of one dataset folder.

    Args:
        folder: the dataset.
        settings: how it will be cut; the stored crops must be wide enough for it.
        split: `train` or `held_out`.
        problems: damaged lines of the manifest are added to it.

    Raises:
        InputError: it is no dataset, or nobody is left.
        UsageError: its crops are too narrow for the scales and shifts that are asked for.
    """

    def __init__(self, folder: Path, settings: DataSettings, split: str, problems: dict[str, str]) -> None:
        self.name = str(folder)
        self.description = read_description(folder)
        _check_margin(folder, self.description, settings)
        shards = self.description.shards
        self.storage: Storage = Tars(folder, shards) if shards else Files(folder)
        self.manifest = folder / MANIFEST
        found = [
            (one.record.person, one.record.picture, one.offset, (one.record.at or (0,))[0])
            for one in walk_records(self.manifest, problems)
            if one.record.split == split
        ]
        found.sort()
        # Numbers only: millions of Python objects would be copied into every worker process, one by one.
        self.offsets = np.array([offset for _, _, offset, _ in found], np.int64)
        people = [person for person, *_ in found]
        starts = [index for index, person in enumerate(people) if index == 0 or person != people[index - 1]]
        sizes = np.diff([*starts, len(found)])
        kept = sizes >= settings.least_pictures
        self.starts, self.sizes = np.array(starts, np.int64)[kept], sizes[kept]
        self.shard_of = np.array([found[start][3] for start in self.starts], np.int64)
        self.shuffle_shards = settings.shuffle_shards
        if not len(self.starts):
            raise InputError(
                f"{folder} has no {split.replace('_', '-')} people with at least {settings.least_pictures} "
                f"pictures ({len(found)} pictures in all). Add pictures, lower least_pictures, or prepare it "
                "with another --held-out."
            )

    def __len__(self) -> int:
        """People."""
        return len(self.starts)

    def order(self, random: np.random.Generator) -> np.ndarray:
        """All people shuffled; of tars so many shards at a time as the settings say, so that disks read in rows."""
        if not self.description.shards:
            return random.permutation(len(self))
        shards = random.permutation(len(self.description.shards))
        window_of_shard = np.empty(len(shards), np.int64)
        window_of_shard[shards] = np.arange(len(shards)) // self.shuffle_shards
        chance = random.permutation(len(self))
        return np.lexsort((chance, window_of_shard[self.shard_of]))

    def pick(self, person: int, count: int, random: np.random.Generator) -> Sequence[int]:
        """A random subset; where there are fewer pictures than asked for, all of them and then some again."""
        start, size = int(self.starts[person]), int(self.sizes[person])
        rounds = [random.permutation(size) for _ in range(-(-count // size))]
        return [start + int(index) for index in np.concatenate(rounds)[:count]]

    def pictures(self, person: int) -> Sequence[int]:
        """Numbers of all pictures of a person."""
        start = int(self.starts[person])
        return range(start, start + int(self.sizes[person]))

    def label(self, key: int) -> str:
        """`person/picture`."""
        return read_record(self.manifest, int(self.offsets[key])).name

    def read(self, key: int) -> Picture:
        """Decode; the checksums tell damage that a decoder would overlook.

        Raises:
            InputError: picture or mask is missing or damaged.
        """
        record = read_record(self.manifest, int(self.offsets[key]))
        content = self.storage.image(record)
        check_crc32(content, record.image_crc32)
        pixels, mask = decode_colour(content), None
        if record.mask is not None:
            content = self.storage.mask(record)
            check_crc32(content, record.mask_crc32)
            mask = decode_grey(content)
            if mask.shape != pixels.shape[:2]:
                raise InputError(f"its mask is {mask.shape}, the picture {pixels.shape[:2]}")
        return Picture(pixels, record.landmarks, mask)


def _check_margin(folder: Path, description: Description, settings: DataSettings) -> None:
    """Crops must not reach beyond what was stored."""
    needed = settings.scale_max + 2 * settings.trans_scale
    if needed > description.margin + 1e-6:
        raise UsageError(
            f"{folder} was stored with a margin of {description.margin:g} face boxes, but scale_max "
            f"{settings.scale_max:g} with trans_scale {settings.trans_scale:g} needs {needed:g}. Lower them, or prepare "
            f"the dataset again with --margin {needed:g}."
        )
