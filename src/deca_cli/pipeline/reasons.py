"""Sentences about photos in which the model sees no face, or is not sure of one."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from deca_cli.pipeline.settings import Settings


def no_face_reason(photo: Path, settings: Settings) -> str:
    """Why there is no result, and what to do, by how the face was looked for."""
    if settings.whole_photo:
        return f"{photo} shows no face that fills it, as in an aligned crop. Leave --no-crop out."
    if settings.box_px is not None:
        return f"{photo} shows no face in the given box. Draw --bbox from the brows to the chin and from ear to ear."
    return (
        f"{photo} shows no face that was found. If there is one, turn the photo upright if the face lies or is upside "
        "down; else say where: --bbox x0,y0,x1,y1."
    )


def doubt(photo: Path, scores: Iterable[float | None], least: float) -> str:
    """A warning if the model does not take a result for a face (only given boxes and crops come so far); or nothing."""
    low = [score for score in scores if score is not None and score < least]
    if not low:
        return ""
    return (
        f"{photo}: the model hardly takes this for a face (score {min(low):.2f}, faces have {least:.2f} or more). "
        "Look at the overlay before you use the result."
    )
