"""All formats in one table, and writing one face in those that are wanted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deca_cli.export.atomic import make_folder, remove_file
from deca_cli.export.depth import write_depth
from deca_cli.export.landmarks import write_landmarks
from deca_cli.export.meshes import write_meshes
from deca_cli.export.names import PARAMS_JSON
from deca_cli.export.normals import write_normals
from deca_cli.export.overlay import Drawing, write_images, write_overlay
from deca_cli.export.params import write_params_json, write_params_npz

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from deca_cli.export.capture import Capture

    Writer = Callable[[Capture, Drawing, Path], list[Path]]

# Adding a format is one module and one line: its name (which is its option) -> what writes it; and if it needs more of a
# capture than landmarks and parameters, its name in pipeline.settings.OF_THE_MESH.
FORMATS: Mapping[str, Writer] = {
    "obj": lambda capture, _, folder: write_meshes(capture, folder),
    "depth": lambda capture, drawing, folder: write_depth(capture, folder, drawing.views),
    "landmarks": lambda capture, _, folder: write_landmarks(capture, folder),
    "normals": lambda capture, drawing, folder: write_normals(capture, folder, drawing.views),
    "images": lambda _, drawing, folder: write_images(drawing.photo, folder),
}


def save(capture: Capture, folder: Path, formats: Sequence[str], request: Mapping[str, object]) -> list[Path]:
    """Write one face; the overlay and the parameters always, the rest on request.

    Args:
        capture: the face.
        folder: where its files go; made if missing.
        formats: names in `FORMATS`.
        request: kept in `params.json`, so that `--resume` can tell whether the same was asked for.

    Returns:
        The files written. `params.json` is the last: where it is, the result is whole.

    Raises:
        OutputError: a file cannot be written. No half file is left behind.
    """
    make_folder(folder)
    remove_file(folder / PARAMS_JSON)
    drawing = Drawing(capture)
    files = [write_overlay(drawing, folder)]
    for name in formats:
        files += FORMATS[name](capture, drawing, folder)
    files.append(write_params_npz(capture, folder))
    files.append(write_params_json(capture, folder, formats=formats, request=request, files=files))
    return files
