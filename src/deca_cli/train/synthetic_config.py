"""Settings of the synthetic stage as YAML: what a pack carries as ``training.yaml``, and what --config reads."""

from __future__ import annotations

import math
import types
import typing
from contextlib import suppress
from dataclasses import asdict, is_dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import yaml

from deca_cli.errors import UsageError
from deca_cli.train.config.groups import places
from deca_cli.train.config.suggest import no_such_setting
from deca_cli.train.config.yaml_tree import Assignment, parse_option, read_assignments
from deca_cli.train.settings import SyntheticSettings

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

FILE_NAME = "training.yaml"
KINDS = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}


def settings_text(settings: SyntheticSettings) -> str:
    """YAML text of all settings."""
    return yaml.safe_dump(asdict(settings), sort_keys=False, allow_unicode=True)


def load_settings(
    config: Path | None = None,
    values: Mapping[str, object] = MappingProxyType({}),
    options: Sequence[str] = (),
) -> SyntheticSettings:
    """Settings from a YAML file, then single values, then written options; what nobody names has its default.

    Args:
        config: the file, if any.
        values: by name, `group.name` inside groups.
        options: texts `name=value`.

    Raises:
        UsageError: the file cannot be read, a name is unknown, or a value does not fit.
    """
    entries = [] if config is None else list(read_assignments(config)[0])
    entries += [Assignment(name, value, f"option {name}") for name, value in values.items()]
    entries += [parse_option(text) for text in options]
    known = places(SyntheticSettings())
    tree: dict[str, Any] = {}
    for entry in entries:
        if entry.key not in known:
            raise UsageError(f"{entry.where}: {no_such_setting(entry.key, known)}")
        *groups, name = entry.key.split(".")
        inner = tree
        for group in groups:
            inner = inner.setdefault(group, {})
        inner[name] = entry.value
    where = {entry.key: f"{entry.where}: `{entry.key}`" for entry in entries}
    return typing.cast("SyntheticSettings", _build(SyntheticSettings, tree, where))


def _build(kind: Any, tree: dict[str, Any], where: Mapping[str, str], group: str = "") -> Any:  # noqa: ANN401 - any of the settings' dataclasses
    hints = typing.get_type_hints(kind)
    return kind(**{name: _value(hints[name], value, where, group + name) for name, value in tree.items()})


def _value(kind: Any, value: Any, where: Mapping[str, str], key: str) -> Any:  # noqa: ANN401 - a setting of any kind
    """The value, if it is of that kind; numbers that YAML 1.1 takes for texts (1e-3) are read."""
    if is_dataclass(kind):
        return _build(kind, value, where, f"{key}.")
    if typing.get_origin(kind) is types.UnionType:
        if value is None:
            return None
        kind = next(choice for choice in typing.get_args(kind) if choice is not type(None))
    if kind is float and isinstance(value, float | int | str) and not isinstance(value, bool):
        with suppress(ValueError):
            number = float(value)
            if not math.isfinite(number):
                raise UsageError(f"{where[key]} must be a finite number, but is {value}.")
            return number
    elif type(value) is kind:
        return value
    raise UsageError(f"{where[key]} must be {KINDS.get(kind, kind.__name__)}, but is {value!r}.")
