"""The official detail mesh inside a pack: which texels are its vertices, in which order, and its triangles.

Without the file the mesh is made from the UV chart, which differs from the official one at the chart's borders only
(spec section 1.3).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from deca_cli.errors import ModelError
from deca_cli.render.uv import UvChart

if TYPE_CHECKING:
    from pathlib import Path

FILE_NAME = "detail_mesh.npz"
ARRAYS = {"texels": np.int64, "vertex_ids": np.int64, "weights": np.float32, "faces": np.int64}


def load_detail_mesh(folder: Path, size: int, vertices: int) -> UvChart | None:
    """The detail mesh of a pack, or None if the pack has none of its own.

    Args:
        folder: The pack.
        size: Side of the UV map in texels.
        vertices: Number of vertices of the head.

    Raises:
        ModelError: The file is damaged or does not fit the head.
    """
    path = folder / FILE_NAME
    if not path.is_file():
        return None
    try:
        with np.load(path, allow_pickle=False) as archive:
            found = {name: archive[name].astype(kind) for name, kind in ARRAYS.items()}
    except Exception as error:  # zipfile, zlib and numpy raise many kinds for damaged files
        raise ModelError(f"{path} is not a detail mesh ({error}): get the pack again.") from error
    count = len(found["texels"])
    shapes = {
        "texels": (count,),
        "vertex_ids": (count, 3),
        "weights": (count, 3),
        "faces": (len(found["faces"]), 3),
    }
    ends = {"texels": size * size, "vertex_ids": vertices, "faces": count}
    fits = all(found[name].shape == shape for name, shape in shapes.items()) and all(
        found[name].size == 0 or (found[name].min() >= 0 and found[name].max() < end)
        for name, end in ends.items()
    )
    if not fits:
        raise ModelError(f"{path} does not fit the head of its pack: get the pack again.")
    return UvChart(size, *(torch.from_numpy(found[name]) for name in ARRAYS))
