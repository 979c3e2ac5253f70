"""Read YAML with the line of every value; nothing but plain values is ever built, and no key may come twice."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import yaml

from deca_cli.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

DUPLICATES = ("refuse", "merge", "first", "last")


@dataclass(frozen=True)
class Assignment:
    """One setting that someone wrote down."""

    key: str
    """`group.name`, or `name` at the top."""
    value: Any
    """Plain value: text, number, boolean, none, or a list of them."""
    where: str
    """For messages: file and line, or the option."""


@dataclass(frozen=True)
class Block:
    """One key of the top with what stands below it, in the order of the file."""

    name: str
    line: int
    node: yaml.Node


def read_assignments(path: Path, duplicates: str = "refuse") -> tuple[list[Assignment], tuple[str, ...]]:
    """All settings of a YAML file.

    Args:
        path: the file.
        duplicates: what to do when a group stands in the file more than once: `refuse`, `merge` the blocks,
            take the `first`, or take the `last` as common YAML loaders do.

    Returns:
        The settings in the order of the file, and the keys that only a dropped block names.

    Raises:
        UsageError: the file cannot be read, is no YAML, or a key comes twice; the message names the line.
    """
    blocks = _blocks(path)
    by_name: dict[str, list[Block]] = {}
    for block in blocks:
        by_name.setdefault(block.name, []).append(block)
    assignments: list[Assignment] = []
    dropped: list[str] = []
    for same in by_name.values():
        if len(same) > 1 and duplicates == "refuse":
            raise _duplicate(path, same)
        kept = {"refuse": same, "merge": same, "first": same[:1], "last": same[-1:]}[duplicates]
        found = [entry for block in kept for entry in _entries(block, path)]
        _refuse_doubled(found)
        assignments += found
        names = {entry.key for entry in found}
        lost = [entry.key for block in same if block not in kept for entry in _entries(block, path)]
        dropped += [key for key in lost if key not in names]
    return assignments, tuple(dropped)


def parse_option(text: str) -> Assignment:
    """`group.name=value` of the command line; the value is read as YAML, so that lists and booleans work.

    Raises:
        UsageError: there is no `=`, or the value is no YAML.
    """
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise UsageError(f"--set {text}: write group.name=value, for example --set loss.photo=2.0.")
    where = f"--set {text}"
    try:
        node = yaml.compose(value, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        raise UsageError(f"{where}: the value is no YAML ({_short(error)}).") from error
    return Assignment(key.strip(), None if node is None else _plain(node, where), where)


def _blocks(path: Path) -> list[Block]:
    try:
        text = path.read_text(encoding="utf-8")
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"The configuration {path} cannot be read: {error}.") from error
    except yaml.YAMLError as error:
        raise UsageError(f"The configuration {path} is no YAML: {_short(error)}.") from error
    if root is None:
        return []
    if not isinstance(root, yaml.MappingNode):
        raise UsageError(f"The configuration {path} must consist of `name: value` lines.")
    return [Block(str(key.value), key.start_mark.line + 1, value) for key, value in root.value]


def _entries(block: Block, path: Path) -> list[Assignment]:
    """The settings of one block, groups within it flattened to dotted names."""
    return _flat(block.name, block.node, block.line, path)


def _flat(name: str, node: yaml.Node, line: int, path: Path) -> list[Assignment]:
    if not isinstance(node, yaml.MappingNode):
        where = f"{path} line {line}"
        return [Assignment(name, _plain(node, where), where)]
    return [
        entry
        for key, value in node.value
        for entry in _flat(f"{name}.{key.value}", value, key.start_mark.line + 1, path)
    ]


def _refuse_doubled(entries: list[Assignment]) -> None:
    seen: dict[str, str] = {}
    for entry in entries:
        if entry.key in seen:
            raise UsageError(
                f"{entry.where}: `{entry.key}` is set a second time (first in {seen[entry.key]}). Delete one of the two."
            )
        seen[entry.key] = entry.where


def _plain(node: yaml.Node, where: str) -> Any:  # noqa: ANN401 - YAML values are of any kind
    """Text, number, boolean, none or a list of them; anything else is refused."""
    if isinstance(node, yaml.MappingNode):
        raise UsageError(f"{where}: a value or a list is wanted here, not further `name: value` pairs.")
    if isinstance(node, yaml.SequenceNode):
        return [_plain(entry, where) for entry in node.value]
    try:
        return yaml.constructor.SafeConstructor().construct_object(node)
    except (yaml.YAMLError, ValueError) as error:
        raise UsageError(f"{where}: this value cannot be read ({_short(error)}).") from error


def _duplicate(path: Path, same: list[Block]) -> UsageError:
    first, second = same[0], same[1]
    return UsageError(
        f"{path} line {second.line}: the key `{second.name}` stands there a second time (first in line {first.line}). "
        "Common YAML loaders, the official program's among them, silently forget the first block: the official "
        "deca_detail.yml so trains with batch_size 2, K 4 instead of the 6, 3 of its first block. Delete one of the two, or "
        "choose with --duplicate-keys: `merge` takes both blocks together, `first` or `last` one of them (`last` "
        "repeats the official behaviour)."
    )


def _short(error: Exception) -> str:
    """The one line of a YAML error that says what is wrong, with its place."""
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or str(error).splitlines()[0]
    return f"{problem}, line {mark.line + 1}" if mark is not None else str(problem)
