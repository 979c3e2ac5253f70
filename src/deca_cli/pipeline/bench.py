"""What workers do for one photo after another, and what they keep on their bench meanwhile: the photos themselves.

A photo stays with the worker that has read it until its result is written, so its pixels never travel. Nothing here
imports torch, which worker processes need only to draw.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

from deca_cli.errors import DecaError, InputError
from deca_cli.export.formats import save
from deca_cli.export.owner import claim_folder
from deca_cli.export.summary import FaceResult
from deca_cli.photo.crop import cut_square
from deca_cli.photo.detectors import choose_detector
from deca_cli.photo.sighting import Sighting, look_again, sight
from deca_cli.pipeline.resume import face_folder
from deca_cli.pipeline.sheets import Placed, Sheet
from deca_cli.pipeline.stopped import StoppedError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy as np

    from deca_cli.export.capture import Capture, Topology
    from deca_cli.photo.crop import CropRule, Square
    from deca_cli.photo.face import Face
    from deca_cli.photo.read import Photo
    from deca_cli.pipeline.settings import Settings
    from deca_cli.pipeline.slate import Slate


class Bench:
    """What one worker has before it.

    Attributes:
        slate: memory shared with the main process.
        photos: by number, from reading to writing.
        shared: what all heads of the model share, once it is known.
    """

    def __init__(self, slate: Slate) -> None:
        self.slate = slate
        self.photos: dict[int, Photo] = {}
        self.shared: Shared | None = None

    def photo(self, number: int, path: Path) -> Photo:
        """A photo that was read before; here, or by a worker that has crashed."""
        if number not in self.photos:
            self.photos[number] = sight(path, None).photo
        return self.photos[number]


@dataclass(frozen=True, eq=False)
class Shared:
    """What all heads of a model share, so that it need not travel with each."""

    topology: Topology
    detail_faces: np.ndarray
    detail_uv_coordinates: np.ndarray

    quick, begins = True, False
    path = None

    def run(self, bench: Bench) -> None:
        """Keep it."""
        bench.shared = self

    def without(self, capture: Capture, draw_on: str) -> Capture:
        """The capture without what is shared, for one who draws on a device."""
        detail, layers = capture.detail, cast("Any", capture.layers)
        if layers is not None and isinstance(layers.sheet, Sheet):
            layers = layers.sheet.placed(layers)
        return replace(
            capture,
            topology=self.bare_topology,
            draw_on=draw_on,
            layers=layers,
            detail=detail
            and replace(detail, faces=self.detail_faces[:0], uv_coordinates=self.detail_uv_coordinates[:0]),
        )

    @cached_property
    def bare_topology(self) -> Topology:
        """Without its arrays."""
        nothing = {name: value[:0] for name, value in vars(self.topology).items() if value is not None}
        return replace(self.topology, **nothing)

    def whole(self, capture: Capture, photo: Photo, slate: Slate) -> Capture:
        """The capture that `without` was given."""
        detail, layers = capture.detail, capture.layers
        return replace(
            capture,
            photo=photo,
            topology=self.topology,
            layers=layers.layers(slate) if isinstance(layers, Placed) else layers,
            detail=detail
            and replace(detail, faces=self.detail_faces, uv_coordinates=self.detail_uv_coordinates),
        )


@dataclass(frozen=True)
class Sight:
    """Read a photo and look for faces in it, unless no detector is named."""

    number: int
    path: Path
    detector: str | None

    quick, begins = False, True

    def run(self, bench: Bench) -> Sighting:
        """What was seen; the photo stays here, its outline goes.

        Raises:
            InputError: it cannot be read.
        """
        _go_on(bench)
        seen = sight(self.path, self.detector)
        bench.photos[self.number] = seen.photo
        return replace(seen, photo=seen.photo.outline())


@dataclass(frozen=True)
class Search:
    """Look for faces more thoroughly."""

    number: int
    path: Path
    detector: str

    quick, begins = False, False

    def run(self, bench: Bench) -> tuple[list[Face], float]:
        """The faces, and the seconds that it took."""
        _go_on(bench)
        start = time.perf_counter()
        found = look_again(bench.photo(self.number, self.path), self.detector)
        return found, time.perf_counter() - start


@dataclass(frozen=True)
class Cut:
    """Cut squares of a photo into the shared memory."""

    number: int
    path: Path
    squares: Sequence[Square]
    rule: CropRule
    shape: tuple[int, ...]  # of the shared crops [N, 3, S, S]
    first: int  # which of them the first square becomes

    quick, begins = True, False

    def run(self, bench: Bench) -> float:
        """The seconds that it took."""
        start = time.perf_counter()
        photo, crops = bench.photo(self.number, self.path), bench.slate.crops(self.shape)
        for place, square in enumerate(self.squares, self.first):
            cut_square(photo, square, self.rule, crops[place])
        return time.perf_counter() - start


@dataclass(frozen=True, eq=False)
class Save:
    """Draw and write the faces of a photo."""

    number: int
    path: Path
    names: Sequence[str]
    captures: Sequence[Capture]
    settings: Settings
    output: Path

    quick, begins = False, False

    def run(self, bench: Bench) -> tuple[tuple[FaceResult, ...], float]:
        """Where the faces went, and the seconds that it took.

        Raises:
            OutputError: something cannot be written; nobody begins to write anything after that.
        """
        _go_on(bench)
        start = time.perf_counter()
        try:
            return self._write(bench), time.perf_counter() - start
        except DecaError as error:
            if not isinstance(error, InputError):
                bench.slate.stop()
            raise
        finally:
            bench.photos.pop(self.number, None)

    def _write(self, bench: Bench) -> tuple[FaceResult, ...]:
        photo, shared = bench.photo(self.number, self.path), bench.shared
        assert shared is not None  # noqa: S101 - known before anything is decoded
        folder = claim_folder(self.output, self.names, self.path)
        results = []
        for capture in self.captures:
            where = face_folder(folder, capture.face_number)
            files = save(
                shared.whole(capture, photo, bench.slate),
                where,
                self.settings.formats,
                self.settings.request(),
            )
            relative = where.relative_to(self.output).as_posix()
            names = tuple(file.name for file in files)
            results.append(FaceResult(relative, names, tuple(capture.box_px), capture.face_score))
        return tuple(results)


@dataclass(frozen=True)
class Drop:
    """Forget a photo."""

    number: int
    path: Path

    quick, begins = True, False

    def run(self, bench: Bench) -> None:
        """Do it."""
        bench.photos.pop(self.number, None)


@dataclass(frozen=True)
class Echo:
    """Nothing; whoever answers has done all that it was asked before."""

    quick, begins = False, True
    path = None

    def run(self, _bench: Bench) -> None:
        """Do nothing."""


Request = Shared | Sight | Search | Cut | Save | Drop | Echo


def detector_of(settings: Settings) -> str | None:
    """Which detector looks for faces: by its own name, as choosing anew in every process would load torch there.

    Raises:
        UsageError: the one that is asked for is not here.
    """
    given = settings.whole_photo or settings.box_px is not None
    return None if given else choose_detector(settings.detector).name


def _go_on(bench: Bench) -> None:
    if bench.slate.stopped:
        raise StoppedError
