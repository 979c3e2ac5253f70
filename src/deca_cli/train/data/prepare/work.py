"""What a worker process does: one photo or video at a time, from file to stored crops."""

from __future__ import annotations

import hashlib
import os
import threading
from dataclasses import asdict, dataclass, field, replace
from itertools import islice
from typing import TYPE_CHECKING

from deca_cli.animate.video import read_video
from deca_cli.errors import DecaError, InputError, OutputError
from deca_cli.photo.read import Photo, read_photo
from deca_cli.train.data.decode import decode_grey, read_bytes
from deca_cli.train.data.manifest import Record
from deca_cli.train.data.prepare.picture import Cutting, Preparer, Rejected
from deca_cli.train.data.store import write_picture

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np

    from deca_cli.photo.crop import PixelBox
    from deca_cli.train.data.prepare.inputs import SourceFile
    from deca_cli.train.data.prepare.settings import PrepareSettings

HASH_CHUNK = 1 << 20


@dataclass(frozen=True)
class Result:
    """What became of one file."""

    source: str  # absolute path
    size: int  # bytes
    modified_ns: int
    person: str
    name: str
    records: tuple[Record, ...] = ()
    rejected: tuple[tuple[str, str], ...] = ()  # picture or frame and why it is not good enough
    damaged: str | None = None  # why the file cannot be used at all
    mask: str | None = None  # the given one


@dataclass(frozen=True)
class Task:
    """What every worker needs to know."""

    output: Path
    model: str
    device: str
    settings: PrepareSettings


@dataclass
class _Worker:
    """The model of this process, loaded once."""

    task: Task
    preparer: Preparer
    frames: int = field(default=0)


_workers: dict[Task, _Worker] = {}
"""One a process: a pool can hand nothing else to its functions."""


def start_worker(task: Task, *, watch_parent: bool = True) -> None:
    """Load the model; one thread a process, as there are as many processes as cores.

    Raises:
        DecaError: the model or the device cannot be used.
    """
    from deca_cli.packs.store import load_pack
    from deca_cli.pipeline.start import choose_device, set_threads

    set_threads(1)
    if watch_parent:
        _end_with_parent()
    pack = load_pack(task.model, choose_device(task.device))
    _workers[task] = _Worker(task, Preparer(pack, task.settings))


def _end_with_parent() -> None:
    """Leave when the program that started this process was killed; else it would wait for work for ever."""
    from multiprocessing import parent_process
    from multiprocessing.connection import wait

    parent = parent_process()
    if parent is None:
        return

    def watch() -> None:
        wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def work(task: Task, file: SourceFile) -> Result:
    """Prepare one file; whatever is wrong with it stands in the result.

    Raises:
        OutputError: results cannot be written.
    """
    worker = _workers[task]
    known = identity(file)
    try:
        digest = _sha256(file.path)
        prepare = _prepare_video if file.is_video else _prepare_photo
        records, rejected = prepare(worker, file)
    except OutputError:
        raise
    except DecaError as error:
        return replace(known, damaged=str(error))
    except Exception as error:  # noqa: BLE001 - one odd file must not end hours of work
        return replace(known, damaged=f"unexpected {type(error).__name__}: {error}")
    kept = tuple(replace(one, source=known.source, source_sha256=digest) for one in records)
    return replace(known, records=kept, rejected=tuple(rejected))


def identity(file: SourceFile) -> Result:
    """A result without content: of which file, in which state."""
    try:
        state = file.path.stat()
        size, modified = state.st_size, state.st_mtime_ns
    except OSError:
        size, modified = -1, -1
    mask = None if file.mask is None else str(file.mask.absolute())
    return Result(str(file.path.absolute()), size, modified, file.person, file.name, mask=mask)


Found = tuple[list[Record], list[tuple[str, str]]]


def _prepare_photo(worker: _Worker, file: SourceFile) -> Found:
    photo = read_photo(file.path)
    try:
        cutting = worker.preparer.prepare(photo, given=_given_mask(file, photo))
    except Rejected as error:
        return [], [(file.name, str(error))]
    return [_store(worker, file, file.name, cutting, None)], []


def _given_mask(file: SourceFile, photo: Photo) -> np.ndarray | None:
    if file.mask is None:
        return None
    mask = decode_grey(read_bytes(file.mask))
    if mask.shape != photo.pixels.shape[:2]:
        raise InputError(
            f"the mask {file.mask} has {mask.shape[1]} x {mask.shape[0]} pixels, the photo {photo.width} x "
            f"{photo.height}. Give masks of the photos' own size."
        )
    return mask


def _prepare_video(worker: _Worker, file: SourceFile) -> Found:
    """Every n-th frame; a face is looked for where it was first."""
    records: list[Record] = []
    rejected: list[tuple[str, str]] = []
    near: PixelBox | None = None
    every = worker.task.settings.every
    for index, pixels in enumerate(islice(read_video(file.path), 0, None, every)):
        frame = index * every
        name = f"{file.name}_f{frame:06d}"
        try:
            cutting = worker.preparer.prepare(Photo(pixels, file.path, name), near=near)
        except Rejected as error:
            near = None
            rejected.append((name, str(error)))
            continue
        near = cutting.box_px
        records.append(_store(worker, file, name, cutting, frame))
    return records, rejected


def _store(worker: _Worker, file: SourceFile, name: str, cutting: Cutting, frame: int | None) -> Record:
    record = write_picture(
        worker.task.output, file.person, name, cutting.pixels, cutting.landmarks, cutting.mask
    )
    quality = {key: round(value, 4) for key, value in asdict(cutting.quality).items()}
    return replace(record, frame=frame, to_source=cutting.to_source, quality=quality)


def _sha256(path: Path) -> str:
    """Of a file that may be large.

    Raises:
        InputError: it cannot be read.
    """
    digest = hashlib.sha256()
    try:
        with path.open("rb") as stream:
            while chunk := stream.read(HASH_CHUNK):
                digest.update(chunk)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}.") from error
    return digest.hexdigest()
