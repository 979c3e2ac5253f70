"""How often Python looks for cycles of objects that nothing uses any more."""

from __future__ import annotations

import gc

# New objects after which it looks. Its own choice, some hundreds, has it look hundreds of times at the million objects that
# torch and numba consist of, while these are being loaded: a quarter of a short command's time.
OBJECTS_BETWEEN_LOOKS = 20_000


def look_less_often() -> None:
    """For this process and those that are copies of it."""
    gc.set_threshold(OBJECTS_BETWEEN_LOOKS)


def look_no_more_at_what_is_here() -> None:
    """What is here stays; before the end of a process, too, when Python would go through everything several times."""
    gc.freeze()
