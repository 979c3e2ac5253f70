"""One result folder per photo: readable names that never collide and never change between runs."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

MAX_LENGTH = 100  # characters; leaves room below the 255 bytes that disks allow, also for non-Latin names
PARAMS_JSON = "params.json"


def result_names(photos: Sequence[Path], output: Path) -> list[str]:
    """Name the result folder of every photo, in order.

    The plain stem (`anna` for `anna.jpg`) where it is unique; photos that would share it get the ending, then
    the names of the folders above, then eight digits of a hash, whichever comes first that tells them apart. Names that
    differ only in upper and lower case count as equal. A folder in `output` that holds the result of another
    photo counts as taken.
    """
    candidates = [_candidates(photo) for photo in photos]
    level = [0] * len(photos)
    while True:
        names = [options[at] for options, at in zip(candidates, level, strict=True)]
        counts = Counter(name.casefold() for name in names)
        clashing = [
            index
            for index, name in enumerate(names)
            if level[index] + 1 < len(candidates[index])
            and (counts[name.casefold()] > 1 or _belongs_to_another(output / name, photos[index]))
        ]
        if not clashing:
            return names
        for index in clashing:
            level[index] += 1


def _candidates(photo: Path) -> list[str]:
    """Names for one photo from short to certain."""
    real = photo.resolve()
    stem, ending = _clean(real.stem), _clean(real.suffix.lstrip("."))
    folders = [_clean(part) for part in reversed(real.parent.parts[1:])]
    names = [stem, f"{stem}_{ending}"] if ending else [stem]
    for depth in range(1, min(len(folders), 3) + 1):
        above = "_".join(reversed(folders[:depth]))
        names += [f"{above}_{stem}", f"{above}_{stem}_{ending}"] if ending else [f"{above}_{stem}"]
    digest = hashlib.sha256(str(real).encode("utf-8", "surrogateescape")).hexdigest()[:8]
    names = [name[:MAX_LENGTH] for name in names]
    return list(dict.fromkeys([*names, f"{stem[:MAX_LENGTH]}_{digest}"]))


def _clean(text: str) -> str:
    """Keep letters and digits of any script, `-` and `_`; everything else, dots too, becomes `_`."""
    return re.sub(r"[^\w-]+", "_", text).strip("_") or "photo"


def _belongs_to_another(folder: Path, photo: Path) -> bool:
    """Whether the folder holds the result of a photo other than this one (an unfinished result is nobody's)."""
    if not folder.is_dir():
        return folder.exists()  # a file of that name is in the way
    try:
        owner = json.loads((folder / PARAMS_JSON).read_text("utf-8"))["photo"]
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return bool(owner != str(photo.resolve()))
