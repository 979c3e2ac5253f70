"""People with K pictures each, step after step: worker processes decode and cut, the device samples."""

from __future__ import annotations

import signal
from dataclasses import dataclass, replace
from itertools import count
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from deca_cli.errors import DecaError, DeviceError, InputError
from deca_cli.train.data.batch import PersonBatch
from deca_cli.train.data.cut import Cut, cut, draw
from deca_cli.train.data.sampling import SLOT, People, generator
from deca_cli.train.data.sources import open_sources
from deca_cli.train.data.warp import warp

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from deca_cli.train.data.settings import DataSettings
    from deca_cli.train.data.source import Source
    from deca_cli.train.processes import Process

TRIES = 50  # other people tried in place of one without a usable picture, before it is given up


@dataclass(frozen=True, eq=False)
class RawBatch:
    """A batch as the workers hand it over."""

    canvases: torch.Tensor  # uint8 [P * K, C, C, 4]
    places: torch.Tensor  # float32 [P * K, 4]
    landmarks: torch.Tensor  # float32 [P * K, 68, 3]
    colours: torch.Tensor  # float32 [P * K, 3]
    names: tuple[str, ...]
    problems: dict[str, str]  # pictures that could not be used, and why

    def pin_memory(self) -> RawBatch:
        """Called by torch, for quick copies to a GPU."""
        names = ("canvases", "places", "landmarks", "colours")
        return replace(self, **{name: getattr(self, name).pin_memory() for name in names})


