"""One result folder per photo: readable names that never collide and never change between runs."""

from __future__ import annotations

import hashlib
import os
import unicodedata
from collections import Counter
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from deca_cli.export.owner import is_free, owner_of, photo_identity

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_BYTES = 120  # of a name in UTF-8; disks allow 255, some encrypted ones 143, and a hash may follow
PARAMS_JSON = "params.json"
PARAMS_NPZ = "params.npz"


def result_names(photos: Sequence[Path], output: Path) -> list[tuple[str, ...]]:
    """Names for the result folder of every photo, in order: the first is meant, the others are ways out.

    A folder in `output` that is the photo's already keeps its name. For a new one it is the plain stem (`anna` for
    `anna.jpg`) where that is free and no other photo wants it; else the ending is added, then the names of the folders
    above, then eight digits of a hash, whichever comes first that tells them apart. Names that differ only in upper
    and lower case count as equal. The ways out are for `claim_folder`, if another program takes the name meanwhile.
    """
    there = _Listed(output)
    identities = [photo_identity(photo) for photo in photos]
    candidates = [_candidates(photo, identity) for photo, identity in zip(photos, identities, strict=True)]
    kept = [there.kept(options, identity) for options, identity in zip(candidates, identities, strict=True)]
    level = [at or 0 for at in kept]
    while True:
        names = [options[at] for options, at in zip(candidates, level, strict=True)]
        counts = Counter(name.casefold() for name in names)
        clashing = [
            index
            for index, name in enumerate(names)
            if kept[index] is None
            and level[index] + 1 < len(candidates[index])
            and (counts[name.casefold()] > 1 or not there.is_free(name))
        ]
        if not clashing:
            return [tuple(options[at:]) for options, at in zip(candidates, level, strict=True)]
        for index in clashing:
            level[index] += 1


class _Listed:
    """A folder whose content is listed once, as asking the disk for every name that comes into question takes longer."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.names: frozenset[str] | None = frozenset()  # None: it may be entered but not listed
        try:
            with os.scandir(folder) as entries:
                self.names = frozenset(_folded(entry.name) for entry in entries)
        except FileNotFoundError:
            pass
        except OSError:
            self.names = None

    def kept(self, options: Sequence[str], identity: str) -> int | None:
        """Which of the names is that of a folder that belongs to the photo."""
        owned = (
            at for at, name in enumerate(options) if self._may_hold(name) and self._owner(name) == identity
        )
        return next(owned, None)

    def is_free(self, name: str) -> bool:
        """Whether a folder of that name could be claimed."""
        return not self._may_hold(name) or is_free(self.folder / name)

    def _may_hold(self, name: str) -> bool:
        """False if there is certainly nothing of that name; else the disk is asked, which knows whether case counts."""
        return self.names is None or _folded(name) in self.names

    def _owner(self, name: str) -> str | None:
        return owner_of(self.folder / name)


def _folded(name: str) -> str:
    """Equal for names that any disk takes for the same."""
    if name.isascii():
        return name.lower()
    return unicodedata.normalize("NFD", unicodedata.normalize("NFD", name).casefold())


def _candidates(photo: Path, identity: str) -> list[str]:
    """Names for one photo from short to certain, from its path as it was typed."""
    typed = Path(os.path.abspath(photo))  # noqa: PTH100 - resolve() would name a link by what it points to
    stem, ending = _clean(typed.stem), _clean(typed.suffix.lstrip(".")) if typed.suffix else ""
    folders = [_clean(part) for part in reversed(typed.parent.parts[1:])]
    names = [stem, f"{stem}_{ending}"] if ending else [stem]
    for depth in range(1, min(len(folders), 3) + 1):
        above = "_".join(reversed(folders[:depth]))
        names += [f"{above}_{stem}", f"{above}_{stem}_{ending}"] if ending else [f"{above}_{stem}"]
    digest = hashlib.sha256(identity.encode("utf-8", "surrogateescape")).hexdigest()[:8]
    return list(dict.fromkeys([*map(_cut, names), f"{_cut(stem)}_{digest}"]))


@lru_cache(256)  # the folders above are those of many photos
def _clean(text: str) -> str:
    """Keep letters, marks and digits of any script, `-` and `_`; runs of everything else, dots too, become `_`."""
    composed = unicodedata.normalize("NFC", text)
    kept = "".join(
        letter if unicodedata.category(letter)[0] in "LMN" or letter in "-_" else " " for letter in composed
    )
    return "_".join(kept.split()).strip("_") or "photo"


def _cut(name: str) -> str:
    """The beginning of a name that is short enough in UTF-8, cut between two characters."""
    return name.encode()[:MAX_BYTES].decode(errors="ignore")
