"""The detectors that `find_faces` can use: a small table. None of them downloads anything."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

from deca_cli.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from deca_cli.photo.face import Face
    from deca_cli.photo.read import Photo

AUTO = "auto"
LBP = "lbp"  # always here, and needs no torch


@dataclass(frozen=True)
class Detector:
    """One way to find faces.

    Attributes:
        name: what `--detector` and `Face.source` say.
        missing: why it cannot be used here, with the cure; None when it can.
        find: candidates of a photo, best first; the flag asks for a longer search.
    """

    name: str
    missing: Callable[[], str | None]
    find: Callable[[Photo, bool], list[Face]]


def _lbp(photo: Photo, thorough: bool) -> list[Face]:
    from deca_cli.photo.lbp import find_with_cascade

    return find_with_cascade(photo, thorough=thorough)


def _face_alignment(photo: Photo, thorough: bool) -> list[Face]:  # noqa: ARG001 - it has one way to search
    from deca_cli.photo.face_alignment import find_with_face_alignment

    return find_with_face_alignment(photo)


def _face_alignment_missing() -> str | None:
    from deca_cli.photo.face_alignment_files import missing_weights

    return missing_weights()


def _never_missing() -> None:
    return None


DETECTORS: Mapping[str, Detector] = MappingProxyType(
    {
        detector.name: detector
        for detector in (
            Detector("face-alignment", _face_alignment_missing, _face_alignment),
            Detector(LBP, _never_missing, _lbp),
        )
    }
)
"""By name; `auto` takes the first that is usable here."""


def choose_detector(name: str = AUTO) -> Detector:
    """The detector of that name, or the first usable one for `auto`.

    Raises:
        UsageError: there is no such detector, or it cannot be used on this machine.
    """
    if name == AUTO:
        return next(detector for detector in DETECTORS.values() if detector.missing() is None)
    if name not in DETECTORS:
        raise UsageError(f"There is no detector {name!r}. Choose one of: {', '.join((AUTO, *DETECTORS))}.")
    reason = DETECTORS[name].missing()
    if reason is not None:
        raise UsageError(reason)
    return DETECTORS[name]
