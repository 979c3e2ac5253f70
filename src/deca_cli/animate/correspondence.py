"""Which points of two heads belong together: align by landmarks, bend to the landmarks, take the nearest.

1. A similarity (rotation, scale, shift; Umeyama 1991) brings the other head's 68 landmarks onto this head's.
2. What is left between the landmarks is spread over the surface by smooth radial functions (|r|, polyharmonic), so that
   eye corners, lips and brows meet exactly.
3. Every skin vertex of this head takes the mean of the nearest vertices of the other, weighted by 1 / distance.
   Distance counts direction too: normals that differ by 60 degrees count like `NORMAL_M` of way, so that the upper lip
   does not take the lower lip's motion, nor the outside of a lid its inside.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from deca_cli.render.normals import vertex_normals

if TYPE_CHECKING:
    from deca_cli.heads.assets import HeadAssets

NORMAL_M = 0.012  # metres that a difference of 1 between unit normals is worth
NEAREST = 4  # vertices that are averaged
FARTHEST_M = 0.02  # vertices whose nearest partner is farther away are left out
RETURN_M = 0.008  # ... and those whose partner's own partner is farther from them than this: the inside of a mouth, say
FACE_M = 0.05  # vertices farther than this from all landmarks are left out
SMOOTHING = 1e-3  # of the bending, relative
INSIDE = ("mouth_cavity", "eye_sockets", "tongue", "teeth_upper", "teeth_lower", "gums")


@dataclass(frozen=True, eq=False)
class Correspondence:
    """Points of one head (here) and where their partners lie on another (there)."""

    here: np.ndarray  # int64 [K] vertices
    there: np.ndarray  # int64 [K, NEAREST] vertices of the other head
    weights: np.ndarray  # float32 [K, NEAREST], rows sum to 1
    turn: np.ndarray  # float32 [3, 3] rotation times scale: displacements there -> displacements here
    area: np.ndarray  # float32 [K] square metres around each point here

    def carry(self, displacements: np.ndarray) -> np.ndarray:
        """[N, V_there, 3] displacements of the other head -> [N, K, 3] of this one."""
        mixed = np.einsum("nkjd,kj->nkd", displacements[:, self.there], self.weights)
        return np.asarray(mixed @ self.turn.T, np.float32)


def correspond(here: HeadAssets, there: HeadAssets) -> Correspondence:
    """Match the faces of two heads in neutral."""
    points, partners = skin(here), skin(there)
    marks_here, marks_there = landmarks(here), landmarks(there)
    turn, shift = similarity(marks_there, marks_here)
    moved = there.template_vertices @ turn.T + shift
    moved = bend(moved, marks_there @ turn.T + shift, marks_here)
    near = np.linalg.norm(here.template_vertices[points, None] - marks_here, axis=-1).min(axis=1) < FACE_M
    points = points[near]
    normals_here = _normals(here.template_vertices, here.faces)
    normals_there = _normals(moved.astype(np.float32), there.faces)
    features = torch.from_numpy(np.hstack([here.template_vertices, NORMAL_M * normals_here])[points]).float()
    others = torch.from_numpy(np.hstack([moved, NORMAL_M * normals_there])[partners]).float()
    distance, nearest = torch.cdist(features, others).topk(NEAREST, largest=False)
    back = torch.cdist(others, features).argmin(dim=1)[nearest[:, 0]].numpy()
    astray = np.linalg.norm(here.template_vertices[points] - here.template_vertices[points[back]], axis=1)
    kept = (distance[:, 0] < FARTHEST_M).numpy() & (astray < RETURN_M)
    inverse = 1 / (distance.numpy()[kept] + 1e-4)
    return Correspondence(
        here=points[kept],
        there=partners[nearest.numpy()[kept]],
        weights=(inverse / inverse.sum(axis=1, keepdims=True)).astype(np.float32),
        turn=turn.astype(np.float32),
        area=vertex_areas(here)[points[kept]],
    )


def onto_itself(head: HeadAssets) -> Correspondence:
    """The face of a head matched with itself."""
    points = skin(head)
    near = (
        np.linalg.norm(head.template_vertices[points, None] - landmarks(head), axis=-1).min(axis=1) < FACE_M
    )
    points = points[near]
    return Correspondence(
        points,
        points[:, None],
        np.ones((len(points), 1), np.float32),
        np.eye(3, dtype=np.float32),
        vertex_areas(head)[points],
    )


def skin(head: HeadAssets) -> np.ndarray:
    """int64 vertices outside the mouth and not on the eyeballs, those that belong to some triangle."""
    outside = np.zeros(len(head.template_vertices), bool)
    outside[head.faces.reshape(-1)] = True
    eyes = [index for index, name in enumerate(head.joint_names) if name.startswith("eye")]
    if eyes:
        outside &= head.skin_weights[:, eyes].sum(axis=1) < 0.5
    if head.vertex_regions is not None:
        hidden = [index for index, name in enumerate(head.region_names) if name in INSIDE]
        outside &= ~np.isin(head.vertex_regions, hidden)
    return np.flatnonzero(outside)


def landmarks(head: HeadAssets) -> np.ndarray:
    """float64 [68, 3] of the neutral head, contour fixed on the mesh."""
    corners = head.template_vertices[head.faces[head.full_landmark_faces]].astype(np.float64)
    return np.asarray(np.einsum("lkd,lk->ld", corners, head.full_landmark_barycentrics))


def similarity(moving: np.ndarray, fixed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rotation times scale [3, 3] and shift [3] with least squares of `moving @ turn.T + shift - fixed` (Umeyama 1991)."""
    centre_m, centre_f = moving.mean(axis=0), fixed.mean(axis=0)
    a, b = moving - centre_m, fixed - centre_f
    u, values, vt = np.linalg.svd(b.T @ a)
    sign = np.array([1.0, 1.0, np.sign(np.linalg.det(u @ vt))])
    turn = (u * sign) @ vt * ((values * sign).sum() / (a**2).sum())
    return turn, centre_f - turn @ centre_m


def bend(points: np.ndarray, marks: np.ndarray, goals: np.ndarray) -> np.ndarray:
    """Move points [N, 3] as landmarks [L, 3] move to their goals; far away it is an affine map."""
    count = len(marks)
    kernel = np.linalg.norm(marks[:, None] - marks, axis=-1)
    kernel -= SMOOTHING * kernel.mean() * np.eye(count)  # |r| is conditionally negative definite
    flat = np.hstack([np.ones((count, 1)), marks])
    system = np.block([[kernel, flat], [flat.T, np.zeros((4, 4))]])
    wanted = np.vstack([goals - marks, np.zeros((4, 3))])
    solution = np.linalg.lstsq(system, wanted, rcond=None)[0]
    away = np.linalg.norm(points[:, None] - marks, axis=-1)
    moved = away @ solution[:count] + np.hstack([np.ones((len(points), 1)), points]) @ solution[count:]
    return np.asarray(points + moved)


def vertex_areas(head: HeadAssets) -> np.ndarray:
    """float32 [V], a third of the area of the triangles around each vertex, square metres."""
    a, b, c = (head.template_vertices[head.faces[:, k]].astype(np.float64) for k in range(3))
    area = np.linalg.norm(np.cross(b - a, c - a), axis=1) / 6
    return np.bincount(head.faces.reshape(-1), np.repeat(area, 3), len(head.template_vertices)).astype(
        np.float32
    )


def _normals(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    normals = vertex_normals(
        torch.from_numpy(vertices)[None], torch.from_numpy(faces.astype(np.int64)), eps=1e-12
    )
    return np.asarray(normals[0].numpy())
