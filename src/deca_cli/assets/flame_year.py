"""Which year's FLAME a file is. DECA's expressions were learned with FLAME 2020 and mean something else in others.

Only FLAME 2020 has a published check sum. FLAME 2023 is told by the missing chumpy wrappers or by its name in the
archive; FLAME 2017 and 2019 have the form of 2020 and are told by the name of the archive or folder only.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from deca_cli.assets.catalogue import FLAME_2020_SHA256

if TYPE_CHECKING:
    from collections.abc import Iterable

USED = 2020
CHUMPY = b"chumpy"
YEARS = re.compile(r"(?:flame|generic_model)\D{0,3}(2017|2019|2020|2023)(?!\d)", re.IGNORECASE)


def flame_year(
    pickle: bytes, sha256: str, names: Iterable[str], *, from_2020_archive: bool
) -> tuple[int, str] | None:
    """The year and how we know, or None if nothing tells it.

    Args:
        pickle: The file.
        sha256: Of the file.
        names: Of the file and of the archive and folders around it, the nearest first.
        from_2020_archive: Whether FLAME 2020's readme lies beside it.
    """
    if sha256 == FLAME_2020_SHA256:
        return 2020, "by its check sum"
    if from_2020_archive:
        return 2020, "by the readme beside it"
    for name in names:
        found = YEARS.search(name)
        if found is not None:
            return int(found[1]), f"by its place, {name}"
    if CHUMPY not in pickle:
        return 2023, "by its arrays, which are not wrapped as in FLAME 2020"
    return None


def why_other_year(year: int, how: str) -> str:
    """What to say of a FLAME that DECA's weights do not fit."""
    return (
        f"it is FLAME {year} ({how}), but DECA's weights were made with FLAME {USED} and its expressions would come out "
        f"wrong: get FLAME2020.zip with `deca fetch-models flame` or from flame.is.tue.mpg.de. If you know that it is "
        "FLAME 2020, add --any-flame"
    )
