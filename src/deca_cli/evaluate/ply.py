"""Read PLY meshes: ascii and binary of either byte order, any number type, polygons as fans."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from deca_cli.errors import InputError
from deca_cli.evaluate.files import read_bytes
from deca_cli.evaluate.meshes import Mesh

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

TYPES = {  # PLY name -> NumPy code
    "char": "i1",
    "int8": "i1",
    "uchar": "u1",
    "uint8": "u1",
    "short": "i2",
    "int16": "i2",
    "ushort": "u2",
    "uint16": "u2",
    "int": "i4",
    "int32": "i4",
    "uint": "u4",
    "uint32": "u4",
    "float": "f4",
    "float32": "f4",
    "double": "f8",
    "float64": "f8",
}
BYTE_ORDERS = {"ascii": "", "binary_little_endian": "<", "binary_big_endian": ">"}


@dataclass(frozen=True)
class Element:
    """One block of a PLY file."""

    name: str
    count: int
    properties: tuple[tuple[str, ...], ...]  # (type, name) or ("list", count type, item type, name)

    @property
    def lists(self) -> bool:
        """Whether a row may have any length."""
        return any(p[0] == "list" for p in self.properties)

    def row(self, order: str) -> np.dtype:
        """The fixed-size row of an element without lists."""
        return np.dtype([(p[1], order + TYPES[p[0]]) for p in self.properties])


def read_ply(path: Path) -> Mesh:
    """Read vertices and faces; raises InputError when the file does not parse."""
    data = read_bytes(path)
    end = data.find(b"end_header")
    if not data.startswith(b"ply") or end < 0:
        raise InputError(f"{path}: no PLY header. The file is damaged or not a PLY; export it again.")
    try:
        order, elements = _header(data[:end].decode("ascii", "replace"), path)
        body = data[data.index(b"\n", end) + 1 :]
        blocks = _ascii_blocks(body, elements) if order == "" else _binary_blocks(body, elements, order)
        return _mesh(blocks, elements)
    except (KeyError, IndexError, ValueError) as error:
        raise InputError(
            f"{path}: the PLY body does not fit its header ({error}). Export it again."
        ) from None


def _header(text: str, path: Path) -> tuple[str, list[Element]]:
    order, elements = None, []
    for words in (line.split() for line in text.splitlines()):
        if words[:1] == ["format"]:
            order = BYTE_ORDERS.get(words[1])
        elif words[:1] == ["element"]:
            elements.append(Element(words[1], int(words[2]), ()))
        elif words[:1] == ["property"]:
            last = elements[-1]
            elements[-1] = Element(last.name, last.count, (*last.properties, tuple(words[1:])))
    if order is None:
        raise InputError(
            f"{path}: a PLY format this tool does not know. Save it as ascii or binary PLY, or OBJ."
        )
    return order, elements


def _mesh(blocks: dict[str, NDArray], elements: list[Element]) -> Mesh:
    points = blocks["vertex"]
    names = next(e for e in elements if e.name == "vertex").row("<").names or ()
    vertices = np.stack([points[axis] for axis in "xyz"], axis=1).astype(np.float64)
    return Mesh(
        vertices, blocks.get("face", np.zeros((0, 3), np.int64)), {"red", "green", "blue"} <= set(names)
    )


def _fans(polygons: list[list[int]]) -> NDArray[np.int64]:
    triangles = [(p[0], b, c) for p in polygons for b, c in pairwise(p[1:])]
    return np.array(triangles, np.int64).reshape(-1, 3)


def _list_at(element: Element) -> int:
    """Position of the vertex list among the face's properties."""
    return next(i for i, p in enumerate(element.properties) if p[0] == "list" and p[-1].startswith("vert"))


def _ascii_blocks(body: bytes, elements: list[Element]) -> dict[str, NDArray]:
    lines, blocks, start = body.splitlines(), {}, 0
    for element in elements:
        rows = lines[start : start + element.count]
        start += element.count
        if len(rows) < element.count:
            raise ValueError(f"{element.count} rows of '{element.name}' promised, {len(rows)} found")
        if element.name == "face":
            skip = _list_at(element)  # scalars before the list take one word each
            words = [[int(float(w)) for w in row.split()[skip:]] for row in rows]
            blocks["face"] = _fans([w[1 : 1 + w[0]] for w in words])
        elif not element.lists:
            table = np.array([row.split() for row in rows], dtype=np.float64)
            blocks[element.name] = _columns(table, element)
    return blocks


def _columns(table: NDArray[np.float64], element: Element) -> NDArray:
    rows = np.zeros(len(table), [(p[1], "f8") for p in element.properties])
    for i, name in enumerate(rows.dtype.names or ()):
        rows[name] = table[:, i]
    return rows


def _binary_blocks(body: bytes, elements: list[Element], order: str) -> dict[str, NDArray]:
    blocks, start = {}, 0
    for element in elements:
        if element.lists:
            block, start = _binary_lists(body, start, element, order)
        else:
            row = element.row(order)
            block = np.frombuffer(body, row, element.count, start)
            start += row.itemsize * element.count
        blocks[element.name] = block
    return blocks


def _binary_lists(body: bytes, start: int, element: Element, order: str) -> tuple[NDArray, int]:
    """Rows with lists: read at once when all are triangles, else one by one."""
    if len(element.properties) == 1:
        _, count_type, item_type, _ = element.properties[0]
        row = np.dtype([("n", order + TYPES[count_type]), ("abc", order + TYPES[item_type], 3)])
        if start + row.itemsize * element.count <= len(body):
            table = np.frombuffer(body, row, element.count, start)
            if (table["n"] == 3).all():
                return table["abc"].astype(np.int64), start + table.nbytes
    polygons = []
    for _ in range(element.count):
        values = []
        for kind in element.properties:
            count = 1
            if kind[0] == "list":
                count = int(np.frombuffer(body, order + TYPES[kind[1]], 1, start)[0])
                start += np.dtype(TYPES[kind[1]]).itemsize
            item = np.dtype(order + TYPES[kind[2] if kind[0] == "list" else kind[0]])
            values.append(np.frombuffer(body, item, count, start).tolist())
            start += item.itemsize * count
        polygons.append([int(v) for v in values[_list_at(element)]] if element.name == "face" else [])
    return _fans(polygons), start
