"""Find the faces in a photo, with whatever detector is on this machine. Nothing is ever downloaded."""

from deca_cli.photo.detectors import AUTO, choose_detector
from deca_cli.photo.face import Face
from deca_cli.photo.read import Photo

MAX_FACES = 40
"""Candidates returned at most; a photo of one person gives about three."""

__all__ = ["MAX_FACES", "Face", "find_faces"]


def find_faces(
    photo: Photo, *, detector: str = AUTO, thorough: bool = False, limit: int = MAX_FACES
) -> list[Face]:
    """List places where a face may be, most likely first.

    The bundled detector favours recall: false candidates are expected among the results, and it is the network's
    face score that tells them apart.

    Args:
        photo: the photo.
        detector: `auto` (face-alignment where its weights are on disk already, else the bundled cascade), `lbp`
            (the bundled cascade) or `face-alignment`.
        thorough: search longer, also for lying and upside-down faces; for photos in which every candidate turned
            out to be no face.
        limit: length of the list at most.

    Raises:
        UsageError: no such detector, or its weights are not on this machine.
    """
    return choose_detector(detector).find(photo, thorough)[:limit]
