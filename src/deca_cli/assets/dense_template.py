"""Reader of `texture_data_256.npy`: the official vertices and triangles of the detail mesh (spec section 1.3)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from deca_cli.assets.official import UV_SIZE, NamedArrays
from deca_cli.assets.pickles import read_npy
from deca_cli.errors import ModelError

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, eq=False)
class DenseTemplate:
    """The mesh of the covered texels, as `deca_cli.render.uv.UvChart` has it."""

    texels: np.ndarray  # int64 [P], row-major indices into the 256 x 256 map
    vertex_ids: np.ndarray  # int64 [P, 3], mesh vertices of the triangle under each texel
    weights: np.ndarray  # float32 [P, 3], their barycentrics
    faces: np.ndarray  # int64 [M, 3], triangles over the texels


def read_dense_template(path: Path, vertices: int = 5023) -> DenseTemplate:
    """Read `texture_data_256.npy`.

    Args:
        path: The file.
        vertices: Number of mesh vertices, to check the indices.

    Raises:
        ModelError: The file is missing or damaged, or an array is missing, misshapen or points outside.
    """
    arrays = NamedArrays(read_npy(path), path)
    pixels = arrays.array("valid_pixel_ids", (None,))
    count = len(pixels)
    all_columns = arrays.array("x_coords", (None,))
    all_rows = arrays.array("y_coords", (len(all_columns),))
    corners = arrays.array("valid_pixel_3d_faces", (count, 3))
    faces = arrays.array("f", (None, 3))
    for name, values, end in (
        ("valid_pixel_ids", pixels, len(all_columns)),
        ("valid_pixel_3d_faces", corners, vertices),
        ("f", faces, count),
        ("x_coords", all_columns, UV_SIZE),
        ("y_coords", all_rows, UV_SIZE),
    ):
        if values.size and not (values.min() >= 0 and values.max() < end):
            raise ModelError(f"{path}: `{name}` points outside of its range of {end}: get the file again.")
    chosen = pixels.astype(np.int64)
    columns, rows = (axis[chosen].astype(np.int64) for axis in (all_columns, all_rows))
    return DenseTemplate(
        texels=rows * UV_SIZE + columns,
        vertex_ids=corners.astype(np.int64),
        weights=arrays.array("valid_pixel_b_coords", (count, 3)).astype(np.float32),
        faces=faces.astype(np.int64),
    )
