"""Plain data with stand-ins in it, as `deca_cli.assets.pickles` gets it from a file, and how it becomes arrays."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from typing_extensions import Self


def refuse(why: str) -> NoReturn:
    """Raise the error that marks content we do not read."""
    raise pickle.UnpicklingError(why)


class Sealed(type):
    """Classes whose attributes nobody changes, pickles included."""

    def __setattr__(cls, name: str, value: object) -> None:
        refuse(f"it tries to change `{cls.__name__}.{name}`")


class Plain(metaclass=Sealed):
    """Remembers the arguments it is made with and the state it is given."""

    __slots__ = ("arguments", "state")
    arguments: tuple[Any, ...]
    state: Any

    def __new__(cls, *arguments: object) -> Self:
        """Keep the arguments; whatever they are, nothing happens to them."""
        self = object.__new__(cls)
        object.__setattr__(self, "arguments", arguments)
        object.__setattr__(self, "state", None)
        return self

    def __setstate__(self, state: object) -> None:
        object.__setattr__(self, "state", state)

    def __setattr__(self, name: str, value: object) -> None:
        refuse(f"it tries to change `{type(self).__name__}.{name}`")

    def __hash__(self) -> int:
        return id(self)

    def value(self) -> Any:  # noqa: ANN401 - arrays, numbers, texts
        """The plain value."""
        return refuse(f"`{type(self).__name__}` stands where a value belongs")


def realise(value: Any, done: dict[int, Any] | None = None) -> Any:  # noqa: ANN401 - plain data of any kind
    """Replace all stand-ins in nested plain data by their values; what is shared is converted once.

    Args:
        value: What the unpickler gave.
        done: Results by identity of the original, for the calls within.
    """
    if value is None or isinstance(value, bool | int | float | complex | str | bytes | bytearray):
        return value
    done = {} if done is None else done
    if id(value) not in done:
        done[id(value)] = _UNFINISHED
        done[id(value)] = _realise_object(value, done)
    if done[id(value)] is _UNFINISHED:
        refuse("it holds an object that contains itself")
    return done[id(value)]


_UNFINISHED = object()


def _realise_object(value: Any, done: dict[int, Any]) -> Any:  # noqa: ANN401 - as above
    if isinstance(value, Plain):
        return value.value()
    if isinstance(value, dict):
        return {realise(key, done): realise(item, done) for key, item in value.items()}
    if isinstance(value, list | tuple | set):
        return type(value)(realise(item, done) for item in value)
    return refuse(f"it holds a `{type(value).__name__}`")