class PersonLoader:
    """Batches of people. What step n shows depends on the seed, n, the process's rank and the data, on nothing else.

    Args:
        data: names or folders as in `DataSettings.training_data`, or sources.
        settings: everything else.
        process: rank, number of processes and device.
        seed: of order, choice of pictures and cuts.
        split: `train` or `held_out`.

    Raises:
        InputError: a dataset cannot be read.
        UsageError: a name is unknown or its folders are not set.
    """

    def __init__(
        self,
        data: Sequence[str | Source],
        settings: DataSettings,
        process: Process,
        seed: int,
        *,
        split: str = "train",
    ) -> None:
        self.settings, self.process = settings, process
        self.problems: dict[str, str] = {}
        """What could not be used so far, by name, with the reason; grows while batches are taken."""
        self.sources = open_sources(data, settings, split, self.problems)
        self.steps = _Steps(People(self.sources, seed), settings, process.rank, process.world)

    @property
    def people(self) -> int:
        """People (or lists of pictures) of all sources together."""
        return self.steps.people.count

    @property
    def steps_per_pass(self) -> int:
        """Steps after which everybody was shown once, rounded down, at least 1."""
        return max(self.people // (self.settings.batch_size * self.process.world), 1)

    def batches(self, first_step: int = 0) -> Iterator[PersonBatch]:
        """Endless batches from that step on, on the process's device.

        Raises:
            DeviceError: a worker process was ended from outside.
            InputError: person after person has no usable picture.
        """
        size, device = self.settings.image_size, self.process.device
        for raw in self._raw_batches(first_step):
            self.problems.update(raw.problems)
            colours = None if bool((raw.colours == 1).all()) else raw.colours.to(device, non_blocking=True)
            canvases = raw.canvases.to(device, non_blocking=True)
            places = raw.places.to(device, non_blocking=True)
            images, masks = warp(canvases, places, colours, size)
            people = (self.settings.batch_size, self.settings.per_person)
            yield PersonBatch(
                images=images.unflatten(0, people),
                landmarks=raw.landmarks.to(device, non_blocking=True).unflatten(0, people),
                masks=masks.unflatten(0, people),
                names=raw.names,
            )

    def _raw_batches(self, first_step: int) -> Iterator[RawBatch]:
        workers = self.settings.num_workers
        options: dict[str, Any] = {}
        if workers:
            options = {"prefetch_factor": self.settings.prefetch, "worker_init_fn": _start_worker}
        loader = DataLoader(
            self.steps,
            batch_size=None,
            sampler=count(first_step),  # endless
            num_workers=workers,
            collate_fn=_as_it_is,
            pin_memory=self.process.device.type == "cuda",
            **options,
        )
        try:
            for raw in loader:
                if isinstance(raw, DecaError):
                    raise raw
                yield raw
        except RuntimeError as error:
            if "DataLoader worker" not in str(error):
                raise
            raise DeviceError(
                f"A process that reads training data was ended ({str(error).splitlines()[0]}). Usually the shared memory "
                "(/dev/shm) or the memory is full: lower dataset.num_workers or dataset.prefetch, or give a container "
                "more of it (docker run --shm-size 16g)."
            ) from error


def _as_it_is(batch: Any) -> Any:  # noqa: ANN401 - torch's own conversion must not look into it
    return batch


def _start_worker(_: int) -> None:
    """One thread each: there are as many workers as cores; signals that reach the whole group are for the main process.

    After Ctrl-C or SIGTERM that one still ends its step, which may wait for a batch; then it ends the workers.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    cv2.setNumThreads(0)


class _Steps(Dataset):
    """Batch by step; lives in the workers."""

    def __init__(self, people: People, settings: DataSettings, rank: int, world: int) -> None:
        self.people, self.settings, self.rank, self.world = people, settings, rank, world

    def __getitem__(self, step: int) -> RawBatch | DecaError:
        """The whole batch of a step; errors as values, as torch would wrap their messages in tracebacks."""
        try:
            return self._batch(step)
        except DecaError as error:
            return error

    def _batch(self, step: int) -> RawBatch:
        size = self.settings.batch_size
        first = (step * self.world + self.rank) * size
        problems: dict[str, str] = {}
        shown = [one for position in range(first, first + size) for one in self._person(position, problems)]
        names, cuts = zip(*shown, strict=True)
        return RawBatch(
            canvases=_stack([one.canvas for one in cuts]),
            places=_stack([one.place for one in cuts]),
            landmarks=_stack([one.landmarks for one in cuts]),
            colours=_stack([one.colour for one in cuts]),
            names=tuple(names),
            problems=problems,
        )

    def _person(self, position: int, problems: dict[str, str]) -> list[tuple[str, Cut]]:
        """K pictures of the person at a position, or of another one if none of them can be read."""
        for attempt in range(TRIES):
            random = generator(self.people.seed, SLOT, position, attempt)
            place = position if attempt == 0 else int(random.integers(self.people.count))
            number, person = self.people.at(place)
            shown = self._pictures(self.people.sources[number], person, random, problems)
            if shown:
                return shown
        latest = "; ".join(f"{name}: {reason}" for name, reason in list(problems.items())[-3:])
        raise InputError(
            f"{TRIES} people in a row have no usable picture, for example {latest}. "
            "Check the dataset, or prepare it again."
        )

    def _pictures(
        self, source: Source, person: int, random: np.random.Generator, problems: dict[str, str]
    ) -> list[tuple[str, Cut]]:
        """K pictures; for one that cannot be used another of the same person, if need be one shown already."""
        count = self.settings.per_person
        picked = list(source.pick(person, count, random))
        draws = [draw(self.settings, random) for _ in range(count)]
        spare = [key for key in source.pictures(person) if key not in picked]
        spare = [spare[index] for index in random.permutation(len(spare))]
        done: list[tuple[str, Cut]] = []
        usable: list[int] = []
        waiting = picked + spare
        while len(done) < count and waiting:
            key = waiting.pop(0)
            try:
                name = f"{source.name}: picture {key}"
                name = source.label(key)
                done.append((name, cut(source.read(key), draws[len(done)], self.settings)))
                usable.append(key)
            except InputError as error:
                problems[name] = str(error)
        for key in usable * count if len(done) < count else ():
            if len(done) == count:
                break
            done.append((source.label(key), cut(source.read(key), draws[len(done)], self.settings)))
        return done


def _stack(arrays: Sequence[np.ndarray]) -> torch.Tensor:
    return torch.from_numpy(np.stack(arrays))
