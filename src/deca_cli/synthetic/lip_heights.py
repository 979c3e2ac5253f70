"""Thin lips: people whose lips are lower than those of the head statistics.

The statistics are of young adults: on the mean head the upper lip's red is 8.7 mm high, as Farkas 1994 ("Anthropometry
of the Head and Face") measured there. It loses a third to a half of its height with age, and many people press their lips.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from deca_cli.heads.model import HeadModel
    from deca_cli.synthetic.draws import Draws

LIPS = ((51, 62), (66, 57))  # landmarks above and below the red of the upper and the lower lip, in the middle
MOST_LOST = (0.0048, 0.0040)  # metres of the upper and the lower lip
LEAST = 0.002  # metres that are left


class LipHeights:
    """Changes identity codes so that lips get lower and everything else changes as little as the statistics allow.

    Args:
        head: the head model.
    """

    def __init__(self, head: HeadModel) -> None:
        device = head.template_vertices.device
        codes = torch.cat([torch.zeros(1, head.shape_size), torch.eye(head.shape_size)]).to(device)
        with torch.no_grad():
            still = torch.zeros(len(codes), len(head.expression_names), device=device)
            heights = _heights(head.on_landmarks(head.unposed(codes, still)))
        self.mean = heights[0]  # [2] metres
        self.change = heights[1:] - heights[0]  # [S, 2] metres per unit of the code
        self.codes = torch.linalg.pinv(self.change.double().cpu()).float().to(device)  # [2, S]
        self.lost = torch.tensor(MOST_LOST, device=device)

    def of(self, shape: Tensor) -> Tensor:
        """[N, 2] metres, upper and lower lip of the neutral faces with identity codes [N, S]."""
        return self.mean + shape @ self.change

    def thin(self, draws: Draws, shape: Tensor, share: float) -> Tensor:
        """Identity codes [N, S] of which a share has lost some of the height of the lips."""
        count = len(shape)
        amount = draws.uniform(count, 1) * draws.chance(share, count, 1)
        lost = amount * draws.uniform(count, 2, low=0.6, high=1.0) * self.lost
        room = (self.of(shape) - LEAST).clamp_min(0)
        return shape - torch.minimum(lost, room) @ self.codes


def _heights(landmarks: Tensor) -> Tensor:
    """[N, 68, 3] -> [N, 2] metres."""
    return torch.stack([landmarks[:, top, 1] - landmarks[:, bottom, 1] for top, bottom in LIPS], 1)
