"""Settings of the synthetic stage as YAML: what a pack carries as ``training.yaml``, and what --config reads."""

from __future__ import annotations

import math
import types
import typing
from contextlib import suppress
from dataclasses import asdict, fields, is_dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import yaml

from deca_cli.errors import UsageError
from deca_cli.train.config.yaml_tree import Assignment, parse_option, read_assignments
from deca_cli.train.settings import SyntheticSettings

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

FILE_NAME = "training.yaml"


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
    tree: dict[str, Any] = {}
    for entry in entries:
        *groups, name = entry.key.split(".")
        inner = tree
        for group in groups:
            inner = inner.setdefault(group, {})
        inner[name] = entry.value
    where = "the options" if config is None else str(config)
    return typing.cast("SyntheticSettings", _build(SyntheticSettings, tree, where))


def _build(kind: Any, tree: object, where: str) -> Any:  # noqa: ANN401 - any of the settings' dataclasses
    if not isinstance(tree, dict):
        raise UsageError(f"{where} must hold `name: value` lines, but is {tree!r}.")
    known = {entry.name for entry in fields(kind)}
    unknown = sorted(set(tree) - known)
    if unknown:
        raise UsageError(
            f"{where}: there is no setting {', '.join(unknown)}. Known are {', '.join(sorted(known))}."
        )
    hints = typing.get_type_hints(kind)
    return kind(**{name: _value(hints[name], value, f"{where}, {name}") for name, value in tree.items()})


def _value(kind: Any, value: Any, where: str) -> Any:  # noqa: ANN401 - a setting of any kind
    """The value, if it is of that kind; numbers that YAML 1.1 takes for texts (1e-3) are read."""
    if is_dataclass(kind):
        return _build(kind, value, where)
    if typing.get_origin(kind) is types.UnionType:
        if value is None:
            return None
        kind = next(choice for choice in typing.get_args(kind) if choice is not type(None))
    if kind is float and isinstance(value, float | int | str) and not isinstance(value, bool):
        with suppress(ValueError):
            number = float(value)
            if not math.isfinite(number):
                raise UsageError(f"{where} must be a finite number, but is {value}.")
            return number
    elif type(value) is kind:
        return value
    raise UsageError(f"{where} must be of the kind `{kind.__name__}`, but is {value!r}.")
