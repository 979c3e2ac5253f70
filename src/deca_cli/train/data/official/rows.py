"""VGGFace2, VGGFace2HQ and BUPT-Balancedface: lists whose rows name the pictures of one person."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from deca_cli.errors import InputError, UsageError
from deca_cli.train.data.official.lists import folder_of, read_list, read_picture

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from deca_cli.train.data.settings import DataSettings, OfficialFolders
    from deca_cli.train.data.source import Picture

PICTURES_A_ROW = 5  # of the VGGFace2 lists


@dataclass(frozen=True)
class Roots:
    """Three folders with equal relative paths."""

    images: Path
    landmarks: Path
    masks: Path | None

    @staticmethod
    def of(folders: OfficialFolders, name: str) -> Roots:
        """The folders of a set in the settings.

        Raises:
            InputError: one does not exist.
            UsageError: one is not set.
        """
        masks = folder_of(folders, "masks", name) if folders.masks else None
        return Roots(folder_of(folders, "images", name), folder_of(folders, "landmarks", name), masks)

    def read(self, name: str) -> Picture:
        """The picture of that name, JPEG.

        Raises:
            InputError: a file is missing or damaged.
        """
        mask = None if self.masks is None else self.masks / f"{name}.npy"
        return read_picture(self.images / f"{name}.jpg", self.landmarks / f"{name}.npy", mask)


class RowSource:
    """A source whose people are the rows of a list.

    Args:
        name: of the set.
        rows: strings [n, m].
        roots: by first letter of a picture's name; the empty string stands for all letters.
        is_random: pictures of a row are drawn at random, else the first ones are taken.
    """

    def __init__(self, name: str, rows: np.ndarray, roots: Mapping[str, Roots], *, is_random: bool) -> None:
        self.name, self.rows, self.roots, self.is_random = name, rows, dict(roots), is_random

    def __len__(self) -> int:
        """Rows."""
        return len(self.rows)

    def order(self, random: np.random.Generator) -> np.ndarray:
        """All rows, shuffled."""
        return random.permutation(len(self))

    def pick(self, person: int, count: int, random: np.random.Generator) -> Sequence[int]:
        """So many columns of a row, without repetition.

        Raises:
            UsageError: a row has fewer.
        """
        columns = PICTURES_A_ROW if self.is_random else self.rows.shape[1]
        if count > columns:
            raise UsageError(
                f"The lists of {self.name} name {columns} pictures a row, but dataset.K is {count}. Lower it."
            )
        chosen = random.permutation(columns)[:count] if self.is_random else np.arange(count)
        return [person * self.rows.shape[1] + int(column) for column in chosen]

    def pictures(self, person: int) -> Sequence[int]:
        """All columns of a row."""
        width = self.rows.shape[1]
        return range(person * width, (person + 1) * width)

    def label(self, key: int) -> str:
        """The name in the list."""
        return str(self.rows.flat[key])

    def read(self, key: int) -> Picture:
        """Decode.

        Raises:
            InputError: a file is missing or damaged.
        """
        name = self.label(key)
        roots = self.roots.get(name[:1]) or self.roots.get("")
        if roots is None:
            raise InputError(f"its name begins with none of the letters {', '.join(self.roots)}")
        return roots.read(name)


def open_vggface2(settings: DataSettings, split: str) -> RowSource:
    """VGGFace2: a random choice of the five pictures of a row; validation has a list of its own.

    Raises:
        InputError: lists or folders cannot be used.
        UsageError: something is not set, or K is above five.
    """
    name, folders = "vggface2", settings.vggface2
    _check_count(settings, PICTURES_A_ROW, name)
    path = folder_of(folders, "list", name) if split == "train" else Path(settings.vggface2_val_list or "")
    if split != "train" and not settings.vggface2_val_list:
        raise UsageError(
            "Validation on vggface2 needs dataset.vggface2_val_list. Set it, or leave vggface2 out of eval_data."
        )
    rows = read_list(path.expanduser(), PICTURES_A_ROW)
    return RowSource(name, rows, {"": Roots.of(folders, name)}, is_random=True)


def open_vggface2hq(settings: DataSettings, split: str) -> RowSource:  # noqa: ARG001 - it has no validation part
    """VGGFace2HQ: the first K pictures of a row, faces of more than 400 pixels.

    Raises:
        InputError: list or folders cannot be used.
        UsageError: something is not set.
    """
    name, folders = "vggface2hq", settings.vggface2hq
    rows = read_list(folder_of(folders, "list", name), settings.per_person)
    return RowSource(name, rows, {"": Roots.of(folders, name)}, is_random=False)


def open_ethnicity(settings: DataSettings, split: str) -> RowSource:  # noqa: ARG001 - it has no validation part
    """VGGFace2 (names with n) and BUPT-Balancedface (names with A): the first K pictures of a row.

    The roots of n are those of vggface2; a name with another letter is refused, where the official reader goes on
    with the roots of the picture before it (specification B16).

    Raises:
        InputError: list or folders cannot be used, or a name has another letter.
        UsageError: something is not set.
    """
    name, folders = "ethnicity", settings.ethnicity
    path = folder_of(folders, "list", name)
    rows = read_list(path, settings.per_person)
    letters = {str(letter) for letter in np.unique(rows.astype("<U1"))}
    known = {"n": "vggface2", "A": name}
    if unknown := letters - set(known):
        first = next(str(one) for one in rows.flat if one[:1] in unknown)
        raise InputError(
            f"The list {path} names {first!r}, but names begin with n (VGGFace2) or A (BUPT-Balancedface). Mend the list."
        )
    roots = {letter: Roots.of(getattr(settings, known[letter]), known[letter]) for letter in sorted(letters)}
    return RowSource(name, rows, roots, is_random=False)


def _check_count(settings: DataSettings, most: int, name: str) -> None:
    if settings.per_person > most:
        raise UsageError(
            f"The lists of {name} name {most} pictures of a person together, but dataset.K is {settings.K}. Lower it."
        )
