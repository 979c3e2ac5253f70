"""Read and write the meshes that benchmarks exchange: OBJ and PLY, vertices in file order, nothing merged."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from itertools import chain, pairwise
from typing import TYPE_CHECKING

import numpy as np

from deca_cli.errors import InputError
from deca_cli.evaluate.files import read_bytes
from deca_cli.export.atomic import write_bytes, write_text

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray


@dataclass(frozen=True)
class Mesh:
    """A triangle mesh as its file has it."""

    vertices: NDArray[np.float64]  # [V, 3] unit and frame of the file
    faces: NDArray[np.int64]  # [F, 3]
    has_vertex_colours: bool = False


def read_mesh(path: Path) -> Mesh:
    """Read an .obj or .ply file; raises InputError when it is neither or does not parse."""
    from deca_cli.evaluate.ply import read_ply

    reader = {".obj": read_obj, ".ply": read_ply}.get(path.suffix.lower())
    if reader is None:
        raise InputError(f"{path}: not a mesh this tool reads. Save it as .obj or .ply.")
    mesh = reader(path)
    if len(mesh.faces) and not 0 <= mesh.faces.min() <= mesh.faces.max() < len(mesh.vertices):
        raise InputError(
            f"{path}: a face names vertex {mesh.faces.max() + 1}, but there are only {len(mesh.vertices)}. "
            "The file is cut off or its faces are numbered wrongly; export it again."
        )
    return mesh


def read_obj(path: Path) -> Mesh:
    """OBJ: faces `v`, `v/vt`, `v/vt/vn` or `v//vn`, polygons become fans, colours after the position are noted."""
    lines = read_bytes(path).splitlines()
    vertices, has_colours = _obj_vertices([line[2:] for line in lines if line.startswith(b"v ")], path)
    faces = _obj_faces([line for line in lines if line.startswith(b"f ")], len(vertices), path)
    return Mesh(vertices, faces, has_colours)


def read_obj_vertices(path: Path) -> NDArray[np.float64]:
    """Only the vertices [V, 3]; scans are large, and the measurement needs no more of them."""
    data = read_bytes(path)
    start = 0 if data.startswith(b"v ") else data.find(b"\nv ") + 1
    end = data.find(b"\n", data.rfind(b"\nv ") + 1)
    block = data[start : end if end > 0 else len(data)]
    lines = block.count(b"\n") + 1
    if (
        block.startswith(b"v ") and block.count(b"\nv ") == lines - 1
    ):  # one unbroken block: no need to cut it up
        numbers = _numbers(block.replace(b"\nv ", b" ")[2:])
        if len(numbers) == 3 * lines:
            return numbers.reshape(-1, 3)
    return _obj_vertices([line[2:] for line in data.splitlines() if line.startswith(b"v ")], path)[0]


def _numbers(text: bytes) -> NDArray[np.float64]:
    """All numbers of a text, or none when anything in it is no number (callers count them)."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", DeprecationWarning)  # what NumPy 1 does where NumPy 2 raises
        try:
            return np.fromstring(text, sep=" ", dtype=np.float64)
        except (ValueError, DeprecationWarning):
            return np.zeros(0)


def _obj_vertices(lines: list[bytes], path: Path) -> tuple[NDArray[np.float64], bool]:
    if not lines:
        raise InputError(f"{path}: no vertices ('v x y z' lines) in it. Is it a mesh?")
    columns = len(lines[0].split())
    numbers = _numbers(b" ".join(lines))
    if columns < 3 or len(numbers) != columns * len(lines):
        wrong = next((line for line in lines if len(_numbers(line)) != columns), lines[0])
        raise InputError(
            f"{path}: cannot read the vertex line 'v {wrong.decode(errors='replace')}'. Export it again."
        )
    return numbers.reshape(-1, columns)[:, :3].copy(), columns >= 6


def _obj_faces(lines: list[bytes], vertices: int, path: Path) -> NDArray[np.int64]:
    if not lines:
        return np.zeros((0, 3), np.int64)
    text = b" ".join(line[2:] for line in lines)
    slashes = {line.count(b"/") for line in lines}
    if len(slashes) == 1 and text.count(b"-") == 0 and {len(line.split()) for line in lines} == {4}:
        numbers = _numbers(text.replace(b"//", b"/0/").replace(b"/", b" "))
        per_line = {0: 3, 3: 6, 6: 9}.get(slashes.pop(), 0)
        if len(numbers) == per_line * len(lines):
            return numbers.reshape(len(lines), 3, -1)[:, :, 0].astype(np.int64) - 1
    return _obj_polygons(lines, vertices, path)


def _obj_polygons(lines: list[bytes], vertices: int, path: Path) -> NDArray[np.int64]:
    """Any mixture of polygons; negative numbers count back from the last vertex of the file."""
    triangles = []
    for line in lines:
        try:
            corners = [int(word.split(b"/")[0]) for word in line.split()[1:]]
        except ValueError:
            raise InputError(
                f"{path}: cannot read the face line '{line.decode(errors='replace')}'."
            ) from None
        corners = [c - 1 if c > 0 else vertices + c for c in corners]
        triangles += [(corners[0], b, c) for b, c in pairwise(corners[1:])]
    return np.array(triangles, np.int64).reshape(-1, 3)


def write_obj(path: Path, vertices: NDArray[np.floating], faces: NDArray[np.integer]) -> None:
    """Write positions and triangles only: no colours, texture or normals, so that every reader understands it."""
    points = (f"v {x:.9g} {y:.9g} {z:.9g}\n" for x, y, z in vertices.tolist())
    triangles = (f"f {a} {b} {c}\n" for a, b, c in (faces + 1).tolist())
    write_text(path, "".join(chain(points, triangles)))


def write_coloured_ply(
    path: Path, vertices: NDArray[np.floating], faces: NDArray[np.integer], colours: NDArray[np.uint8]
) -> None:
    """Write a binary PLY with one RGB colour [V, 3] per vertex."""
    point = np.dtype([("xyz", "<f4", 3), ("rgb", "u1", 3)])
    points = np.zeros(len(vertices), point)
    points["xyz"], points["rgb"] = vertices, colours
    triangles = np.zeros(len(faces), np.dtype([("n", "u1"), ("abc", "<i4", 3)]))
    triangles["n"], triangles["abc"] = 3, faces
    coordinates = "".join(f"property float {axis}\n" for axis in "xyz")
    channels = "".join(f"property uchar {name}\n" for name in ("red", "green", "blue"))
    header = (
        f"ply\nformat binary_little_endian 1.0\nelement vertex {len(vertices)}\n{coordinates}{channels}"
        f"element face {len(faces)}\nproperty list uchar int vertex_indices\nend_header\n"
    )
    write_bytes(path, header.encode() + points.tobytes() + triangles.tobytes())
