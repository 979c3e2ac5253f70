"""What may have been meant by the name of a setting that there is not."""

from __future__ import annotations

from difflib import SequenceMatcher
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

SHOWN = 3  # suggestions
ALIKE = 0.77  # least likeness (0..1, of difflib) of names that may be a misspelling
SAME_GROUP = 0.12  # what a name of the group that was written has before others
AS_GOOD = 0.04  # difference that does not make one the better suggestion


def no_such_setting(wrong: str, known: Iterable[str]) -> str:
    """That there is no such setting, and what to write instead.

    Args:
        wrong: `group.name`, as written.
        known: all names there are, `group.name` or `name`.
    """
    known = list(known)
    if inside := _members(wrong, known):
        return f"`{wrong}` is a group of settings; it has {', '.join(inside)}. Write {wrong}.NAME."
    near = _near(wrong, known)
    if near:
        return f"there is no setting `{wrong}`. Did you mean {_or(near)}?"
    group = wrong.rpartition(".")[0]
    if group and (inside := _members(group, known)):
        return f"there is no setting `{wrong}`; `{group}` has {', '.join(inside)}."
    return f"there is no setting `{wrong}`. There are {', '.join(sorted(_members('', known)))}."


def _members(group: str, known: list[str]) -> list[str]:
    """What a group has, groups within it as `name.*`; of all the settings if it has no name."""
    start = f"{group}." if group else ""
    inside = [key[len(start) :].partition(".") for key in known if key.startswith(start)]
    return list(dict.fromkeys(name + ".*" * bool(dot) for name, dot, _ in inside))


def _near(wrong: str, known: list[str]) -> list[str]:
    """The best of those that resemble it, the most alike first."""
    likeness = {key: _likeness(wrong, key) for key in known}
    best = max(likeness.values(), default=0.0)
    found = [key for key in known if likeness[key] >= max(ALIKE, best - AS_GOOD)]
    return sorted(found, key=lambda key: -likeness[key])[:SHOWN]


def _likeness(wrong: str, key: str) -> float:
    """0 to 1 for the names, and a little more for the group that was written."""
    (written_group, _, written), (group, _, name) = _plain(wrong).rpartition("."), _plain(key).rpartition(".")
    return _of_names(written, name) + SAME_GROUP * (written_group == group)


def _of_names(written: str, name: str) -> float:
    if written.replace("_", "") == name.replace("_", ""):
        return 1.0
    if _initials(written) == name or written == _initials(name):
        return 0.9  # lr and learning_rate
    words, there = set(written.split("_")), set(name.split("_"))
    if words < there or there < words:
        return 0.8  # epochs and max_epochs
    return min(SequenceMatcher(None, written, name).ratio(), 0.95)


def _initials(name: str) -> str:
    words = name.split("_")
    return "".join(word[:1] for word in words) if len(words) > 1 else ""


def _plain(text: str) -> str:
    return text.lower().replace("-", "_")


def _or(names: list[str]) -> str:
    quoted = [f"`{name}`" for name in names]
    return quoted[0] if len(quoted) == 1 else f"{', '.join(quoted[:-1])} or {quoted[-1]}"
