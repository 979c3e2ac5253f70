"""Find the faces in a photo, with whatever detector is on this machine. Nothing is ever downloaded."""

from deca_cli.photo.face import Face
from deca_cli.photo.read import Photo

MAX_FACES = 40
"""Candidates returned at most. The bundled detector favours recall; the network's face score decides later."""

__all__ = ["MAX_FACES", "Face", "find_faces"]


def find_faces(photo: Photo, *, thorough: bool = False, limit: int = MAX_FACES) -> list[Face]:
    """List places where a face may be, most likely first.

    Args:
        photo: the photo.
        thorough: search longer; for photos in which every candidate turned out to be no face.
        limit: length of the list at most.

    Returns:
        candidates with boxes tight around the landmarks. False ones among them are expected.
    """
    from deca_cli.photo.lbp import find_with_cascade

    return find_with_cascade(photo, thorough=thorough)[:limit]
