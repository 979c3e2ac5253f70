"""Prepare a dataset: all files through worker processes, then the manifest. Goes on where an earlier run stopped."""

from __future__ import annotations

import json
import multiprocessing
from collections import Counter
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from deca_cli.atomic import make_folder, write_text
from deca_cli.errors import DeviceError, InputError
from deca_cli.packs.fingerprint import pack_fingerprint
from deca_cli.packs.folders import pack_folder
from deca_cli.train.data.manifest import Description
from deca_cli.train.data.prepare.journal import Journal, key_of, read_journal
from deca_cli.train.data.prepare.work import Result, Task, identity, start_worker, work
from deca_cli.train.data.store import finish, held_out_people, remove_drafts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from deca_cli.train.data.prepare.inputs import Found, SourceFile

PROBLEMS = "problems.jsonl"
AHEAD = 4  # files handed out per worker before their results are needed


@dataclass(frozen=True)
class Report:
    """What became of a run."""

    files: int
    finished_before: int
    people: int
    held_out_people: int
    pictures: int
    rejected: Mapping[str, str]  # picture -> why it is not good enough
    damaged: Mapping[str, str]  # file -> why it cannot be used


def prepare(
    found: Found, task: Task, workers: int, watch: Callable[[Result], None] = lambda _: None
) -> Report:
    """Prepare all files and write the dataset.

    Args:
        found: the files.
        task: output folder, model, device, settings.
        workers: processes; 1 = all in this one.
        watch: told every finished result, also those of earlier runs.

    Raises:
        InputError: no picture can be used.
        OutputError: the dataset cannot be written.
        UsageError: the folder was begun with other settings.
    """
    make_folder(task.output)
    fingerprint = pack_fingerprint(pack_folder(task.model))
    request = {**task.settings.request(), "model": fingerprint}
    earlier = read_journal(task.output, request)
    done, todo = _split(found.files, earlier, task.output)
    if todo and earlier:
        remove_drafts(task.output)
    results = list(done)
    for result in done:
        watch(result)
    with closing(Journal(task.output)) as journal:
        for result in _in_one(task, todo) if workers == 1 else _in_many(task, todo, workers):
            journal.add(result)
            results.append(result)
            watch(result)
    return _write(found, task, results, len(done), fingerprint)


def _split(
    files: Sequence[SourceFile], earlier: Mapping[tuple[str, str, str], Result], output: Path
) -> tuple[list[Result], list[SourceFile]]:
    """Results that still hold, and files that are to be done: new, changed, or whose crops are gone."""
    done, todo = [], []
    for file in files:
        known = identity(file)
        result = earlier.get(key_of(known))
        if result is not None and _holds(result, known, output):
            done.append(result)
        else:
            todo.append(file)
    return done, todo


def _holds(result: Result, known: Result, output: Path) -> bool:
    state = ("size", "modified_ns", "mask")
    if any(getattr(result, name) != getattr(known, name) for name in state):
        return False
    names = [name for record in result.records for name in (record.image, record.mask) if name]
    return all((output / name).is_file() for name in names)


def _in_one(task: Task, files: Sequence[SourceFile]) -> Iterator[Result]:
    if files:
        start_worker(task, watch_parent=False)
    for file in files:
        yield work(task, file)


def _in_many(task: Task, files: Sequence[SourceFile], workers: int) -> Iterator[Result]:
    """Results in the order in which they are ready."""
    waiting: set[Future[Result]] = set()
    left = iter(files)
    context = multiprocessing.get_context("spawn")  # forked copies of a program with threads may hang
    pool = ProcessPoolExecutor(
        min(workers, max(len(files), 1)), context, initializer=start_worker, initargs=(task,)
    )
    try:
        for file in left:
            waiting.add(pool.submit(work, task, file))
            if len(waiting) >= workers * AHEAD:
                ready, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                yield from (future.result() for future in ready)
        while waiting:
            ready, waiting = wait(waiting, return_when=FIRST_COMPLETED)
            yield from (future.result() for future in ready)
    except BrokenProcessPool as error:
        raise DeviceError(
            "A worker process was ended from outside, probably because the memory was full, or could not start. What "
            "is done is kept: run the same command again with fewer --workers."
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _write(found: Found, task: Task, results: Sequence[Result], before: int, fingerprint: str) -> Report:
    records = sorted(
        (record for result in results for record in result.records), key=lambda one: (one.person, one.picture)
    )
    damaged = dict(found.left_out)
    damaged |= {result.source: result.damaged for result in results if result.damaged is not None}
    rejected = {f"{result.person}/{name}": reason for result in results for name, reason in result.rejected}
    problems = [{"file": name, "damaged": reason} for name, reason in sorted(damaged.items())]
    problems += [{"picture": name, "rejected": reason} for name, reason in sorted(rejected.items())]
    write_text(task.output / PROBLEMS, "".join(json.dumps(one) + "\n" for one in problems))
    if not records:
        kinds = Counter(reason.split(":")[0] for reason in (*damaged.values(), *rejected.values()))
        often = ", ".join(f"{reason} ({count})" for reason, count in kinds.most_common(3))
        raise InputError(
            f"None of the {len(results)} photos and videos can be used: {often}. {task.output / PROBLEMS} names all of "
            "them. Choose larger or sharper photos, or change the limits."
        )
    settings = task.settings
    people = {record.person for record in records}
    held_out = held_out_people(people, settings.held_out, settings.seed)
    records = [
        replace(record, split="held_out" if record.person in held_out else "train") for record in records
    ]
    description = Description(
        margin=settings.margin,
        size=settings.size,
        people=len(people),
        pictures=len(records),
        made_by={"command": "deca train prepare", "model": fingerprint, **settings.request()},
    )
    finish(task.output, records, description)
    return Report(len(results), before, len(people), len(held_out), len(records), rejected, damaged)
