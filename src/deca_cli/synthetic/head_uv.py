"""The texture chart of the open head: one seam-free piece for face, scalp and neck, islands for everything else.

The main piece is cut from the nape up to the crown and laid into the upper four fifths of the unit square. Ears,
mouth cavity, eye sockets, eyeballs, tongue and teeth lie in a strip below it. (u right, v up), u grows with x.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from deca_cli.synthetic.head_chart import boundary_loops, circle, fill_holes, flatten_disc
from deca_cli.synthetic.head_teeth import COLUMNS, ROWS

if TYPE_CHECKING:
    from deca_cli.synthetic.head_regions import Parts

MAIN_BOX = (0.004, 0.205, 0.992, 0.791)  # u, v, width, height
# Left, lower and size of the square slots of the strip.
SLOTS = {
    "eyeball_left": (0.180, 0.006, 0.170),
    "eyeball_right": (0.004, 0.006, 0.170),
    "ear_left": (0.536, 0.006, 0.176),
    "ear_right": (0.354, 0.006, 0.176),
    "mouth": (0.718, 0.104, 0.092),
    "tongue": (0.816, 0.104, 0.092),
    "socket_left": (0.914, 0.152, 0.044),
    "socket_right": (0.914, 0.104, 0.044),
    "eyeball_left_back": (0.964, 0.172, 0.024),
    "eyeball_right_back": (0.964, 0.140, 0.024),
    "tongue_back": (0.964, 0.108, 0.024),
}
TEETH_BOXES = {"teeth_upper": (0.718, 0.056, 0.278, 0.040), "teeth_lower": (0.718, 0.006, 0.278, 0.040)}
EYEBALL_RING = 8  # vertices per ring of MakeHuman's eyeball
EYEBALL_POWER = 0.75  # radius = (angle from the pupil)^power: enlarges the iris


@dataclass(frozen=True)
class Chart:
    """Texture coordinates [T,2] in [0,1] and the texture triangles [F,3] beside the mesh's."""

    coordinates: np.ndarray
    faces: np.ndarray


class _ChartBuilder:
    """Collects islands: each gets its own texture vertices."""

    def __init__(self, face_count: int) -> None:
        self.coordinates: list[np.ndarray] = []
        self.faces = np.full((face_count, 3), -1)
        self.count = 0

    def add(self, face_ids: np.ndarray, local_faces: np.ndarray, uv: np.ndarray) -> None:
        self.faces[face_ids] = local_faces + self.count
        self.coordinates.append(uv)
        self.count += len(uv)

    def chart(self) -> Chart:
        return Chart(np.concatenate(self.coordinates), self.faces)


