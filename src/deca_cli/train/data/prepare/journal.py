"""What is done so far: a file that only ever grows, one line per finished photo or video.

A run that is killed leaves at most half a line at its end, which is passed over and done again.
"""

from __future__ import annotations

import json
import os
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from deca_cli.atomic import output_error, write_text
from deca_cli.errors import InputError, UsageError
from deca_cli.train.data.manifest import from_line, to_line
from deca_cli.train.data.prepare.work import Result

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

JOURNAL = "progress.jsonl"


def read_journal(folder: Path, request: Mapping[str, Any]) -> dict[tuple[str, str, str], Result]:
    """Results of earlier runs by path, person and name; empty for a new dataset, whose journal is begun.

    Raises:
        OutputError: it cannot be begun.
        UsageError: the dataset was begun with other settings.
    """
    path = folder / JOURNAL
    try:
        lines = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        lines = []
    except OSError as error:
        raise output_error(path, error) from error
    earlier = _first(lines)
    asked = json.loads(json.dumps(request))
    if earlier is None:
        write_text(path, json.dumps({"request": asked}) + "\n")
        return {}
    if earlier != asked:
        changed = sorted(key for key in asked.keys() | earlier.keys() if asked.get(key) != earlier.get(key))
        raise UsageError(
            f"{folder} was begun with other settings ({', '.join(changed)}). Use the same ones to go on, or choose "
            "another folder with --output."
        )
    return _results(lines[1:])


def _first(lines: list[bytes]) -> dict[str, Any] | None:
    try:
        request = json.loads(lines[0])["request"]
    except (IndexError, ValueError, KeyError, TypeError):
        return None
    return request if isinstance(request, dict) else None


def _results(lines: list[bytes]) -> dict[tuple[str, str, str], Result]:
    results = {}
    for line in lines:
        result = _result_or_none(line)
        if result is not None:
            results[key_of(result)] = result
    return results


def key_of(result: Result) -> tuple[str, str, str]:
    """What a result belongs to."""
    return result.source, result.person, result.name


def _result_or_none(line: bytes) -> Result | None:
    try:
        values = json.loads(line)
        values["records"] = tuple(from_line(record) for record in values.get("records", ()))
        values["rejected"] = tuple((str(name), str(why)) for name, why in values.get("rejected", ()))
        return Result(**values)
    except (InputError, ValueError, TypeError, KeyError, AttributeError):
        return None


class Journal:
    """The open end of the file.

    Args:
        folder: the dataset; its journal exists.

    Raises:
        OutputError: it cannot be opened.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / JOURNAL
        try:
            is_whole = _last_byte(self.path) in {b"", b"\n"}
            self.stream = self.path.open("ab", buffering=0)
            if not is_whole:  # a killed run left half a line, to which nothing must be added
                self.stream.write(b"\n")
        except OSError as error:
            raise output_error(self.path, error) from error

    def add(self, result: Result) -> None:
        """Write one line.

        Raises:
            OutputError: it cannot be written.
        """
        values = {one.name: getattr(result, one.name) for one in fields(Result)}
        values["records"] = [to_line(record).rstrip("\n") for record in result.records]
        line = memoryview(json.dumps(values).encode() + b"\n")
        try:
            while line:
                line = line[self.stream.write(line) :]
        except OSError as error:
            raise output_error(self.path, error) from error

    def close(self) -> None:
        """Close the file."""
        self.stream.close()


def _last_byte(path: Path) -> bytes:
    with path.open("rb") as stream:
        if stream.seek(0, os.SEEK_END):
            stream.seek(-1, os.SEEK_END)
        return stream.read(1)
