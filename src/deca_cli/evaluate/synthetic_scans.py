"""Synthetic faces as scans, measured by the NoW protocol: neutral, and as they look in the picture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import torch

from deca_cli.evaluate.landmark_rows import SEVEN_OF_68
from deca_cli.evaluate.meshes import Mesh
from deca_cli.evaluate.now import Protocol, Scan, measure
from deca_cli.evaluate.statistics import Summary, pool, summarise
from deca_cli.render.normals import vertex_normals
from deca_cli.render.uv import UvChart, detail_vertices, make_chart

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    from deca_cli.heads.model import HeadModel
    from deca_cli.synthetic.generator import SyntheticBatch

# Pictures and truth, predicted codes by name, predicted displacement [N, 1, U, U] in metres if the pack has detail.
Predicted: TypeAlias = "tuple[SyntheticBatch, dict[str, Tensor], Tensor | None]"

SCAN_POINTS = 6000
MM = 1000.0
SKIN = 0.5  # of the face mask from which on a texel belongs to the scan


@dataclass(frozen=True)
class ScanErrors:
    """Distances from true surfaces to predictions, mm; none without faces (or without detail)."""

    faces: int
    neutral: Summary | None  # the person without an expression, as NoW has it
    pictured_coarse: (
        Summary | None
    )  # with the picture's expression and wrinkles, against the coarse prediction
    pictured_detail: Summary | None  # against the prediction with its wrinkles


class _Surfaces:
    """Heads as scans and as predictions."""

    def __init__(self, head: HeadModel) -> None:
        self.head = head
        size = len(head.face_eye_mask)
        self.chart: UvChart = make_chart(head.uv_coordinates, head.uv_faces, head.faces, size)
        skin = (head.face_eye_mask.flatten()[self.chart.texels] > SKIN).nonzero().flatten().cpu().numpy()
        self.chosen = np.sort(np.random.default_rng(0).permutation(skin)[:SCAN_POINTS])

    def scan(self, vertices: Tensor, displacement: Tensor | None) -> Scan:
        """[1, V, 3] head, and its wrinkles [1, 1, U, U], as a scan in millimetres."""
        dense = self.dense(vertices, displacement).vertices[self.chosen]
        return Scan(MM * dense, MM * self.seven(vertices))

    def dense(self, vertices: Tensor, displacement: Tensor | None) -> Mesh:
        """One vertex per texel, metres."""
        normals = vertex_normals(vertices, self.head.faces)
        if displacement is None:
            displacement = self.head.face_eye_mask.new_zeros(1, 1, self.chart.size, self.chart.size)
        points = detail_vertices(self.chart, vertices, normals, displacement)
        return Mesh(_numpy(points[0]), self.chart.faces.cpu().numpy())

    def coarse(self, vertices: Tensor) -> Mesh:
        """The mesh itself, metres."""
        return Mesh(_numpy(vertices[0]), self.head.faces.cpu().numpy())

    def seven(self, vertices: Tensor) -> NDArray[np.float64]:
        """[7, 3] NoW's landmarks, metres."""
        return _numpy(self.head.on_landmarks(vertices)[0])[list(SEVEN_OF_68)]


def _numpy(values: Tensor) -> NDArray[np.float64]:
    return values.double().cpu().numpy()


@torch.inference_mode()
def measure_scans(
    head: HeadModel,
    batches: Sequence[Predicted],
    count: int,
    progress: Callable[[int], None],
) -> ScanErrors:
    """Measure the first faces of some batches.

    Args:
        head: the head model.
        batches: pictures with what was predicted for them.
        count: how many faces.
        progress: told how many are done.
    """
    surfaces = _Surfaces(head)
    found: dict[str, list[NDArray[np.floating]]] = {"neutral": [], "coarse": [], "detail": []}
    faces = [(predicted, row) for predicted in batches for row in range(len(predicted[0].images))][:count]
    for done, (predicted, row) in enumerate(faces, 1):
        for name, distances in _measure_face(surfaces, *predicted, slice(row, row + 1)).items():
            found[name].append(distances)
        progress(done)
    means = {name: summarise(pool(values)) if values else None for name, values in found.items()}
    return ScanErrors(len(faces), means["neutral"], means["coarse"], means["detail"])


def _measure_face(
    surfaces: _Surfaces,
    batch: SyntheticBatch,
    codes: dict[str, Tensor],
    wrinkles: Tensor | None,
    row: slice,
) -> dict[str, NDArray[np.floating]]:
    """Distances in mm by kind."""
    head, protocol = surfaces.head, Protocol()
    calm = torch.zeros_like(batch.expression[row])
    true_neutral = surfaces.scan(head.unposed(batch.shape[row], calm), None)
    neutral = head.unposed(codes["shape"][row], calm)
    measured = {"neutral": measure(true_neutral, surfaces.coarse(neutral), surfaces.seven(neutral), protocol)}
    own = None if batch.displacement is None else batch.displacement[row]
    scan = surfaces.scan(head.unposed(batch.shape[row], batch.expression[row]), own)
    pictured = head.unposed(codes["shape"][row], codes["expression"][row])
    marks = surfaces.seven(pictured)
    measured["coarse"] = measure(scan, surfaces.coarse(pictured), marks, protocol)
    if wrinkles is not None:
        measured["detail"] = measure(scan, surfaces.dense(pictured, wrinkles[row]), marks, protocol)
    return {name: value.distances for name, value in measured.items()}
