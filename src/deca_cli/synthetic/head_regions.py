"""Which vertices and triangles of the open head belong to what: pieces for the chart, labels for the generator."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from deca_cli.synthetic.head_source import HEAD_VERTICES, SourceHead
from deca_cli.synthetic.head_teeth import ARCH_VERTICES, gum_rows

SKIN = slice(0, 4200)
TONGUE = slice(4200, 4426)
EYEBALL_LEFT = slice(4426, 4498)
EYEBALL_RIGHT = slice(4498, HEAD_VERTICES + 32)
TEETH_UPPER = slice(HEAD_VERTICES + 32, HEAD_VERTICES + 32 + ARCH_VERTICES)
TEETH_LOWER = slice(TEETH_UPPER.stop, TEETH_UPPER.stop + ARCH_VERTICES)

REGION_NAMES = (
    "skin",
    "scalp",
    "neck",
    "ears",
    "lips",
    "brows",
    "mouth_cavity",
    "eye_sockets",
    "tongue",
    "eyeball_left",
    "eyeball_right",
    "teeth_upper",
    "teeth_lower",
    "gums",
)


@dataclass(frozen=True)
class Parts:
    """Disjoint pieces of the surface, as bool masks over the triangles [F]."""

    main: np.ndarray  # face, scalp and neck in one piece
    skin_faces: np.ndarray  # all skin, cavities and ears included
    pieces: dict[str, np.ndarray]  # the islands by slot name
    texture_density: np.ndarray  # [F] how much larger a triangle shall be in the chart


EAR_MOTION = 0.0015  # metres by which MakeHuman's `ear-wing` control moves a vertex of the ear proper


def ear_faces(source: SourceHead, side: str) -> np.ndarray:
    """Bool [F]: the ear of a side ("l" or "r"), as one disc-shaped piece of the skin.

    The vertices that MakeHuman's `ear-wing` control moves, and what they enclose.
    """
    shape = source.local_up[source.local_names.index(f"{side}-ear-wing-incr")]
    moved = np.linalg.norm(shape, axis=1) > EAR_MOTION
    skin = _within(source.faces, SKIN)
    outside = skin & ~moved[source.faces].all(1)
    return skin & ~_largest_piece(source.faces, outside)


def _largest_piece(faces: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """Bool [F]: the largest edge-connected piece of the chosen triangles."""
    ids = np.flatnonzero(chosen)
    edges = np.sort(faces[ids][:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=1)
    owner = np.repeat(np.arange(len(ids)), 3)
    order = np.lexsort((edges[:, 1], edges[:, 0]))
    edges, owner = edges[order], owner[order]
    same = (edges[1:] == edges[:-1]).all(1)
    pairs = (owner[:-1][same], owner[1:][same])
    graph = coo_matrix((np.ones(same.sum()), pairs), shape=(len(ids),) * 2)
    _, label = connected_components(graph, directed=False)
    piece = np.zeros(len(faces), bool)
    piece[ids[label == np.bincount(label).argmax()]] = True
    return piece


def _closed_cavity(faces: np.ndarray, cavity: np.ndarray, skin: np.ndarray) -> np.ndarray:
    """The cavity [F] up to the visible margin: one more ring, then triangles with all corners on it."""
    corner = np.zeros(int(faces.max()) + 1, bool)
    corner[faces[cavity]] = True
    cavity = cavity | (skin & corner[faces].any(1))
    while True:
        corner[faces[cavity]] = True
        grown = cavity | (skin & corner[faces].all(1))
        if (grown == cavity).all():
            return cavity
        cavity = grown


def _within(faces: np.ndarray, part: slice) -> np.ndarray:
    return ((faces >= part.start) & (faces < part.stop)).all(1)


def _texture_density(mean: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """More texture for the face: full in front, 0.6 at the back of the head and 0.5 on the neck."""
    centre = mean[faces].mean(1)
    front = np.clip((centre[:, 2] + 0.01) / 0.07, 0.0, 1.0)
    above_chin = np.clip((centre[:, 1] + 0.13) / 0.05, 0.0, 1.0)
    below_hairline = np.clip((0.12 - centre[:, 1]) / 0.05, 0.0, 1.0)
    return 0.5 + 1.1 * front * above_chin * (0.3 + 0.7 * below_hairline)


def build_parts(source: SourceHead, mean: np.ndarray) -> Parts:
    """Split the surface; `mean` [V,3] is the mean head in the head frame (origin between the ears)."""
    faces = source.faces
    skin = _within(faces, SKIN)
    pieces = {
        "mouth": _closed_cavity(faces, source.cavity == 1, skin),
        "socket_left": _closed_cavity(faces, source.cavity == 2, skin),
        "socket_right": _closed_cavity(faces, source.cavity == 3, skin),
        "ear_left": ear_faces(source, "l"),
        "ear_right": ear_faces(source, "r"),
        "tongue": _within(faces, TONGUE),
        "eyeball_left": _within(faces, EYEBALL_LEFT),
        "eyeball_right": _within(faces, EYEBALL_RIGHT),
        "teeth_upper": _within(faces, TEETH_UPPER),
        "teeth_lower": _within(faces, TEETH_LOWER),
    }
    main = skin.copy()
    for piece in pieces.values():
        main &= ~piece
    return Parts(main, skin, pieces, _texture_density(mean, faces))


def inside_polygon(points: np.ndarray, polygon: np.ndarray) -> np.ndarray:
    """Bool [N]: points [N,2] inside a closed polygon [K,2] (crossing rule)."""
    inside = np.zeros(len(points), bool)
    for (x0, y0), (x1, y1) in zip(polygon, np.roll(polygon, -1, 0), strict=True):
        crosses = (y0 > points[:, 1]) != (y1 > points[:, 1])
        height = y1 - y0 if y1 != y0 else 1e-30
        inside ^= crosses & (points[:, 0] < (x1 - x0) * (points[:, 1] - y0) / height + x0)
    return inside


def distance_to_polyline(points: np.ndarray, line: np.ndarray) -> np.ndarray:
    """Distance [N] of points [N,D] to an open polyline [K,D]."""
    best = np.full(len(points), np.inf)
    for start, end in pairwise(line):
        along = end - start
        share = np.clip((points - start) @ along / (along @ along), 0.0, 1.0)
        best = np.minimum(best, np.linalg.norm(points - start - share[:, None] * along, axis=1))
    return best


# Lower border of the scalp: angle around the vertical axis (degrees from the front) and height y in metres.
HAIRLINE = np.array(
    [(0, 0.105), (25, 0.106), (42, 0.092), (52, 0.070), (62, 0.045), (75, 0.020), (88, 0.000), (110, -0.030),
     (130, -0.050), (180, -0.058)]
)  # fmt: skip
# Upper border of the neck below jaw and hair: (z, y) in metres from back to front.
NECK_BORDER = np.array(
    [(-0.10, -0.056), (-0.04, -0.052), (0.00, -0.046), (0.03, -0.060), (0.06, -0.076), (0.10, -0.083)]
)


def scalp_height(points: np.ndarray) -> np.ndarray:
    """Height of points [N,3] above the hairline in metres, [N]; positive on the scalp."""
    angle = np.degrees(np.arctan2(np.abs(points[:, 0]), points[:, 2]))
    return points[:, 1] - np.interp(angle, HAIRLINE[:, 0], HAIRLINE[:, 1])


def vertex_regions(source: SourceHead, mean: np.ndarray, parts: Parts, landmarks: np.ndarray) -> np.ndarray:
    """Region number of every vertex, uint8 [V], see REGION_NAMES.

    Args:
        source: the sampled head.
        mean: [V,3] in the head frame.
        parts: pieces of the surface.
        landmarks: [68,3] on the mean head, for lips and brows.
    """
    number = {name: index for index, name in enumerate(REGION_NAMES)}
    region = np.zeros(len(mean), np.uint8)
    region[scalp_height(mean) > 0] = number["scalp"]
    region[mean[:, 1] < np.interp(mean[:, 2], *NECK_BORDER.T)] = number["neck"]
    for ear in ("ear_left", "ear_right"):
        region[np.unique(source.faces[parts.pieces[ear]])] = number["ears"]
    front = mean[:, 2] > landmarks[[48, 54], 2].mean() - 0.015
    region[front & inside_polygon(mean[:, :2], landmarks[48:60, :2])] = number["lips"]
    for brow in (landmarks[17:22], landmarks[22:27]):
        region[distance_to_polyline(mean, brow) < 0.005] = number["brows"]
    border = np.zeros(len(mean), bool)
    border[np.unique(source.faces[parts.main])] = True
    for piece, name in (
        ("mouth", "mouth_cavity"),
        ("socket_left", "eye_sockets"),
        ("socket_right", "eye_sockets"),
    ):
        inner = np.unique(source.faces[parts.pieces[piece]])
        region[inner[~border[inner]]] = number[name]
    for name, part in (("tongue", TONGUE), ("eyeball_left", EYEBALL_LEFT), ("eyeball_right", EYEBALL_RIGHT)):
        region[part] = number[name]
    for name, part in (("teeth_upper", TEETH_UPPER), ("teeth_lower", TEETH_LOWER)):
        region[part] = np.where(gum_rows(), number["gums"], number[name])
    return region
