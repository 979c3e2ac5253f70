"""Files of an evaluation: read with a sentence about what is wrong, written whole or not at all."""

from __future__ import annotations

import csv
import io
import json
from typing import TYPE_CHECKING, Any

import numpy as np

from deca_cli.errors import InputError
from deca_cli.export.atomic import write_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray


def read_bytes(path: Path) -> bytes:
    """A file's content; raises InputError when it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}. Check the path.") from None


def read_text(path: Path) -> str:
    """A UTF-8 file's text; raises InputError when it cannot be read or is no text."""
    try:
        return read_bytes(path).decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: no UTF-8 text ({error.reason}). Save it as plain text.") from None


def read_json(path: Path) -> Any:  # noqa: ANN401 - whatever the file holds
    """A JSON file's content; raises InputError when it cannot be read or does not parse."""
    try:
        return json.loads(read_text(path))
    except ValueError as error:
        raise InputError(f"{path}: not valid JSON ({error}). Write it again.") from None


def read_array(path: Path) -> NDArray[Any]:
    """A plain `.npy` array; raises InputError for anything else."""
    try:
        return np.lib.format.read_array(io.BytesIO(read_bytes(path)), allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise InputError(
            f"{path}: not a plain NumPy array ({error}). Save it with np.save as floats."
        ) from None


def write_json(path: Path, content: object) -> Path:
    """Write JSON for programs; NaN and infinity, which JSON does not know, become null."""
    return write_text(path, json.dumps(_without_nan(content), indent=1, allow_nan=False) + "\n")


def _without_nan(value: object) -> object:
    if isinstance(value, dict):
        return {key: _without_nan(v) for key, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_nan(v) for v in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value


def write_rows(path: Path, head: Sequence[object], rows: Iterable[Iterable[object]]) -> Path:
    """Write a CSV table."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(head)
    writer.writerows(rows)
    return write_text(path, text.getvalue())
