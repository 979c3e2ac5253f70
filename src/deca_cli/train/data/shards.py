"""Tar shards in the WebDataset layout: `person__picture.jpg`, `.mask.png` and `.json` side by side, people whole.

Written and read with the standard library: the tars are plain (ustar, not compressed), so the manifest can hold where
in which tar every picture begins, and the loader reads by position. That keeps what a step shows a pure function of
seed and step and lets a run resume at once, which reading a stream through a buffer of random content cannot. Other
programs read the same tars with the package `webdataset`.
"""

from __future__ import annotations

import io
import tarfile
from dataclasses import replace
from itertools import groupby
from typing import TYPE_CHECKING

from deca_cli.atomic import make_folder, remove_file, write_file, write_text
from deca_cli.errors import InputError, UsageError
from deca_cli.train.data.decode import check_crc32
from deca_cli.train.data.manifest import (
    DESCRIPTION,
    MANIFEST,
    read_description,
    to_line,
    to_lines,
    walk_records,
)
from deca_cli.train.data.storage import Files
from deca_cli.train.data.store import finish

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path
    from typing import BinaryIO

    from deca_cli.train.data.manifest import Record

SHARDS = "shards"
SHARD_BYTES = 512 * 1024 * 1024
MEMBER_OVERHEAD = 1024  # header and padding of a tar member, at most


def write_shards(
    dataset: Path,
    output: Path,
    *,
    shard_bytes: int = SHARD_BYTES,
    watch: Callable[[int], None] = lambda _: None,
) -> int:
    """Write a dataset of single files as a dataset of tars.

    A run that is killed leaves whole tars, each with its list; the next run goes on after them.

    Args:
        dataset: the finished dataset of single files.
        output: folder of the new one.
        shard_bytes: a tar is closed when it is larger; a person is never divided.
        watch: told the number of pictures written so far.

    Returns:
        The number of tars.

    Raises:
        InputError: the dataset cannot be read.
        OutputError: the tars cannot be written.
        UsageError: it consists of tars already.
    """
    description = read_description(dataset)
    if description.shards:
        raise UsageError(f"{dataset} consists of tars already. Name a dataset of single files.")
    make_folder(output / SHARDS)
    problems: dict[str, str] = {}
    records = [one.record for one in walk_records(dataset / MANIFEST, problems)]
    records.sort(key=lambda record: (record.person, record.picture))
    if problems:
        name, reason = next(iter(problems.items()))
        raise InputError(
            f"{len(problems)} lines of the manifest are damaged, {name}: {reason}. Prepare it again."
        )
    if dataset.resolve() == output.resolve():
        raise UsageError("Tars need a folder of their own: name another one.")
    remove_file(output / DESCRIPTION)
    source, done, names = Files(dataset), [], []
    for number, part in enumerate(_parts(records, dataset, shard_bytes)):
        name = f"{SHARDS}/{number:05d}.tar"
        done += _earlier(output, name, part) or _write_shard(output, name, number, part, source)
        names.append(name)
        watch(len(done))
    made_by = {**description.made_by, "shards_of": str(dataset)}
    finish(output, done, replace(description, shards=tuple(names), made_by=made_by))
    return len(names)


def _parts(records: Sequence[Record], dataset: Path, limit: int) -> Iterator[list[Record]]:
    """People by shards."""
    part: list[Record] = []
    size = 0
    for _, person in groupby(records, key=lambda record: record.person):
        pictures = list(person)
        part += pictures
        size += sum(_bytes(record, dataset) for record in pictures)
        if size >= limit:
            yield part
            part, size = [], 0
    if part:
        yield part


def _bytes(record: Record, dataset: Path) -> int:
    names = [name for name in (record.image, record.mask) if name]
    try:
        return sum((dataset / name).stat().st_size + MEMBER_OVERHEAD for name in names) + 3 * MEMBER_OVERHEAD
    except OSError as error:
        raise InputError(
            f"{error.filename} cannot be read: {error.strerror}. Prepare the dataset again."
        ) from error


def _list_of(output: Path, name: str) -> Path:
    return (output / name).with_suffix(".jsonl")


def _earlier(output: Path, name: str, part: Sequence[Record]) -> list[Record] | None:
    """The records of a tar that an earlier run finished, if they are the same pictures with the same labels."""
    if not (output / name).is_file() or not _list_of(output, name).is_file():
        return None
    records = [one.record for one in walk_records(_list_of(output, name), {})]
    return records if list(map(_unplaced, records)) == list(map(_unplaced, part)) else None


def _unplaced(record: Record) -> str:
    """All that is known of a picture but where it is stored."""
    return to_line(replace(record, image="", mask=None, at=None))


def _write_shard(output: Path, name: str, number: int, part: Sequence[Record], source: Files) -> list[Record]:
    """The tar, then its list, which says that the tar is whole and belongs to these pictures."""
    records: list[Record] = []

    def fill(stream: BinaryIO) -> None:
        with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as tar:
            records.extend(_add(tar, record, number, source) for record in part)

    write_file(output / name, fill)
    write_text(_list_of(output, name), to_lines(records))
    return records


def _add(tar: tarfile.TarFile, record: Record, number: int, source: Files) -> Record:
    """Picture, mask and labels of one record; returns the record with their places."""
    key = f"{record.person}__{record.picture}".replace(".", "_")  # a dot would end WebDataset's key
    image = source.image(record)
    check_crc32(image, record.image_crc32)
    image_place = _member(tar, f"{key}.jpg", image)
    mask_name, mask_place = None, (0, 0)
    if record.mask is not None:
        mask = source.mask(record)
        check_crc32(mask, record.mask_crc32)
        mask_name = f"{key}.mask.png"
        mask_place = _member(tar, mask_name, mask)
    place = (number, *image_place, *mask_place)
    placed = replace(record, image=f"{key}.jpg", mask=mask_name, at=place)
    _member(tar, f"{key}.json", to_line(placed).encode())
    return placed


def _member(tar: tarfile.TarFile, name: str, content: bytes) -> tuple[int, int]:
    """Add a member without times or owners; returns where its content begins, and its length."""
    info = tarfile.TarInfo(name)
    info.size = len(content)
    tar.addfile(info, io.BytesIO(content))
    padded = -(-len(content) // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
    return tar.offset - padded, len(content)
