"""Refuse predictions that would give an absurd number, and say what is wrong with them and how to mend it.

An *error* makes the number meaningless: the image is refused. A *warning* is worth knowing but the number stands.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations
from typing import TYPE_CHECKING, Literal

import numpy as np

from deca_cli.evaluate.alignment import fit_landmarks
from deca_cli.evaluate.geometry import Surface
from deca_cli.evaluate.landmark_rows import SEVEN_NAMES
from deca_cli.evaluate.now import MM_PER_UNIT, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from deca_cli.errors import InputError
    from deca_cli.evaluate.meshes import Mesh

SUSPICIOUS_MM = 6.0  # fits of usable predictions stay below it: 3 mm of noise per landmark give about 4
HOPELESS_MM = 12.0
OFF_MESH_MM = 20.0
UNIT_TOLERANCE = 1.7  # heads differ by far less than this, units by at least 10
LEFT_RIGHT_SWAP = (3, 2, 1, 0, 4, 6, 5)


@dataclass(frozen=True)
class Problem:
    """One thing wrong with a prediction."""

    level: Literal["error", "warning"]
    kind: str  # short name for tables
    message: str  # what, why, what to do


HOPELESS_KINDS = frozenset(
    {"no-faces", "not-finite", "unusable"}
)  # nothing to measure, not even with --force


def is_refused(problems: Sequence[Problem], *, force: bool) -> bool:
    """Whether a prediction with these problems is left out; `force` measures what can be measured at all."""
    return any(p.level == "error" and (not force or p.kind in HOPELESS_KINDS) for p in problems)


def unusable(error: InputError) -> Problem:
    """What stands for a prediction that could not be read or measured."""
    return Problem("error", "unusable", str(error))


def check_prediction(
    mesh: Mesh, landmarks: NDArray[np.float64], scan_landmarks: NDArray[np.float64], protocol: Protocol
) -> list[Problem]:
    """Everything that can be said about a prediction before it is measured; landmarks [7, 3] of mesh and scan."""
    problems = check_numbers(mesh)
    if problems:
        return problems
    problems = check_landmarks_on_mesh(mesh, landmarks, scan_landmarks)
    if not problems:
        problems = check_order(mesh, landmarks, scan_landmarks)
    if protocol.metrical and all(p.level == "warning" for p in problems):
        problems += check_unit(landmarks, scan_landmarks, protocol)
    mirrored = any(p.kind == "mirrored" for p in problems)
    return [*problems, *(p for p in check_surface(mesh) if not (mirrored and p.kind == "winding"))]


def check_numbers(mesh: Mesh) -> list[Problem]:
    """A mesh without triangles, or with NaN, cannot be measured at all."""
    if not len(mesh.faces):
        message = "the mesh has no triangles: distances are measured to a surface. Export it with its faces."
        return [Problem("error", "no-faces", message)]
    bad = int((~np.isfinite(mesh.vertices)).any(1).sum())
    if bad:
        message = f"{bad} of {len(mesh.vertices)} vertices are NaN or infinite. Check the model's output for this image."
        return [Problem("error", "not-finite", message)]
    return []


def check_landmarks_on_mesh(
    mesh: Mesh, landmarks: NDArray[np.float64], scan_landmarks: NDArray[np.float64]
) -> list[Problem]:
    """Landmarks belong on the predicted surface, in its frame and unit."""
    mesh_size, mark_size = np.ptp(mesh.vertices, axis=0).max(), np.ptp(landmarks, axis=0).max()
    ratio = mesh_size / max(mark_size, np.finfo(float).tiny)
    if not 0.8 < ratio < 30:  # the landmarks span about 90 mm, meshes from a mask to a bust 100 to 1000 mm
        message = (
            f"the landmarks span {mark_size:.3g} and the mesh {mesh_size:.3g} units: they are in different units. "
            "Write both in the same one (metres or millimetres)."
        )
        return [Problem("error", "landmark-unit", message)]
    mm = np.ptp(scan_landmarks, axis=0).max() / mark_size
    off = Surface.of(mesh.vertices, mesh.faces).closest(landmarks).distances * mm
    if np.median(off) < OFF_MESH_MM:
        return []
    message = (
        f"the landmarks are about {np.median(off):.0f} mm away from the mesh: they are in another frame. "
        "Take them from the same vertices that are saved (before or after any rotation and translation, but both)."
    )
    return [Problem("error", "landmarks-off-mesh", message)]


def check_order(
    mesh: Mesh, landmarks: NDArray[np.float64], scan_landmarks: NDArray[np.float64]
) -> list[Problem]:
    """Name the likely order of landmarks that fit the scan badly as they stand."""
    as_given = _misfit(landmarks, scan_landmarks)
    if as_given < SUSPICIOUS_MM:
        return []
    order = likely_order(landmarks, scan_landmarks)
    mended = _misfit(landmarks[list(order)], scan_landmarks)
    if order == LEFT_RIGHT_SWAP and signed_volume(mesh) < 0:
        message = (
            "the prediction is a mirror image of a head (its triangles face inwards too), so one axis is probably "
            "negated. The protocol accepts mirrored heads, so the number stands; flip the axis if it was not meant."
        )
        return [Problem("warning", "mirrored", message)]
    if mended < 0.6 * as_given and mended < HOPELESS_MM:
        return [Problem("error", "landmark-order", _order_message(order, as_given, mended))]
    if as_given < HOPELESS_MM:
        return []
    message = (
        f"the seven landmarks miss the scan's by {as_given:.0f} mm on average in any order: they are other points, or "
        f"of another face. Expected: {', '.join(SEVEN_NAMES)}."
    )
    return [Problem("error", "landmark-fit", message)]


def likely_order(landmarks: NDArray[np.float64], scan_landmarks: NDArray[np.float64]) -> tuple[int, ...]:
    """The order o for which landmarks[o] fits the scan best without mirroring, of all 5040."""
    orders = np.array(list(permutations(range(7))))
    source, target = landmarks - landmarks.mean(0), scan_landmarks - scan_landmarks.mean(0)
    products = np.einsum("ni,pnj->pij", target, source[orders])
    stretch = np.linalg.svd(products, compute_uv=False)
    stretch[:, 2] *= np.sign(np.linalg.det(products))  # a proper rotation pays for a reflection
    return tuple(int(i) for i in orders[stretch.sum(1).argmax()])


def _misfit(landmarks: NDArray[np.float64], scan_landmarks: NDArray[np.float64]) -> float:
    """Root mean square distance after the best similarity without mirroring, mm."""
    moved = fit_landmarks(landmarks, scan_landmarks, reflection=False).apply(landmarks)
    return float(np.sqrt(((moved - scan_landmarks) ** 2).sum(1).mean()))


def _order_message(order: tuple[int, ...], as_given: float, mended: float) -> str:
    if order == LEFT_RIGHT_SWAP:
        what = "left and right are swapped (the subject's right is the viewer's left)"
    else:
        named = [""] * 7
        for wanted, row in enumerate(order):
            named[row] = SEVEN_NAMES[wanted]
        what = f"the rows seem to be {', '.join(named)}"
    return (
        f"the landmarks are in a wrong order: {what}. They miss the scan by {as_given:.0f} mm as given and by "
        f"{mended:.1f} mm when reordered; save landmarks[{list(order)}] (rows from 0) instead."
    )


def check_unit(
    landmarks: NDArray[np.float64], scan_landmarks: NDArray[np.float64], protocol: Protocol
) -> list[Problem]:
    """Metres taken for millimetres, or the like."""
    scale = fit_landmarks(landmarks, scan_landmarks).scale
    if 1 / UNIT_TOLERANCE < scale / protocol.mm_per_unit < UNIT_TOLERANCE:
        return []
    likely = min(MM_PER_UNIT, key=lambda unit: abs(np.log(scale / MM_PER_UNIT[unit])))
    fits = 1 / UNIT_TOLERANCE < scale / MM_PER_UNIT[likely] < UNIT_TOLERANCE and likely != protocol.unit
    cure = (
        f"It looks like {likely}: add --unit {likely}."
        if fits
        else "Save it in metres, centimetres or millimetres."
    )
    message = (
        f"the prediction is not in {protocol.unit}: one of its units is {scale:.4g} mm on the scan, "
        f"not {protocol.mm_per_unit:g}. {cure}"
    )
    return [Problem("error", "unit", message)]


def check_surface(mesh: Mesh) -> list[Problem]:
    """Colours, degenerate triangles, non-manifold edges and winding: warnings, the distances do not depend on them."""
    problems = []
    if mesh.has_vertex_colours:
        message = (
            "the mesh has vertex colours. They are read correctly here, but the official loader takes colours for "
            "coordinates; write a clean copy with --submission before sending it in."
        )
        problems.append(Problem("warning", "vertex-colours", message))
    flat = count_degenerate(mesh)
    if flat:
        message = (
            f"{flat} of {len(mesh.faces)} triangles have no area. They are measured as edges here; the official code "
            "can take hours over them. Remove them before sending the mesh in."
        )
        problems.append(Problem("warning", "degenerate", message))
    return problems + _check_edges(mesh)


def count_degenerate(mesh: Mesh) -> int:
    """Triangles whose height is below a millionth of their longest side."""
    corners = mesh.vertices[mesh.faces]
    edges = np.roll(corners, -1, axis=1) - corners
    doubled = np.linalg.norm(np.cross(edges[:, 0], edges[:, 1]), axis=1)
    longest = (edges * edges).sum(-1).max(1)
    return int((doubled <= 1e-6 * longest).sum())


def _check_edges(mesh: Mesh) -> list[Problem]:
    sides = np.concatenate([mesh.faces[:, [0, 1]], mesh.faces[:, [1, 2]], mesh.faces[:, [2, 0]]])
    size = len(mesh.vertices)
    directed = sides[:, 0] * size + sides[:, 1]
    undirected = np.sort(sides.min(1) * size + sides.max(1))
    shared = np.unique(undirected, return_counts=True)[1]
    problems = []
    if (shared > 2).any():
        message = (
            f"{int((shared > 2).sum())} edges belong to more than two triangles (non-manifold). Distances are right, "
            "but check that no part of the head is there twice."
        )
        problems.append(Problem("warning", "non-manifold", message))
    twice = len(directed) - len(np.unique(directed))
    if twice:
        message = f"{twice} neighbouring triangles are wound in opposite senses. Distances are right; normals are not."
        problems.append(Problem("warning", "winding", message))
    elif signed_volume(mesh) < 0:
        message = "the triangles face inwards. Distances are right; reverse the winding before rendering or sending it."
        problems.append(Problem("warning", "winding", message))
    return problems


def signed_volume(mesh: Mesh) -> float:
    """Volume between the surface and its middle: positive when the triangles face outwards (also for open heads)."""
    a, b, c = np.moveaxis(mesh.vertices[mesh.faces] - mesh.vertices.mean(0), 1, 0)
    return float((a * np.cross(b, c)).sum() / 6)
