"""Measure one NoW prediction against its scan."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from deca_cli.errors import InputError, UsageError
from deca_cli.evaluate.alignment import Similarity, face_region, fit_landmarks, refine, with_known_scale
from deca_cli.evaluate.geometry import Surface

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from deca_cli.evaluate.meshes import Mesh

MM_PER_UNIT = {"m": 1000.0, "cm": 10.0, "mm": 1.0}


@dataclass(frozen=True)
class Protocol:
    """Which of the two rankings is measured."""

    metrical: bool = False
    unit: str = "m"  # of the predictions; only the metrical ranking asks for it

    def __post_init__(self) -> None:
        """Refuse a unit that is none."""
        if self.unit not in MM_PER_UNIT:
            raise UsageError(f"unit '{self.unit}' is unknown: choose one of {', '.join(MM_PER_UNIT)}.")

    @property
    def mm_per_unit(self) -> float:
        """Millimetres per unit of the predictions."""
        return MM_PER_UNIT[self.unit]


@dataclass(frozen=True)
class Scan:
    """Ground truth of one subject, millimetres."""

    vertices: NDArray[np.float64]  # [V, 3]
    landmarks: NDArray[np.float64]  # [7, 3]


@dataclass(frozen=True)
class Measurement:
    """What one prediction's surface is off by."""

    kept: NDArray[np.bool_]  # [V] scan vertices inside the face region
    distances: NDArray[np.float64]  # [kept] mm, in the order of the scan file
    fit: Similarity  # landmark alignment, before any refinement
    total: Similarity  # from the prediction's file to the scan
    steps: int  # accepted steps of the refinement
    objective: float  # sum of squared distances, mm^2


def measure(scan: Scan, mesh: Mesh, landmarks: NDArray[np.float64], protocol: Protocol) -> Measurement:
    """Distance from every scan vertex of the face to the aligned prediction, mm.

    The steps and constants are those of the public NoW code: crop, similarity on seven landmarks [7, 3] (mesh frame),
    rigid refinement (with scale unless metrical), point-to-surface distance. Raises InputError for an empty crop.
    """
    kept = face_region(scan.landmarks).holds(scan.vertices)
    if not kept.any():
        raise InputError(
            "no scan vertex near the scan's landmarks: they belong to another scan. Download both again."
        )
    fit = fit_landmarks(landmarks, scan.landmarks)
    start = with_known_scale(fit, protocol.mm_per_unit) if protocol.metrical else fit
    surface = Surface.of(start.apply(mesh.vertices), mesh.faces)
    refinement = refine(surface, scan.vertices[kept], free_scale=not protocol.metrical)
    return Measurement(
        kept,
        refinement.distances,
        fit,
        refinement.motion.after(start),
        refinement.steps,
        refinement.objective,
    )
