"""`--script`: keyframes in a TOML file.

fps = 25            # optional, as are size, rendering, light, zoom
rendering = "textured"

[[keyframe]]
time = 0.0          # seconds

[[keyframe]]
time = 0.8
expression = { smile = 0.9, jawOpen = 0.1 }   # or "smile=0.9,jawOpen=0.1"
yaw = 20            # degrees, as are pitch and roll
zoom = 1.2
ease = "smooth"     # or "linear", "hold": the way to this keyframe
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from deca_cli.animate.named import check_expression, parse_expression
from deca_cli.animate.timeline import EASES, Keyframe, check_times
from deca_cli.errors import InputError, UsageError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

if TYPE_CHECKING:
    from pathlib import Path

OPTIONS: dict[str, tuple[type, ...]] = {
    "fps": (int, float),
    "size": (int, str),
    "rendering": (str,),
    "light": (str,),
}
KEYS: dict[str, tuple[type, ...]] = {
    "time": (int, float), "expression": (dict, str), "yaw": (int, float), "pitch": (int, float), "roll": (int, float),
    "zoom": (int, float), "ease": (str,),
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Script:
    """A read script; options on the command line come before those in it."""

    keyframes: tuple[Keyframe, ...]
    options: dict[str, Any]


def read_script(path: Path) -> Script:
    """Read and check a script.

    Raises:
        InputError: the file cannot be read, or is not TOML.
        UsageError: something in it has the wrong name, type or range; the message says where.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(
            f"{path} cannot be read: {error.strerror}. Check the spelling of the path."
        ) from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is no text in UTF-8: {error}. Save it as such.") from error
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{path} is not valid TOML: {error}. Correct it.") from error
    rows = content.pop("keyframe", [])
    if not isinstance(rows, list) or not rows:
        raise UsageError(f"{path} has no [[keyframe]]: a script needs at least one.")
    _check(f"{path}", content, OPTIONS)
    keyframes = tuple(_keyframe(f"{path}, keyframe {number}", row) for number, row in enumerate(rows, 1))
    try:
        check_times(keyframes)
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from None
    return Script(keyframes, content)


def _check(where: str, table: dict[str, Any], known: dict[str, tuple[type, ...]]) -> None:
    for name, value in table.items():
        if name not in known:
            raise UsageError(f"{where}: there is no `{name}`, only {', '.join(known)}.")
        if not isinstance(value, known[name]) or isinstance(value, bool):
            raise UsageError(f"{where}: `{name}` is {value!r}, which is not a {known[name][-1].__name__}.")


def _keyframe(where: str, row: object) -> Keyframe:
    if not isinstance(row, dict):
        raise UsageError(f"{where} is not a table. Write it as [[keyframe]].")
    _check(where, row, KEYS)
    if "time" not in row:
        raise UsageError(f"{where} has no `time` (seconds).")
    ease = row.get("ease", "smooth")
    if ease not in EASES:
        raise UsageError(f"{where}: ease {ease!r} is none of {', '.join(EASES)}.")
    zoom = float(row.get("zoom", 1.0))
    if not 0.05 <= zoom <= 20 or row["time"] < 0:
        raise UsageError(f"{where}: zoom lies between 0.05 and 20, and time is not negative.")
    given = row.get("expression", {})
    try:
        amounts = (
            parse_expression(given) if isinstance(given, str) else {k: float(v) for k, v in given.items()}
        )
        check_expression(amounts)
    except (UsageError, TypeError, ValueError) as error:
        raise UsageError(f"{where}: {error}") from None
    turn = (float(row.get("yaw", 0)), float(row.get("pitch", 0)), float(row.get("roll", 0)))
    return Keyframe(float(row["time"]), amounts, turn, zoom, ease)
