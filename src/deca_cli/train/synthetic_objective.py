"""How the network's answers about synthetic faces are judged: one number to minimise, named numbers to look at."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from deca_cli.heads.rotations import rotation_6d_to_matrix
from deca_cli.networks.layout import Layout, split_raw
from deca_cli.synthetic.constants import constant
from deca_cli.train import synthetic_losses as losses
from deca_cli.train.synthetic_network import DENSE_POINTS

if TYPE_CHECKING:
    from deca_cli.heads.model import HeadModel
    from deca_cli.synthetic.generator import SyntheticBatch
    from deca_cli.train.settings import LossWeights
    from deca_cli.train.synthetic_appearance import AppearanceObjective
    from deca_cli.train.synthetic_detail import DetailObjective
    from deca_cli.train.synthetic_flip import FlipConsistency
    from deca_cli.train.synthetic_network import Answer, DetailRequest

INNER = slice(17, 68)


class SyntheticObjective:
    """Turns the network's answer into one number to minimise, and into named numbers to look at.

    Args:
        head: the head model.
        face_vertices: int64, the vertices whose places count.
        layout: meaning of the network's answer.
        weights: of the terms.
        expression_variances: [E] of the coefficients in the pictures, 1 for those that never move.
        appearance: judges albedo and light, where the layout has them.
        detail: judges displacements, where the layout has a detail code.
    """

    def __init__(
        self,
        head: HeadModel,
        face_vertices: Tensor,
        layout: Layout,
        weights: LossWeights,
        expression_variances: Tensor,
        appearance: AppearanceObjective | None = None,
        detail: DetailObjective | None = None,
    ) -> None:
        self.head, self.layout, self.weights = head, layout, weights
        self.expression_variances = expression_variances
        self.appearance, self.detail = appearance, detail
        self.flip: FlipConsistency | None = None  # compares the answers about mirrored pictures
        self.groups = {
            group: torch.tensor(
                [i for i, name in enumerate(head.expression_names) if name.startswith(begins)],
                dtype=torch.int64,
                device=face_vertices.device,
            )
            for group, begins in losses.EXPRESSION_GROUPS.items()
        }
        pick = torch.linspace(0, len(face_vertices) - 1, DENSE_POINTS, device=face_vertices.device).long()
        self.face_vertices, self.dense_vertices = face_vertices, face_vertices[pick]

    def place(self, parts: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Decode: camera-aligned vertices [N, V, 3] in metres, and NDC [N, V, 2] by weak perspective (spec section 5)."""
        unposed = self.head.unposed(parts["shape"], parts["expression"])
        pivot = self.head.joints(unposed)[:, :1]
        rotation = rotation_6d_to_matrix(parts["rotation_6d"])
        vertices = (unposed - pivot) @ rotation.mT + pivot
        camera = parts["log_camera"]
        flat = vertices[..., :2] * camera[:, None, :1].exp() + camera[:, None, 1:]
        return vertices, flat * constant((1.0, -1.0), flat.device)

    def __call__(
        self, answer: Answer, batch: SyntheticBatch, request: DetailRequest | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Weighted sum of the terms, averaged over the faces; pictures without a face only train the score.

        What is answered beyond the pictures of the batch is about the mirror images of its first pictures.
        """
        count = len(batch.images)
        parts = split_raw(answer.raw[:count].float(), self.layout)
        vertices, flat = self.place(parts)
        marks = self.head.on_landmarks(torch.cat([flat, vertices[..., 2:]], -1))[..., :2]
        terms = self._terms(parts, vertices, flat, marks, answer.dense[:count].float(), batch)
        seen: dict[str, Tensor] = {}
        if self.appearance is not None:
            more, seen = self.appearance(parts, batch)
            terms |= more
        shown = batch.is_face.sum().clamp_min(1)
        means = {name: (value * batch.is_face).sum() / shown for name, value in terms.items()}
        seen = {name: (value * batch.is_face).sum() / shown for name, value in seen.items()}
        if self.detail is not None and request is not None and answer.displacement is not None:
            more, of_detail = self.detail(answer.displacement, parts["detail"], batch, request)
            means |= more
            seen |= of_detail
        if self.flip is not None and len(answer.raw) > count:
            mirrored = split_raw(answer.raw[count:].float(), self.layout)
            faces = batch.is_face[: len(answer.raw) - count]
            first = {name: value[: len(faces)] for name, value in parts.items()}
            means["flip"] = (self.flip(first, mirrored) * faces).sum() / faces.sum().clamp_min(1)
        logit = parts["face_score"][:, 0]
        score = F.binary_cross_entropy_with_logits(logit, batch.is_face)
        means["face_score"] = self.weights.face_score * score
        total = torch.stack(list(means.values())).sum()
        return total, means | seen | {"nme": self.landmark_error(marks, batch)}

    def _terms(
        self,
        parts: dict[str, Tensor],
        vertices: Tensor,
        flat: Tensor,
        marks: Tensor,
        dense: Tensor,
        batch: SyntheticBatch,
    ) -> dict[str, Tensor]:
        """Weighted terms, one value per face each."""
        face, w = self.face_vertices, self.weights
        emphasis = self._emphasis(parts["expression"], batch.expression)
        rotation = rotation_6d_to_matrix(parts["rotation_6d"])
        true_dense = batch.projected[:, self.dense_vertices]
        return {
            "points_2d": w.points_2d * losses.point_distance(flat[:, face], batch.projected[:, face]),
            "landmarks_2d": w.landmarks_2d * losses.point_distance(marks, batch.landmarks),
            "openings": w.openings * losses.opening_difference(marks, batch.landmarks),
            "points_3d": w.points_3d * losses.point_distance(vertices[:, face], batch.vertices[:, face]),
            "rotation": w.rotation * (rotation - batch.rotation).abs().mean((1, 2)),
            "expression": w.expression * (parts["expression"] - batch.expression).abs().mean(1),
            "expression_squared": w.expression_squared
            * losses.unexplained(parts["expression"], batch.expression, self.expression_variances),
            **emphasis,
            "expression_range": w.expression_range * losses.outside_range(parts["expression"]),
            "identity": w.identity * (parts["shape"] - batch.shape).square().mean(1),
            "dense": w.dense * losses.gaussian_nll(dense[..., :2], dense[..., 2].clamp(-6, 2), true_dense),
        }

    def _emphasis(self, predicted: Tensor, truth: Tensor) -> dict[str, Tensor]:
        """Further weight on groups of expression coefficients."""
        terms = {}
        for group, columns in self.groups.items():
            weight = getattr(self.weights, group)
            if weight:
                variances = self.expression_variances[columns]
                terms[group] = weight * losses.unexplained(
                    predicted[:, columns], truth[:, columns], variances
                )
        return terms

    @staticmethod
    def landmark_error(marks: Tensor, batch: SyntheticBatch) -> Tensor:
        """Mean distance of the 51 inner landmarks in percent of sqrt(w h) of the true 68-point box."""
        size = batch.landmarks.amax(1) - batch.landmarks.amin(1)
        distance = (marks - batch.landmarks)[:, INNER].norm(dim=-1).mean(1) / size.prod(1).sqrt()
        return 100 * (distance * batch.is_face).sum() / batch.is_face.sum().clamp_min(1)
