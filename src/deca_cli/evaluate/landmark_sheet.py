"""A sheet of the photos whose landmarks are worst: the truth in green, the prediction in red."""

from __future__ import annotations

from pathlib import Path, PurePath
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw

from deca_cli.errors import InputError
from deca_cli.export.atomic import write_file
from deca_cli.photo.read import read_photo

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from deca_cli.evaluate.landmark_sets import TrueFace

TILE = 320  # pixels a side
COLUMNS = 4
MARGIN = 0.35  # of the face box, on every side
TRUE_COLOUR, PREDICTED_COLOUR = (60, 220, 60), (255, 60, 60)
PICTURES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")


def find_photos(folder: Path, names: Sequence[str]) -> dict[str, Path]:
    """The photo of each name, with or without its ending, anywhere in the folder.

    Raises:
        InputError: no photo of any name is there.
    """
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in PICTURES)
    by_name = {path.stem: path for path in files} | {path.name: path for path in files}
    found = {
        name: by_name.get(name, by_name.get(PurePath(name).stem, Path()))
        for name in names
        if name in by_name or PurePath(name).stem in by_name
    }
    if names and not found:
        raise InputError(
            f"none of the photos (such as {names[0]}) is in {folder}: give --photos the folder that holds them."
        )
    return found


def draw_sheet(
    path: Path,
    faces: Sequence[tuple[TrueFace, NDArray[np.float64], float]],
    photos: dict[str, Path],
) -> Path:
    """Draw faces in the given order.

    Args:
        path: JPEG or PNG to write.
        faces: truth, predicted points [68, 2] and error in percent.
        photos: files by the faces' names.

    Raises:
        OutputError: the sheet cannot be written.
    """
    tiles = [_tile(*face, photos[face[0].name]) for face in faces if face[0].name in photos]
    rows = -(-len(tiles) // COLUMNS)
    sheet = Image.new("RGB", (min(len(tiles), COLUMNS) * TILE, rows * TILE))
    for index, tile in enumerate(tiles):
        sheet.paste(tile, (index % COLUMNS * TILE, index // COLUMNS * TILE))
    kind = "PNG" if path.suffix.lower() == ".png" else "JPEG"
    return write_file(path, lambda stream: sheet.save(stream, kind, quality=88))


def _tile(face: TrueFace, predicted: NDArray[np.float64], error: float, photo: Path) -> Image.Image:
    """One face, cut out, with both sets of points and its error."""
    x0, y0, x1, y1 = face.box
    side = max(x1 - x0, y1 - y0) * (1 + 2 * MARGIN)
    corner = np.array([(x0 + x1 - side) / 2, (y0 + y1 - side) / 2])
    zoom = TILE / side
    picture = Image.fromarray(read_photo(photo).pixels)
    # Pillow counts from pixel corners, landmarks from pixel centres.
    box = (corner[0] + 0.5, corner[1] + 0.5, corner[0] + side + 0.5, corner[1] + side + 0.5)
    tile = picture.transform((TILE, TILE), Image.Transform.EXTENT, box, Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(tile)
    for points, colour, where in (
        (face.landmarks, TRUE_COLOUR, face.valid),
        (predicted, PREDICTED_COLOUR, np.ones(len(predicted), bool)),
    ):
        for x, y in ((points - corner) * zoom)[where]:
            draw.ellipse((x - 2, y - 2, x + 2, y + 2), fill=colour)
    turned = "" if face.yaw_degrees is None else f"  yaw {face.yaw_degrees:.0f}"
    draw.text((6, 4), f"{error:.2f} %{turned}", fill=(255, 255, 255), stroke_width=1, stroke_fill=(0, 0, 0))
    draw.text((6, TILE - 16), face.name[:46], fill=(255, 255, 255), stroke_width=1, stroke_fill=(0, 0, 0))
    return tile
