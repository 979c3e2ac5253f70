"""`--obj`: the coarse mesh with a texture from the photo, and the detail mesh where the pack has one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deca_cli import __version__
from deca_cli.export.obj import write_mtl, write_obj
from deca_cli.export.pictures import write_picture
from deca_cli.export.texture import texture_of

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np

    from deca_cli.export.capture import Capture, Detail

MATERIAL = "head"
TEXTURE = "texture.png"


def write_meshes(capture: Capture, folder: Path) -> list[Path]:
    """Write `texture.png`, `head.mtl`, `head.obj` and, with a detail pack, `head_detail.obj`; metres, y up."""
    comments = [
        f"{capture.photo.path.name}, face {capture.face_number}, made by deca-cli {__version__}",
        f"model {capture.model}, {capture.model_licence}",
        "metres (the scale is a guess from one photo), y up, z out of the face, x to the subject's left",
    ]
    topology = capture.topology
    files = [
        write_picture(folder / TEXTURE, texture_of(capture)),
        write_mtl(folder / f"{MATERIAL}.mtl", texture=TEXTURE),
        write_obj(
            folder / "head.obj",
            capture.vertices,
            topology.faces,
            topology.uv_coordinates,
            topology.uv_faces,
            material=MATERIAL,
            comments=comments,
        ),
    ]
    if capture.detail is not None:
        files.append(write_detail_obj(folder, capture.detail, MATERIAL, comments))
    return files


def write_detail_obj(folder: Path, detail: Detail, material: str | None, comments: list[str]) -> Path:
    """Write `head_detail.obj`, with a normal for every vertex; vertices at one place are one, with several texture places."""
    import numpy as np

    kept, number = _welded(detail.vertices)
    normals = np.zeros((len(kept), 3))
    np.add.at(normals, number, _normals_at(detail))
    normals = _turned_to_faces(_unit(normals), detail.vertices[kept], number[detail.faces])
    return write_obj(
        folder / "head_detail.obj",
        detail.vertices[kept],
        number[detail.faces],
        detail.uv_coordinates,
        detail.faces,
        material=material,
        comments=comments,
        normals=normals,
    )


def _welded(vertices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which of [N, 3] vertices are the first at their place, in order, and for each vertex its number among them."""
    import numpy as np

    rows = np.ascontiguousarray(vertices).view(np.dtype((np.void, 3 * vertices.itemsize))).reshape(-1)
    _, first, place = np.unique(rows, return_index=True, return_inverse=True)
    order = np.argsort(first)
    number = np.empty(len(order), np.int64)
    number[order] = np.arange(len(order))
    return first[order], number[place.reshape(-1)]


def _normals_at(detail: Detail) -> np.ndarray:
    """Unit normals [P, 3] of the detail mesh, one of whose vertices lies in or at every covered texel."""
    import numpy as np

    size = detail.normals.shape[-1]
    columns = np.clip(np.floor(detail.uv_coordinates[:, 0] * size).astype(int), 0, size - 1)
    rows = np.clip(np.floor((1 - detail.uv_coordinates[:, 1]) * size).astype(int), 0, size - 1)
    return _unit(detail.normals[:, rows, columns].T)


def _turned_to_faces(normals: np.ndarray, vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Unit normals [N, 3]; where one looks away from a face around it, as in sharp folds, the faces' mean by angle."""
    import numpy as np

    corners = vertices[faces].astype(np.float64)  # [F, 3, 3]
    edges = _unit(np.roll(corners, -1, axis=1) - corners)
    flat = _unit(np.cross(edges[:, 0], edges[:, 1]))
    angles = np.arccos(np.clip(-(edges * np.roll(edges, 1, axis=1)).sum(axis=2), -1, 1))
    mean = np.zeros((len(vertices), 3))
    np.add.at(mean, faces, angles[..., None] * flat[:, None])
    away = np.zeros(len(vertices), bool)
    away[faces[(normals[faces] * flat[:, None]).sum(axis=2) < 0]] = True
    away &= np.linalg.norm(mean, axis=1) > 1e-6  # faces may cancel out
    return np.where(away[:, None], _unit(mean), normals)


def _unit(normals: np.ndarray) -> np.ndarray:
    import numpy as np

    return np.asarray(normals / np.maximum(np.linalg.norm(normals, axis=-1, keepdims=True), 1e-6))
