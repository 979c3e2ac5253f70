"""Write the little TOML that manifests need: texts, numbers, booleans, lists of them, and one level of tables."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


def to_toml(table: Mapping[str, Any]) -> str:
    """TOML text: plain values first, then one section per table.

    Raises:
        TypeError: A value of a kind that is not written here.
    """
    plain = [
        f"{_key(key)} = {_value(value)}" for key, value in table.items() if not isinstance(value, Mapping)
    ]
    sections = [_section(key, value) for key, value in table.items() if isinstance(value, Mapping) and value]
    return "\n\n".join(["\n".join(plain), *sections]) + "\n"


def _section(name: str, table: Mapping[str, Any]) -> str:
    return "\n".join([f"[{_key(name)}]", *(f"{_key(key)} = {_value(value)}" for key, value in table.items())])


def _key(key: str) -> str:
    return key if BARE_KEY.fullmatch(key) else _text(key)


def _text(text: str) -> str:
    """A basic string; JSON's escapes are a subset of TOML's, but for the DEL character."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _value(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return repr(value)  # nan and inf are spelt alike in TOML
    if isinstance(value, Sequence):
        return f"[{', '.join(_value(item) for item in value)}]"
    raise TypeError(f"cannot write {type(value).__name__} into a manifest")
