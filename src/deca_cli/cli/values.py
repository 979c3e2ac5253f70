"""Values of options: what they may be, told in this program's own words where one is wrong.

Each function gives keywords for `typer.Option`. What typer itself says depends on its version and is partly pydantic's.
"""

from __future__ import annotations

from math import isfinite
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Callable

DEVICES = ("auto", "cpu", "cuda")


def whole(least: int | None = None, most: int | None = None) -> dict[str, Any]:
    """A whole number from `least` to `most`."""
    return {"parser": _parser(int, "a whole number", least, most), "min": least, "max": most}


def number(
    least: float | None = None, most: float | None = None, *, above: float | None = None
) -> dict[str, Any]:
    """A number from `least` to `most`, or one above `above`."""
    return {"parser": _parser(float, "a number", least, most, above), "min": least, "max": most}


def choice(*names: str) -> dict[str, Any]:
    """One of a few words."""
    allowed = f"{', '.join(names[:-1])} or {names[-1]}"

    def parse(text: str) -> str:
        if text not in names:
            raise typer.BadParameter(f"{text!r} is not {allowed}.")
        return text

    return {"parser": parse, "metavar": "|".join(names), "autocompletion": lambda: list(names)}


def _parser(
    kind: type[int | float],
    what: str,
    least: float | None,
    most: float | None,
    above: float | None = None,
) -> Callable[[Any], float]:
    limits = _limits(least, most, above)

    def fits(value: float) -> bool:
        if (least is not None and value < least) or (above is not None and value <= above):
            return False
        return isfinite(value) and (most is None or value <= most)

    def parse(text: Any) -> float:  # noqa: ANN401 - typer passes defaults too, which are numbers
        try:
            value = kind(text)
            if fits(value):
                return value
        except (ValueError, OverflowError):
            pass
        raise typer.BadParameter(f"{str(text)!r} is not {what}{limits}.")

    parse.__name__ = kind.__name__  # older typer names the value so in the help
    return parse


def _limits(least: float | None, most: float | None, above: float | None) -> str:
    if above is not None:
        return f" above {above:g}" + ("" if most is None else f" and up to {most:g}")
    if least is None:
        return "" if most is None else f" up to {most:g}"
    return f" from {least:g} on" if most is None else f" from {least:g} to {most:g}"