def _local(faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Vertices used by the faces, and the faces in numbers within that list."""
    used, inverse = np.unique(faces, return_inverse=True)
    return used, inverse.reshape(faces.shape)


def back_seam(mean: np.ndarray, faces: np.ndarray) -> list[int]:
    """Midline vertices from the nape (on the neck rim) up to the crown (highest vertex)."""
    rim = boundary_loops(faces)[0]
    on_midline = np.abs(mean[:, 0]) < 1e-9
    edges = {(int(a), int(b)) for face in faces for a, b in zip(face, np.roll(face, -1), strict=True)}
    middle = [vertex for vertex in rim if on_midline[vertex]]
    path = [min(middle, key=lambda vertex: mean[vertex, 2])]
    crown = max(np.flatnonzero(on_midline & np.isin(np.arange(len(mean)), faces)), key=lambda v: mean[v, 1])
    while path[-1] != crown:
        here = path[-1]
        ring = {b for a, b in edges if a == here} | {a for a, b in edges if b == here}
        path.append(next(v for v in sorted(ring) if on_midline[v] and v not in path))
    return path


def _cut(mean: np.ndarray, faces: np.ndarray, seam: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """Double the seam's vertices (not its upper end): copies serve the triangles on the subject's right."""
    cut_faces = faces.copy()
    copies = {vertex: len(mean) + number for number, vertex in enumerate(seam[:-1])}
    right_side = mean[faces].mean(1)[:, 0] < 0
    for vertex, copy in copies.items():
        cut_faces[(cut_faces == vertex) & right_side[:, None]] = copy
    return cut_faces, np.concatenate([mean, mean[seam[:-1]]])


def _perimeter(points: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """Spread points [N,3] along a polyline `corners` [K,2] in proportion to their arc length. [N,2]."""
    steps = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))])
    sides = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(corners, axis=0), axis=1))])
    along = steps / steps[-1] * sides[-1]
    return np.stack([np.interp(along, sides, corners[:, axis]) for axis in range(2)], 1)


def _main_border(vertices: np.ndarray, loop: list[int], crown: int, nape: int, copy: int) -> np.ndarray:
    """Place the border loop of the cut head on the rectangle of MAIN_BOX; `loop` starts at the crown."""
    u, v, width, height = MAIN_BOX
    right, top, middle = u + width, v + height, u + width / 2
    first, second = sorted((loop.index(nape), loop.index(copy)))
    closed = [*loop, crown]
    down = _perimeter(vertices[closed[: first + 1]], np.array([(middle, top), (u, top), (u, v)]))
    rim = _perimeter(vertices[closed[first : second + 1]], np.array([(u, v), (right, v)]))
    up = _perimeter(vertices[closed[second:]], np.array([(right, v), (right, top), (middle, top)]))
    return np.concatenate([down, rim[1:], up[1:-1]])


def _add_main(builder: _ChartBuilder, mean: np.ndarray, faces: np.ndarray, parts: Parts) -> None:
    ids = np.flatnonzero(parts.main)
    seam = back_seam(mean, faces[parts.skin_faces])
    cut_faces, vertices = _cut(mean, faces[ids], seam)
    used, local_faces = _local(cut_faces)
    filled, filled_vertices = fill_holes(local_faces, vertices[used])
    loop = boundary_loops(filled)[0]
    crown, nape = (int(np.searchsorted(used, vertex)) for vertex in (seam[-1], seam[0]))
    copy = int(np.searchsorted(used, len(mean)))
    start = loop.index(crown)
    loop = loop[start:] + loop[:start]
    border = _main_border(filled_vertices, loop, crown, nape, copy)
    density = np.concatenate([parts.texture_density[ids], np.full(len(filled) - len(ids), 0.3)])
    uv = flatten_disc(filled_vertices, filled, np.array(loop), border, density=density)
    builder.add(ids, local_faces, uv[: len(used)])


def _add_disc(
    builder: _ChartBuilder, mean: np.ndarray, faces: np.ndarray, ids: np.ndarray, slot: str
) -> None:
    """Flatten a disc-shaped piece into the circle of its slot, turned so that up stays up."""
    used, local_faces = _local(faces[ids])
    points = mean[used]
    loop = boundary_loops(local_faces)[0]
    offset = points[loop] - points[loop].mean(0)
    start = int(np.argmax(offset[:, 1]))
    loop = loop[start:] + loop[:start]
    uv = flatten_disc(points, local_faces, np.array(loop), circle(points, loop, np.pi / 2))
    builder.add(ids, local_faces, _into_slot(uv, slot))


def _into_slot(unit: np.ndarray, slot: str) -> np.ndarray:
    left, lower, size = SLOTS[slot]
    return (unit + 1.0) * (size / 2) + np.array([left, lower])


def _split_back(mean: np.ndarray, faces: np.ndarray, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Triangles of a closed piece without, and only, those around its rearmost vertex."""
    used = np.unique(faces[ids])
    rear = used[np.argmin(mean[used, 2])]
    back = (faces[ids] == rear).any(1)
    return ids[~back], ids[back]


def _split_eyeball(mean: np.ndarray, faces: np.ndarray, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Triangles of an eyeball without, and only, the cap inside its rearmost ring of vertices."""
    used = np.unique(faces[ids])
    ring = used[np.argsort(mean[used, 2], kind="stable")[:EYEBALL_RING]]
    back = np.isin(faces[ids], ring).all(1)
    return ids[~back], ids[back]


def gaze_directions(eyeball: np.ndarray) -> np.ndarray:
    """Vertices of an eyeball [N,3] seen from its centre, turned so that its axis points along z. [N,3]."""
    centred = eyeball - eyeball.mean(0)
    order = np.argsort(centred[:, 2], kind="stable")
    axis = centred[order[-EYEBALL_RING:]].mean(0) - centred[order[:EYEBALL_RING]].mean(0)
    forward = axis / np.linalg.norm(axis)
    right = np.cross([0.0, 1.0, 0.0], forward)
    right /= np.linalg.norm(right)
    return centred @ np.stack([right, np.cross(forward, right), forward], 1)


def _add_eyeball(
    builder: _ChartBuilder, mean: np.ndarray, faces: np.ndarray, ids: np.ndarray, slot: str
) -> None:
    """Map the eyeball around its gaze axis: radius grows with the angle from the pupil."""
    front, back = _split_eyeball(mean, faces, ids)
    used, local_faces = _local(faces[front])
    direction = gaze_directions(mean[np.unique(faces[ids])])[np.isin(np.unique(faces[ids]), used)]
    angle = np.arctan2(np.hypot(direction[:, 0], direction[:, 1]), direction[:, 2])
    radius = (angle / angle.max()) ** EYEBALL_POWER
    flat = direction[:, :2] / np.maximum(np.hypot(direction[:, 0], direction[:, 1]), 1e-12)[:, None]
    builder.add(front, local_faces, _into_slot(flat * radius[:, None], slot))
    used, local_faces = _local(faces[back])  # a flat ring: its own shape serves
    across = mean[used, :2] - mean[used, :2].mean(0)
    mirrored = across * np.array([-1.0, 1.0])  # seen from behind
    builder.add(back, local_faces, _into_slot(mirrored / np.abs(across).max(), slot + "_back"))


def _add_teeth(builder: _ChartBuilder, faces: np.ndarray, ids: np.ndarray, slot: str) -> None:
    left, lower, width, height = TEETH_BOXES[slot]
    used, local_faces = _local(faces[ids])
    row, column = np.divmod(used - used[0], COLUMNS)
    along = row / (ROWS - 1)
    vertical = 1.0 - along if slot == "teeth_upper" else along
    uv = np.stack([left + width * column / (COLUMNS - 1), lower + height * vertical], 1)
    builder.add(ids, local_faces, uv)


def build_chart(mean: np.ndarray, faces: np.ndarray, parts: Parts) -> Chart:
    """Texture chart of the mean head [V,3] with triangles [F,3]."""
    builder = _ChartBuilder(len(faces))
    _add_main(builder, mean, faces, parts)
    for slot in ("ear_left", "ear_right", "mouth", "socket_left", "socket_right"):
        _add_disc(builder, mean, faces, np.flatnonzero(parts.pieces[slot]), slot)
    for slot in ("eyeball_left", "eyeball_right"):
        _add_eyeball(builder, mean, faces, np.flatnonzero(parts.pieces[slot]), slot)
    front, back = _split_back(mean, faces, np.flatnonzero(parts.pieces["tongue"]))
    _add_disc(builder, mean, faces, front, "tongue")
    _add_disc(builder, mean, faces, back, "tongue_back")
    for slot in TEETH_BOXES:
        _add_teeth(builder, faces, np.flatnonzero(parts.pieces[slot]), slot)
    return builder.chart()
