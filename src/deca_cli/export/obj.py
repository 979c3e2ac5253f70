"""Wavefront OBJ meshes with texture coordinates and a material."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deca_cli.export.atomic import write_text

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    import numpy as np


def write_obj(
    path: Path,
    vertices: np.ndarray,
    faces: np.ndarray,
    uv_coordinates: np.ndarray,
    uv_faces: np.ndarray,
    *,
    material: str | None,
    comments: Iterable[str] = (),
    normals: np.ndarray | None = None,
) -> Path:
    """Write a mesh: `v` in metres, `vt` (u right, v up), `vn` if given, `f v/vt` or `f v/vt/vn` in the given winding.

    Args:
        path: the `.obj` to write.
        vertices: [V, 3] metres.
        faces: [F, 3] indices into `vertices`.
        uv_coordinates: [T, 2] in 0..1.
        uv_faces: [F, 3] indices into `uv_coordinates`.
        material: base name of the `.mtl` beside it and name of the material in it, or None for a plain mesh.
        comments: lines for the head of the file.
        normals: [V, 3] unit normals, one per vertex.

    Raises:
        OutputError: it cannot be written.
    """
    lines = [f"# {comment}" for comment in comments]
    if material is not None:
        lines.append(f"mtllib {material}.mtl")
    lines.append(f"o {path.stem}")
    lines += ["v %.6f %.6f %.6f" % tuple(row) for row in vertices.tolist()]  # noqa: UP031 - twice as fast as f-strings
    lines += ["vt %.6f %.6f" % tuple(row) for row in uv_coordinates.tolist()]  # noqa: UP031
    if normals is not None:
        lines += ["vn %.4f %.4f %.4f" % tuple(row) for row in normals.tolist()]  # noqa: UP031
    if material is not None:
        lines.append(f"usemtl {material}")
    lines.append("s 1")
    indices = (faces, uv_faces) if normals is None else (faces, uv_faces, faces)
    corner = "/".join(["%d"] * len(indices))
    form = f"f {corner} {corner} {corner}"
    lines += [form % tuple(row) for row in _corners(indices)]
    return write_text(path, "\n".join(lines) + "\n")


def _corners(indices: tuple[np.ndarray, ...]) -> list[list[int]]:
    """Rows v0, t0 (, n0), v1, t1 (, n1), v2, t2 (, n2), counted from one as OBJ does."""
    import numpy as np

    rows: list[list[int]] = (np.stack(indices, axis=-1).reshape(len(indices[0]), -1) + 1).tolist()
    return rows


def write_mtl(path: Path, *, texture: str) -> Path:
    """Write a matt material with a colour picture that lies beside it.

    Args:
        path: the `.mtl` to write; its stem is the material's name.
        texture: file name of the picture, without a folder, so that the files can be moved together.

    Raises:
        OutputError: it cannot be written.
    """
    return write_text(
        path,
        f"newmtl {path.stem}\nKa 1.000 1.000 1.000\nKd 1.000 1.000 1.000\nKs 0.000 0.000 0.000\n"
        f"illum 1\nmap_Kd {texture}\n",
    )
