"""Flip consistency: a mirrored picture must be answered with the mirror of what is answered about the picture.

Both answers get the gradient, each towards their middle. A target without a gradient is what trainings without truth
need so that the answers do not collapse; here the truth of the first picture holds them in place.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from deca_cli.errors import ModelError, UsageError
from deca_cli.heads.rotations import rotation_6d_to_matrix
from deca_cli.synthetic.constants import constant
from deca_cli.train import synthetic_losses as losses

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy as np

    from deca_cli.heads.model import HeadModel
    from deca_cli.train.settings import LossWeights, SyntheticSettings
    from deca_cli.train.synthetic_appearance import FaceColours

    Place = Callable[[dict[str, Tensor]], tuple[Tensor, Tensor]]

SIDES = {"Left": "Right", "Right": "Left"}


def flipped_count(settings: SyntheticSettings) -> int:
    """How many pictures of a batch are seen mirrored, too; 0 when the loss is off."""
    return max(1, round(settings.flip_share * settings.batch_size)) if settings.weights.flip else 0


def with_mirrored(images: Tensor, count: int) -> Tensor:
    """Pictures [N, 3, S, S], then the mirror images of the first ``count`` of them."""
    return torch.cat([images, images[:count].flip(-1)]) if count else images


def mirrored_names(names: Sequence[str]) -> list[int]:
    """For each expression coefficient the one that does the same on the other side; itself if it has no side.

    Raises:
        UsageError: a coefficient of one side lacks its counterpart.
    """
    order = []
    for name in names:
        side = next((side for side in SIDES if name.endswith(side)), "")
        other = name.removesuffix(side) + SIDES[side] if side else name
        if other not in names:
            raise UsageError(f"The expression `{name}` has no counterpart `{other}`: set weights.flip to 0.")
        order.append(names.index(other))
    return order


class FlipConsistency:
    """Compares two answers, one of them about the mirrored picture.

    Identities are compared as neutral heads and not as codes, so that nothing needs to be known about the basis.

    Args:
        head: the head model.
        mirror_vertices: int [V], the vertex across the plane of symmetry.
        face_vertices: int64, the vertices that count.
        weights: of the errors themselves; ``weights.flip`` multiplies all of them here.
        place: decodes answers to vertices and NDC (`SyntheticObjective.place`).
        colours: the albedo at points of the face, where the answers have one.

    Raises:
        ModelError: the head does not say which vertices mirror each other.
        UsageError: an expression lacks its counterpart.
    """

    def __init__(
        self,
        head: HeadModel,
        mirror_vertices: np.ndarray | None,
        face_vertices: Tensor,
        weights: LossWeights,
        place: Place,
        colours: FaceColours | None = None,
    ) -> None:
        if mirror_vertices is None:
            raise ModelError(
                f"The head `{head.name}` has no table of mirrored vertices (mirror_vertices), which weights.flip needs: "
                "set weights.flip to 0, or train the bundled open head."
            )
        self.head, self.weights, self.place, self.colours = head, weights, place, colours
        device = face_vertices.device
        self.face = face_vertices
        self.across = torch.as_tensor(mirror_vertices, dtype=torch.int64, device=device)[face_vertices]
        self.other_side = torch.tensor(
            mirrored_names(list(head.expression_names)), dtype=torch.int64, device=device
        )

    def __call__(self, seen: dict[str, Tensor], mirrored: dict[str, Tensor]) -> Tensor:
        """[M] differences between the answers about pictures and those about their mirror images, weighted."""
        w, x = self.weights, constant((-1.0, 1.0, 1.0), self.face.device)
        rotation, turned = (rotation_6d_to_matrix(parts["rotation_6d"]) for parts in (seen, mirrored))
        flat, flat_turned = (self.place(parts)[1] for parts in (seen, mirrored))
        neutral, neutral_turned = (self._neutral(parts["shape"]) for parts in (seen, mirrored))
        expression = seen["expression"] - mirrored["expression"][:, self.other_side]
        total = (
            w.points_2d * losses.point_distance(flat[:, self.face], flat_turned[:, self.across] * x[:2])
            + w.points_3d * losses.point_distance(neutral[:, self.face], neutral_turned[:, self.across] * x)
            + w.rotation * (rotation - turned * x[:, None] * x).abs().mean((1, 2))
            + w.expression * expression.abs().mean(1)
        )
        if self.colours is not None:
            tone, tone_turned = (self.colours.of(parts["albedo"]).mean(2) for parts in (seen, mirrored))
            total = total + w.tone * (tone - tone_turned).abs().mean(1)
        return w.flip * total

    def _neutral(self, shape: Tensor) -> Tensor:
        """[M, V, 3] heads at rest."""
        return self.head.unposed(shape, shape.new_zeros(len(shape), self.head.expression_size))
