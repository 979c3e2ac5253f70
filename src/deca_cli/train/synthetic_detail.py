"""Wrinkles of synthetic faces: displacements judged by their height and by how they turn the normal."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from deca_cli.render.uv import make_chart, world2uv
from deca_cli.train.synthetic_network import DetailRequest

if TYPE_CHECKING:
    from deca_cli.heads.model import HeadModel
    from deca_cli.synthetic.generator import SyntheticBatch
    from deca_cli.train.settings import LossWeights

MM = 1000.0
OUTSIDE = 0.1  # weight of texels outside the face: wrinkles there are not seen, but nothing may grow there
TEXEL_LIMITS_M = (2e-4, 5e-3)  # neighbours closer or farther than that lie across a seam or a fold
SMALL_SLOPE = 0.001  # below it (0.06 degrees) the penalty is quadratic
SMALL_ANGLE = 0.0005


def texel_steps(head: HeadModel, size: int) -> tuple[Tensor, Tensor]:
    """Metres between neighbouring texels on the template: to the right [U, U - 1] and down [U - 1, U].

    Infinite where the chart does not hold both.
    """
    chart = make_chart(head.uv_coordinates, head.uv_faces, head.faces, size)
    places = world2uv(chart, head.template_vertices[None])[0]
    inside = torch.zeros(size * size, dtype=torch.bool, device=places.device)
    inside[chart.texels] = True
    inside = inside.view(size, size)
    low, high = TEXEL_LIMITS_M

    def steps(difference: Tensor, both: Tensor) -> Tensor:
        length = difference.norm(dim=0)
        good = both & (length > low) & (length < high)
        return torch.where(good, length, torch.full_like(length, torch.inf))

    right = steps(places[:, :, 1:] - places[:, :, :-1], inside[:, 1:] & inside[:, :-1])
    down = steps(places[:, 1:] - places[:, :-1], inside[1:] & inside[:-1])
    return right, down


class DetailObjective:
    """Judges displacement maps.

    Args:
        head: the head model.
        weights: of the terms.
    """

    def __init__(self, head: HeadModel, weights: LossWeights) -> None:
        self.weights = weights
        mask = head.face_eye_mask
        self.place = OUTSIDE + (1 - OUTSIDE) * mask
        self.steps = texel_steps(head, len(mask))
        self.mask = mask[1:-1, 1:-1]

    def slopes(self, displacement: Tensor) -> Tensor:
        """[N, 1, U, U] metres -> [N, 2, U - 1, U - 1] rise over run along rows and columns; 0 across seams."""
        right, down = self.steps
        along = (displacement[..., :-1, 1:] - displacement[..., :-1, :-1]) / right[:-1]
        across = (displacement[..., 1:, :-1] - displacement[..., :-1, :-1]) / down[:, :-1]
        return torch.cat([along, across], 1)

    def smooth_slopes(self, displacement: Tensor) -> Tensor:
        """[N, 1, U, U] metres -> [N, 2, U - 2, U - 2] slopes at the inner texels, means of both sides, as normals are."""
        right, down = self.steps
        along = (displacement[..., 1:] - displacement[..., :-1]) / right
        across = (displacement[..., 1:, :] - displacement[..., :-1, :]) / down
        along = along[:, :, 1:-1]
        across = across[..., 1:-1]
        return torch.cat([along[..., 1:] + along[..., :-1], across[..., 1:, :] + across[..., :-1, :]], 1) / 2

    def __call__(
        self, predicted: Tensor, codes: Tensor, batch: SyntheticBatch, request: DetailRequest
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Weighted terms, and values to look at; means over the faces.

        Args:
            predicted: [2 M, 1, U, U] metres, see `deca_cli.train.synthetic_network.Answer`.
            codes: [N, D] detail codes of the whole batch.
            batch: the pictures and their truth.
            request: whose displacements these are.
        """
        own, other = batch.displacement, batch.other_displacement
        if own is None or other is None:
            raise ValueError("the batch holds no displacement: set `detail` in the generator's settings")
        truth = torch.cat([own[request.rows], other[request.rows]])
        shows_face = batch.is_face[torch.cat([request.rows, request.partners])]
        shows_face = (shows_face / shows_face.sum().clamp_min(1))[:, None, None, None]
        weight = self.place / self.place.mean() * shows_face
        height = (weight * (predicted - truth).abs()).mean((2, 3)).sum() * MM
        bend = self.slopes(predicted) - self.slopes(truth)
        bend = (bend.square().sum(1, keepdim=True) + SMALL_SLOPE**2).sqrt() - SMALL_SLOPE
        slope = (weight[..., :-1, :-1] * bend).mean((2, 3)).sum()
        flat = (weight * truth.abs()).mean((2, 3)).sum() * MM
        angle = normal_angles(self.smooth_slopes(predicted), self.smooth_slopes(truth))
        mask = self.mask * shows_face
        terms = {
            "normals": self.weights.normals * (mask * angle).sum() / self.mask.sum(),
            "displacement": self.weights.displacement * height,
            "slope": self.weights.slope * slope,
            "detail_code": self.weights.detail_code * codes.square().mean(),
        }
        return terms, {"displacement_share": (height / flat.clamp_min(1e-6)).detach()}


def normal_angles(one: Tensor, two: Tensor) -> Tensor:
    """Angles in radians [N, 1, H, W] between surfaces of these slopes [N, 2, H, W] (chords, exact for small angles)."""
    first, second = (
        F.normalize(F.pad(slopes, (0, 0, 0, 0, 0, 1), value=1.0), dim=1) for slopes in (one, two)
    )
    return ((first - second).square().sum(1, keepdim=True) + SMALL_ANGLE**2).sqrt() - SMALL_ANGLE


def detail_request(count: int, faces: int, per_person: int, other_expression: Tensor) -> DetailRequest:
    """The first faces of a batch, each with the next picture of the same person.

    Args:
        count: pictures in the batch, people one after the other.
        faces: how many to take.
        per_person: pictures of each person.
        other_expression: [count, E].
    """
    rows = torch.arange(min(count, faces), device=other_expression.device)
    first = rows - rows % per_person
    return DetailRequest(rows, first + (rows - first + 1) % per_person, other_expression[rows])
