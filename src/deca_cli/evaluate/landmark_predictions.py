"""Read predicted 68-point landmarks: outputs of `deca reconstruct` and of the official demo, JSON, text, NumPy files."""

from __future__ import annotations

from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from deca_cli.errors import InputError
from deca_cli.evaluate.files import read_array, read_json, read_text
from deca_cli.evaluate.landmark_sets import as_points, read_pts, read_table
from deca_cli.export.names import PARAMS_JSON
from deca_cli.export.summary import SUMMARY

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from deca_cli.evaluate.landmark_sets import TrueFace

# What the official demo and `deca reconstruct --landmarks` write, then plain files.
FILES = (
    "{0}/{0}_kpt2d.txt",
    "{0}_kpt2d.txt",
    "{0}.json",
    "{0}.npy",
    "{0}.pts",
    "{0}.txt",
    "{0}/landmarks_2d.txt",
)


def read_predictions(path: Path, faces: Sequence[TrueFace]) -> dict[str, NDArray[np.float64]]:
    """Predicted landmarks [68, 2] by the true face's name, from a JSON file or a folder; those not found are left out.

    A folder with a summary.json is an output of `deca reconstruct`: its photos are known by their own names, whatever
    their folders are called, and of several faces in a photo the one counts whose box overlaps the true one most.
    """
    if path.is_file() and path.name != SUMMARY:
        return _from_table(path, faces)
    folder = path.parent if path.name == SUMMARY else path
    if not folder.is_dir():
        raise InputError(f"no predictions at {path}: expected a JSON file or a folder.")
    photos = _photos(folder / SUMMARY) if (folder / SUMMARY).is_file() else []
    found = {}
    for face in faces:
        file = _params_file(folder, photos, face) or _plain_file(folder, face)
        if file is not None:
            found[face.name] = _read_points(file)
    return found


def _from_table(path: Path, faces: Sequence[TrueFace]) -> dict[str, NDArray[np.float64]]:
    table = read_table(path)
    entries = {face.name: table.get(face.name, table.get(PurePath(face.name).stem)) for face in faces}
    return {name: as_points(entry, f"{path}: {name}") for name, entry in entries.items() if entry is not None}


def _photos(summary: Path) -> list[dict[str, Any]]:
    """The photos of a summary that have faces."""
    try:
        return [photo for photo in read_json(summary)["photos"] if photo["faces"] and photo["photo"]]
    except (KeyError, TypeError):
        raise InputError(
            f"{summary}: not the summary of 'deca reconstruct'. Run it again with --resume."
        ) from None


def _params_file(folder: Path, photos: list[dict[str, Any]], face: TrueFace) -> Path | None:
    """The parameters of the predicted face that is the true one, or None when no photo has its name.

    A photo is known by its path, by its name without ending, or, if it was a link, by its result folder.
    """
    stem = PurePath(face.name).stem
    named = [photo for photo in photos if f"/{PurePath(photo['photo']).as_posix()}".endswith(f"/{face.name}")]
    named = named or [photo for photo in photos if PurePath(photo["photo"]).stem == stem]
    named = named or [photo for photo in photos if photo["faces"][0]["folder"] == stem]
    if not named:
        return None
    if len(named) > 1:
        both = " and ".join(photo["photo"] for photo in named[:2])
        raise InputError(
            f"{folder / SUMMARY}: {both} are both called like the annotated {face.name}. Reconstruct them into "
            "folders of their own."
        )
    # The largest face comes first, so it counts where none overlaps.
    best = max(named[0]["faces"], key=lambda found: overlap(found["box_px"], face.box))
    file = folder / best["folder"] / PARAMS_JSON
    if not file.is_file():
        raise InputError(f"{file} is missing. Run 'deca reconstruct' again with --resume.")
    return file


def overlap(one: Sequence[float], other: Sequence[float]) -> float:
    """Common area of two boxes x0, y0, x1, y1 over the area of both, 0 to 1."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    if width <= 0 or height <= 0:
        return 0.0
    areas = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other))
    return width * height / (areas - width * height)


def _plain_file(folder: Path, face: TrueFace) -> Path | None:
    candidates = (folder / pattern.format(PurePath(face.name).stem) for pattern in FILES)
    return next((file for file in candidates if file.is_file()), None)


def _read_points(file: Path) -> NDArray[np.float64]:
    if file.suffix == ".json":
        return as_points(read_table(file), str(file))
    if file.suffix == ".npy":
        return as_points(read_array(file), str(file))
    if file.suffix == ".pts":
        return read_pts(file)
    lines = (line.split("#")[0].replace(",", " ").split() for line in read_text(file).splitlines())
    return as_points([line for line in lines if line], str(file))
