"""Turn written settings into dataclasses: every name must be known, every value of the right kind."""

from __future__ import annotations

import types
import typing
from dataclasses import MISSING, dataclass, fields, replace
from typing import TYPE_CHECKING, Any

from deca_cli.errors import UsageError
from deca_cli.train.config.defaults import stage_defaults
from deca_cli.train.config.groups import WITHOUT_EFFECT, places, value_at
from deca_cli.train.config.settings import DETAIL, TrainSettings
from deca_cli.train.config.suggest import no_such_setting
from deca_cli.train.config.yaml_tree import Assignment, parse_option, read_assignments

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from deca_cli.train.config import groups


@dataclass(frozen=True)
class Loaded:
    """Settings and how they came about."""

    settings: TrainSettings
    written: frozenset[str]
    """Names that the file or the options set."""
    notes: tuple[str, ...]
    """One sentence for every written name that has no effect."""


def load_settings(
    stage: str,
    config: Path | None = None,
    options: Sequence[str] = (),
    duplicates: str = "refuse",
) -> Loaded:
    """Settings of a stage: its published values, then the file, then the options.

    Args:
        stage: `pretrain`, `coarse` or `detail`.
        config: a YAML file; an official one or one that a run saved.
        options: texts `group.name=value`.
        duplicates: see `deca_cli.train.config.yaml_tree.read_assignments`.

    Raises:
        UsageError: a name is unknown or doubled, a value does not fit; the message names the line or option.
    """
    settings = stage_defaults(stage)
    assignments: list[Assignment] = []
    if config is not None:
        assignments, dropped = read_assignments(config, duplicates)
        # What only a dropped block says is as if never written: the official program has its plain default there.
        settings = _to_plain_defaults(settings, dropped)
    assignments += [parse_option(text) for text in options]
    loaded = assign(settings, assignments)
    _check_stage(loaded.settings, stage)
    return loaded


def assign(settings: TrainSettings, assignments: Sequence[Assignment]) -> Loaded:
    """Put written values in the place of those in `settings`.

    Raises:
        UsageError: a name is unknown, or a value does not fit.
    """
    notes: list[str] = []
    written: set[str] = set()
    known = places(settings)
    changes: dict[groups.Path, dict[str, Any]] = {}
    for entry in assignments:
        if entry.key in WITHOUT_EFFECT:
            notes.append(f"{entry.where}: `{entry.key}` has no effect ({WITHOUT_EFFECT[entry.key]}).")
            continue
        if entry.key not in known:
            raise UsageError(f"{entry.where}: {no_such_setting(entry.key, known)}")
        *path, name = known[entry.key]
        kind = typing.get_type_hints(type(value_at(settings, tuple(path))))[name]
        changes.setdefault(tuple(path), {})[name] = _fit(entry, kind)
        written.add(entry.key)
    for owner, values in changes.items():
        settings = _replaced(settings, owner, values)
    return Loaded(settings, frozenset(written), tuple(notes))


def _check_stage(settings: TrainSettings, stage: str) -> None:
    if settings.stage != stage:
        raise UsageError(
            f"The configuration is for the stage `{settings.stage}`, not `{stage}`: run `deca train {settings.stage}`."
        )
    if settings.train.train_detail != (stage == DETAIL):
        wanted = DETAIL if settings.train.train_detail else "coarse"
        raise UsageError(
            f"The configuration says train.train_detail: {str(settings.train.train_detail).lower()}, which does not belong "
            f"to the stage `{stage}`: run `deca train {wanted}` with it."
        )


def _to_plain_defaults(settings: TrainSettings, keys: Sequence[str]) -> TrainSettings:
    known = places(settings)
    for key in keys:
        if key in known:
            *path, name = known[key]
            entry = next(f for f in fields(value_at(settings, tuple(path))) if f.name == name)
            default = entry.default if entry.default_factory is MISSING else entry.default_factory()
            settings = _replaced(settings, tuple(path), {name: default})
    return settings


def _replaced(settings: Any, path: groups.Path, values: dict[str, Any]) -> Any:  # noqa: ANN401 - any of the dataclasses
    if not path:
        return replace(settings, **values)
    inner = _replaced(getattr(settings, path[0]), path[1:], values)
    return replace(settings, **{path[0]: inner})


def _fit(entry: Assignment, kind: Any) -> Any:  # noqa: ANN401 - type hints and values of any kind
    """The value as the type that the field has.

    Raises:
        UsageError: it cannot be had.
    """
    try:
        return _convert(entry.value, kind)
    except (ValueError, TypeError) as error:
        raise UsageError(f"{entry.where}: `{entry.key}` is {entry.value!r}, but must be {error}.") from error


def _convert(value: Any, kind: Any) -> Any:  # noqa: ANN401 - one line per kind
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        return _convert(value, next(a for a in arguments if a is not type(None)))
    if origin is tuple:
        listed = value if isinstance(value, list | tuple) else [value]
        if len(arguments) == 2 and arguments[1] is Ellipsis:
            return tuple(_convert(part, arguments[0]) for part in listed)
        if len(listed) != len(arguments):
            raise ValueError(f"a list of {len(arguments)} values")
        return tuple(_convert(part, part_kind) for part, part_kind in zip(listed, arguments, strict=True))
    if origin is typing.Literal:
        if value not in arguments:
            raise ValueError(f"one of {', '.join(map(str, arguments))}")
        return value
    return _scalar(value, kind)


def _scalar(value: Any, kind: Any) -> Any:  # noqa: ANN401 - see above
    if kind is bool:
        if not isinstance(value, bool):
            raise ValueError("true or false")
        return value
    if kind in (int, float):
        return _number(value, kind)
    if kind is str:
        if isinstance(value, list | dict | bool):
            raise ValueError("a text")
        return "" if value is None else str(value)
    raise ValueError(f"a {getattr(kind, '__name__', kind)}")


def _number(value: Any, kind: type) -> int | float:  # noqa: ANN401 - see above
    """YAML 1.1 reads 1e-4 as a text, so texts that spell numbers count as numbers."""
    wanted = "a whole number" if kind is int else "a number"
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError(wanted)  # noqa: TRY004 - the caller turns both into a sentence
    try:
        number = float(value)
    except ValueError:
        raise ValueError(wanted) from None
    if kind is int:
        if number != int(number):
            raise ValueError(wanted)
        return int(number)
    return number
