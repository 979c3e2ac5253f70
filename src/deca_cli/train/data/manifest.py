"""The files that describe a dataset: `dataset.json` (written last, so it marks a whole one) and `manifest.jsonl`."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any

import numpy as np

from deca_cli.errors import InputError
from deca_cli.train.data.settings import SPLITS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

FORMAT = 1
DESCRIPTION, MANIFEST = "dataset.json", "manifest.jsonl"


@dataclass(frozen=True, eq=False)
class Record:
    """One picture of a dataset: a line of the manifest."""

    person: str
    picture: str  # name within the person
    split: str  # `train` or `held_out`
    image: str  # file below the dataset's folder, or name in a tar
    image_crc32: int
    landmarks: np.ndarray  # float64 [68, 2], pixel indices of the stored crop
    mask: str | None = None
    mask_crc32: int | None = None
    source: str = ""  # the picture or video it was cut from
    source_sha256: str = ""
    frame: int | None = None  # of a video
    to_source: tuple[float, float, float] | None = None  # source pixel = [0] * stored pixel + [1], [2]
    quality: Mapping[str, float] = field(default_factory=dict)
    # In a tar: shard, offset and length of picture, offset and length of mask.
    at: tuple[int, ...] | None = None

    @property
    def name(self) -> str:
        """`person/picture`."""
        return f"{self.person}/{self.picture}"


@dataclass(frozen=True)
class Description:
    """What is true of the whole dataset."""

    margin: float  # side of the stored crops over the longer side of the 68-point box
    size: int  # largest side of the stored crops, pixels
    people: int
    pictures: int
    shards: tuple[str, ...] = ()  # tar files, in order; empty: single files
    made_by: Mapping[str, Any] = field(default_factory=dict)


FIELDS = tuple(one.name for one in fields(Record))


def to_line(record: Record) -> str:
    """One line of JSON with its newline; what has its default is left out."""
    values = {name: getattr(record, name) for name in FIELDS}
    kept = {
        name: value for name, value in values.items() if name != "landmarks" and value not in (None, "", {})
    }
    kept["landmarks"] = np.round(record.landmarks, 3).tolist()
    return json.dumps(kept, separators=(",", ":"), ensure_ascii=True) + "\n"


def from_line(line: bytes | str) -> Record:
    """Read one line.

    Raises:
        InputError: it is damaged; the message says how.
    """
    try:
        values = json.loads(line)
        points = np.array(values["landmarks"], np.float64)
        if points.shape != (68, 2) or not np.isfinite(points).all():
            raise InputError(f"its landmarks are not 68 finite points but {points.shape}")
        values["landmarks"] = points
        for name in ("at", "to_source"):
            if name in values:
                values[name] = tuple(values[name])
        record = Record(**values)
    except (ValueError, TypeError, KeyError) as error:
        raise InputError(f"the line cannot be read: {type(error).__name__} {error}") from error
    if record.split not in SPLITS or not isinstance(record.person, str) or not isinstance(record.image, str):
        raise InputError("the line does not name a person, a picture and a split")
    return record


@dataclass(frozen=True)
class Placed:
    """A readable line of a manifest and where it begins, in bytes."""

    offset: int
    record: Record


def walk_records(path: Path, problems: dict[str, str]) -> Iterator[Placed]:
    """Every record of a manifest that can be read; the other lines are named in ``problems``.

    Raises:
        InputError: there is no manifest.
    """
    try:
        with path.open("rb") as stream:
            offset = 0
            for number, line in enumerate(stream, 1):
                record = _record_or_none(line, f"{path}:{number}", problems)
                if record is not None:
                    yield Placed(offset, record)
                offset += len(line)
    except OSError as error:
        raise InputError(
            f"{path} cannot be read: {error.strerror}. Make the dataset with `deca train prepare`."
        ) from error


def _record_or_none(line: bytes, name: str, problems: dict[str, str]) -> Record | None:
    try:
        return from_line(line)
    except InputError as error:
        problems[name] = str(error)
        return None


def read_record(path: Path, offset: int) -> Record:
    """The record that begins at a byte of the manifest.

    Raises:
        InputError: it cannot be read any more.
    """
    try:
        with path.open("rb") as stream:
            stream.seek(offset)
            return from_line(stream.readline())
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error


def to_lines(records: Iterable[Record]) -> str:
    """The text of a manifest."""
    return "".join(to_line(record) for record in records)


def description_text(description: Description) -> str:
    """The text of `dataset.json`."""
    return json.dumps({"format": FORMAT, **asdict(description)}, indent=2) + "\n"


def read_description(folder: Path) -> Description:
    """Read `dataset.json`.

    Raises:
        InputError: the folder is no dataset, an unfinished one, or one of another version.
    """
    path = folder / DESCRIPTION
    if not folder.is_dir():
        raise InputError(
            f"There is no dataset {folder}. Check the path, or make it with `deca train prepare PHOTOS -o {folder}`."
        )
    if not path.is_file():
        raise InputError(
            f"{folder} is not a finished dataset: it has no {DESCRIPTION}. Make it with `deca train prepare`; "
            "a run that was stopped goes on where it was."
        )
    try:
        values = json.loads(path.read_text("utf-8"))
        version = values.pop("format")
        if version != FORMAT:
            raise InputError(
                f"{path} has format {version}, but this version reads {FORMAT}. Make the dataset again."
            )
        values["shards"] = tuple(values["shards"])
        description = Description(**values)
        sound = math.isfinite(description.margin) and description.margin > 0 and description.size > 0
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise InputError(f"{path} is damaged ({error}). Make the dataset again.") from error
    if not sound:
        raise InputError(f"{path} is damaged (margin {description.margin}). Make the dataset again.")
    return description
