"""How far the normals of synthetic faces are off, without and with the predicted wrinkles."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from deca_cli.render.normals import degrees_between, grid_normals, vertex_normals
from deca_cli.render.uv import MARGIN_X, MARGIN_Y, make_chart, world2uv

if TYPE_CHECKING:
    from deca_cli.heads.model import HeadModel
    from deca_cli.synthetic.generator import SyntheticBatch

FACE = 0.9  # of the face mask from which on a texel counts
WRINKLED_DEGREES = 2.0  # true wrinkles turn the normal by at least that


@dataclass(frozen=True)
class WrinkleErrors:
    """Mean angles between predicted and true normals of the face, degrees; coarse = without wrinkles."""

    true_shape_coarse: float  # both on the true shape: what wrinkles alone do
    true_shape_detail: float
    wrinkled_coarse: float  # the same, only where true wrinkles turn the normal by 2 degrees or more
    wrinkled_detail: float
    other_expression_coarse: float  # the same wrinkles under an expression that no picture shows
    other_expression_detail: float
    whole_coarse: float  # predicted shape and expression against the truth, heads not turned
    whole_detail: float
    height_coarse: float  # mean depth of the true wrinkles, mm
    height_detail: float  # mean error of the predicted depth, mm

    def reduction(self, kind: str) -> float:
        """Percent by which detail lowers the error of a kind."""
        coarse, detail = getattr(self, f"{kind}_coarse"), getattr(self, f"{kind}_detail")
        return 100 * (1 - detail / coarse) if coarse > 0 else float("nan")


class Wrinkles:
    """Adds up angles over batches."""

    def __init__(self, head: HeadModel) -> None:
        self.head = head
        self.size = len(head.face_eye_mask)
        self.chart = make_chart(head.uv_coordinates, head.uv_faces, head.faces, self.size)
        inside = torch.zeros(self.size**2, device=head.face_eye_mask.device)
        inside[self.chart.texels] = 1
        inside = inside.view(1, 1, self.size, self.size)
        away = 1 - F.max_pool2d(1 - inside, 5, 1, 2)  # texels at seams have neighbours elsewhere on the head
        self.face = (away[0, 0] > 0) & (head.face_eye_mask > FACE)
        self.sums: dict[str, float] = {}
        self.counts: dict[str, float] = {}

    def add(
        self, batch: SyntheticBatch, codes: dict[str, Tensor], displacement: Tensor, other: Tensor
    ) -> None:
        """Compare a batch.

        Args:
            batch: pictures and truth.
            codes: predicted, by name.
            displacement: [N, 1, U, U] metres, predicted for the pictures.
            other: [N, 1, U, U] metres, predicted for the batch's other expression.
        """
        if batch.displacement is None or batch.other_displacement is None or batch.other_expression is None:
            raise ValueError("the batch holds no displacement")
        true_shape = self.head.unposed(batch.shape, batch.expression)
        flat, truth = self._normals(true_shape, None), self._normals(true_shape, batch.displacement)
        found = self._normals(true_shape, displacement)
        coarse_angle, detail_angle = degrees_between(flat, truth), degrees_between(found, truth)
        self._count("true_shape", coarse_angle, detail_angle, self.face.expand_as(coarse_angle))
        self._count("wrinkled", coarse_angle, detail_angle, self.face & (coarse_angle > WRINKLED_DEGREES))
        guess = self.head.unposed(codes["shape"], codes["expression"])
        rough, fine = (degrees_between(self._normals(guess, d), truth) for d in (None, displacement))
        self._count("whole", rough, fine, self.face.expand_as(coarse_angle))
        depth, off = batch.displacement[:, 0], (displacement - batch.displacement)[:, 0]
        self._count("height", 1e3 * depth.abs(), 1e3 * off.abs(), self.face.expand_as(coarse_angle))
        elsewhere = self.head.unposed(batch.shape, batch.other_expression)
        truth = self._normals(elsewhere, batch.other_displacement)
        rough, fine = (degrees_between(self._normals(elsewhere, d), truth) for d in (None, other))
        self._count("other_expression", rough, fine, self.face.expand_as(coarse_angle))

    def _normals(self, vertices: Tensor, displacement: Tensor | None) -> Tensor:
        """[N, 3, U, U] normals of the texel grid, moved along the coarse normals or not."""
        normals = vertex_normals(vertices, self.head.faces)
        maps = world2uv(self.chart, torch.cat([vertices, normals], -1))
        points = maps[:, :3] if displacement is None else maps[:, :3] + displacement * maps[:, 3:]
        return grid_normals(points, MARGIN_X, MARGIN_Y)

    def _count(self, kind: str, coarse: Tensor, detail: Tensor, where: Tensor) -> None:
        for name, values in (("coarse", coarse), ("detail", detail)):
            key = f"{kind}_{name}"
            self.sums[key] = self.sums.get(key, 0.0) + float((values * where).sum(dtype=torch.float64))
            self.counts[key] = self.counts.get(key, 0.0) + float(where.sum())

    def errors(self) -> WrinkleErrors:
        """Means over everything added so far."""
        return WrinkleErrors(**{key: self.sums[key] / max(self.counts[key], 1.0) for key in self.sums})
