"""Losses on the 68 landmarks. Points are NDC of the crop; labels have 1 or 0 for "known" in the third column."""

from __future__ import annotations

import torch
from torch import Tensor

EYELID_PAIRS = ((37, 41), (38, 40), (43, 47), (44, 46))  # upper and lower lid
LIP_PAIRS = ((61, 67), (62, 66), (63, 65))  # upper and lower inner lip

# Official emphasis (spec section 8.3): points not named count 1.
_EMPHASIS = (
    ((5, 6, 10, 11), 2.0),
    ((27, 28, 29, 32, 33, 34), 1.5),
    ((30, 31, 35), 3.0),
    ((48, 54), 3.0),
    ((*range(49, 54), *range(55, 68)), 1.5),
)


def landmark_weights() -> Tensor:
    """[68] weights of the points: nose, mouth and the lower cheeks count more (spec section 8.3)."""
    weights = torch.ones(68)
    for points, weight in _EMPHASIS:
        weights[list(points)] = weight
    return weights


def landmark_loss(predicted: Tensor, label: Tensor, weights: Tensor) -> Tensor:
    """Weighted mean distance of the landmarks (paper section 4.1, L_lmk; spec section 8.3).

    sum_i w_i v_i (|dx_i| + |dy_i|) / (2 sum_i w_i v_i + 1e-8), sums over the batch and the points.

    Args:
        predicted: [N, 68, 2].
        label: [N, 68, 3], x, y and v.
        weights: [68].

    Returns:
        Scalar, NDC.
    """
    factors = weights * label[..., 2]
    distance = (predicted - label[..., :2]).abs().sum(-1)
    return (factors * distance).sum() / (2 * factors.sum() + 1e-8)


def unweighted_landmark_loss(predicted: Tensor, label: Tensor) -> Tensor:
    """Mean of |dx| and |dy| over all points, known or not: [N, 68, 2] and [N, 68, 3] -> scalar."""
    return (predicted - label[..., :2]).abs().mean()


def opening_loss(predicted: Tensor, label: Tensor, pairs: Tensor) -> Tensor:
    """Mean difference of how far two points are apart (paper section 4.1, L_eye; spec section 8.3).

    mean | ||p_u - p_l|| - ||q_u - q_l|| | over the batch and the pairs (u, l), lengths in NDC.

    Args:
        predicted: [N, 68, 2].
        label: [N, 68, 2 or 3]; the third column is not used.
        pairs: int64 [P, 2], `EYELID_PAIRS` or `LIP_PAIRS`.

    Returns:
        Scalar, NDC.
    """
    upper, lower = pairs.unbind(1)
    flat = label[..., :2]
    have = torch.linalg.vector_norm(predicted[:, upper] - predicted[:, lower], dim=-1)
    want = torch.linalg.vector_norm(flat[:, upper] - flat[:, lower], dim=-1)
    return (have - want).abs().mean()
