"""What can be done for a photo without a model: read it and find where faces may be. Runs in worker processes too."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from deca_cli.photo.find_faces import find_faces
from deca_cli.photo.read import read_photo

if TYPE_CHECKING:
    from pathlib import Path

    from deca_cli.photo.face import Face
    from deca_cli.photo.read import Photo


@dataclass(frozen=True, eq=False)
class Sighting:
    """A photo, and where faces may be in it."""

    photo: Photo
    faces: list[Face] | None  # None: nobody looked
    read_s: float
    find_s: float


def sight(path: Path, detector: str | None) -> Sighting:
    """Read a photo and look for faces, unless no detector is named.

    Raises:
        InputError: it cannot be read.
        UsageError: the detector is not here.
    """
    start = time.perf_counter()
    photo = read_photo(path)
    read = time.perf_counter()
    faces = None if detector is None else find_faces(photo, detector=detector, thorough=False)
    return Sighting(photo, faces, read - start, time.perf_counter() - read)


def look_again(photo: Photo, detector: str) -> list[Face]:
    """Search a photo thoroughly."""
    return find_faces(photo, detector=detector, thorough=True)
