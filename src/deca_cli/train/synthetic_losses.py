"""Losses of the synthetic stage: the truth is known, so they compare points, rotations and codes directly.

All take tensors of a batch and return one value per face, [N]; the caller weighs and averages them.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from deca_cli.synthetic.constants import constant

EYELID_PAIRS = ((37, 41), (38, 40), (43, 47), (44, 46))  # upper and lower lid
LIP_PAIRS = ((61, 67), (62, 66), (63, 65))  # upper and lower inner lip

# Coefficients by the beginnings of their names, for those that may count more than the others.
EXPRESSION_GROUPS = {
    "gaze": ("eyeLook",),
    "brows": ("brow",),
    "lids": ("eyeBlink", "eyeSquint", "eyeWide"),
    "mouth": (
        "mouthPucker",
        "mouthFunnel",
        "mouthLeft",
        "mouthRight",
        "mouthRoll",
        "mouthPress",
        "mouthShrug",
    ),
}


def point_distance(predicted: Tensor, truth: Tensor) -> Tensor:
    """Mean absolute difference of points [N, P, D]."""
    return (predicted - truth).abs().mean((1, 2))


def opening_difference(predicted: Tensor, truth: Tensor) -> Tensor:
    """How wrongly lids and lips are opened: mean absolute difference of the vectors across the pairs.

    Args:
        predicted, truth: [N, 68, 2] landmarks.
    """
    pairs = constant((*EYELID_PAIRS, *LIP_PAIRS), predicted.device).long()
    upper, lower = pairs.T
    return (
        ((predicted[:, upper] - predicted[:, lower]) - (truth[:, upper] - truth[:, lower])).abs().mean((1, 2))
    )


def unexplained(predicted: Tensor, truth: Tensor, variances: Tensor) -> Tensor:
    """Squared error of codes [N, E] as a share of their variances [E], averaged: 1 for always answering the mean."""
    return ((predicted - truth).square() / variances).mean(1)


def outside_range(coefficients: Tensor) -> Tensor:
    """Squared distance of coefficients [N, E] from [0, 1], summed."""
    return (F.relu(-coefficients) ** 2 + F.relu(coefficients - 1) ** 2).sum(1)


def gaussian_nll(points: Tensor, log_sigma: Tensor, truth: Tensor) -> Tensor:
    """Negative log likelihood of points [N, P, 2] under isotropic Gaussians with predicted widths [N, P].

    -log N(truth; points, sigma^2 I) = |d|^2 / (2 sigma^2) + 2 log sigma + const (Wood et al. 2022, "3D face
    reconstruction with dense landmarks", equation 3).
    """
    squared = ((points - truth) ** 2).sum(-1)
    return (0.5 * squared * torch.exp(-2 * log_sigma) + 2 * log_sigma).mean(1)
