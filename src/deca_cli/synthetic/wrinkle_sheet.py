"""The face as a sheet of texels: where each one lies, in millimetres, so that lines can be drawn with true widths."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from deca_cli.synthetic.parts import uv_values
from deca_cli.synthetic.skin_fields import signed_distance_to_polygon

if TYPE_CHECKING:
    from deca_cli.heads.model import HeadModel

PUPIL_DISTANCE_MM = 63.0  # what the template's pupil distance is taken for


@dataclass(frozen=True)
class FaceSheet:
    """The part of the chart that carries detail, [h, w] texels on the CPU, in millimetres around the eyes' middle.

    The face is drawn in its frontal plane: x to the subject's left, y up. A line's distance in that plane is turned
    into one along the skin by the chart's metric.
    """

    rows: slice  # of the chart
    columns: slice
    x: Tensor
    y: Tensor
    mask: Tensor  # 0 ... 1, where detail belongs
    lips: Tensor  # signed distance into the lips, in the frontal plane
    lid: Tensor  # signed distance into the eye opening
    metric: tuple[Tensor, Tensor, Tensor]  # E, F, G: squared lengths and product of the steps down and right
    chart_x: Tensor  # columns to the right of the middle, texels
    chart_y: Tensor  # rows upwards, texels
    landmarks: Tensor  # [68, 2] iBUG points in the frontal plane

    @property
    def folded(self) -> Tensor:
        """Distance from the midline."""
        return self.x.abs()

    @property
    def points(self) -> Tensor:
        """[h, w, 2] folded onto the subject's left."""
        return torch.stack([self.folded, self.y], -1)

    def pair(self, right: int, left: int) -> Tensor:
        """[2] one landmark of the left half, averaged with its mirror image (iBUG numbers)."""
        mirrored = self.landmarks[right] * self.landmarks.new_tensor([-1.0, 1.0])
        return (self.landmarks[left] + mirrored) / 2

    def along_skin(self, level: Tensor) -> Tensor:
        """First-order distance along the skin from the zero line of a level function [..., h, w], mm."""
        down, right = torch.gradient(level, dim=(-2, -1))
        e, f, g = self.metric
        steepness = (g * down**2 - 2 * f * down * right + e * right**2) / (e * g - f * f).clamp_min(1e-6)
        return level / steepness.clamp_min(0).sqrt().clamp(0.4, 4.0)


def measure_sheet(head: HeadModel, mask: Tensor) -> FaceSheet:
    """Measure the template of a head under the texels of a mask [U, U] (row 0 is v = 1)."""
    size = len(mask)
    chart, covered = uv_values(head, head.template_vertices, size)
    landmarks = head.on_landmarks(head.template_vertices[None])[0].cpu()
    eyes = torch.stack([landmarks[36:42].mean(0), landmarks[42:48].mean(0)])
    scale = PUPIL_DISTANCE_MM / (eyes[0] - eyes[1]).norm()
    inside = (mask.cpu() > 0) & covered.cpu()
    rows, columns = (_extent(inside.any(1 - axis)) for axis in (0, 1))
    positions = ((chart.cpu().permute(1, 2, 0) - eyes.mean(0)) * scale)[rows, columns]
    down, right = torch.gradient(positions, dim=(0, 1))
    flat = (landmarks - eyes.mean(0))[:, :2] * scale
    index = torch.arange(size, dtype=torch.float32) + 0.5 - size / 2
    eye = (flat[[42, 43, 44, 45, 46, 47]] + flat[[39, 38, 37, 36, 41, 40]] * flat.new_tensor([-1, 1])) / 2
    front = positions[..., :2]
    folded = torch.stack([front[..., 0].abs(), front[..., 1]], -1)
    return FaceSheet(
        rows=rows,
        columns=columns,
        x=front[..., 0],
        y=front[..., 1],
        mask=(mask.cpu() * covered.cpu())[rows, columns],
        lips=signed_distance_to_polygon(front, flat[48:60]),
        lid=signed_distance_to_polygon(folded, eye),
        metric=((down**2).sum(-1), (down * right).sum(-1), (right**2).sum(-1)),
        chart_x=index[None, columns].expand(front.shape[:2]),
        chart_y=-index[rows, None].expand(front.shape[:2]),
        landmarks=flat,
    )


def _extent(used: Tensor) -> slice:
    """From the first to the last true entry of [U]."""
    index = used.nonzero().flatten()
    return slice(int(index[0]), int(index[-1]) + 1)
