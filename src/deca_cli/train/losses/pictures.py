"""Losses on colours and on what the encoder says: photometric, identity, regularisers."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from deca_cli.heads.rotations import axis_angle_to_matrix

JAW_ROLL_WEIGHT, JAW_CLOSE_WEIGHT = 100.0, 10.0  # fixed in the official release


def photometric_loss(predicted: Tensor, photo: Tensor, mask: Tensor) -> Tensor:
    """Mean of M |I_predicted - I| over pictures, channels and all pixels (paper section 4.1, L_pho; spec section 8.3).

    Args:
        predicted, photo: [N, 3, S, S] RGB in 0..1.
        mask: [N, 1, S, S]; 0 counts as no difference.
    """
    return (mask * (predicted - photo).abs()).mean()


def identity_loss(rendered: Tensor, photo: Tensor) -> Tensor:
    """Mean of 1 - cos(f(I_rendered), f(I)) over samples (paper section 4.1, L_id; spec section 8.5).

    Args:
        rendered, photo: [N, D] features of a face recognition network.
    """
    return (1 - F.cosine_similarity(rendered, photo, dim=1, eps=1e-8)).mean()


def code_energy(codes: Tensor) -> Tensor:
    """Half the sum of squares over all samples and coefficients (paper section 4.1, L_reg; spec section 8.3).

    A sum, not a mean [K14]: it grows with the batch.
    """
    return codes.square().sum() / 2


def light_loss(light: Tensor) -> Tensor:
    """Mean squared deviation of every coefficient from its mean over red, green, blue: light wants to be white.

    Args:
        light: [N, 9, 3] spherical harmonics (spec section 8.3).
    """
    return (light - light.mean(dim=2, keepdim=True)).square().mean()


def euler_angles(axis_angle: Tensor) -> Tensor:
    """[N, 3] axis-angle -> [N, 3] angles about x, y, z of R = Rx Ry Rz (spec section 3.2), radians; y within a quarter."""
    r = axis_angle_to_matrix(axis_angle)
    x = torch.atan2(-r[:, 1, 2], r[:, 2, 2])
    y = torch.asin(r[:, 0, 2].clamp(-1, 1))
    z = torch.atan2(-r[:, 0, 1], r[:, 0, 0])
    return torch.stack([x, y, z], dim=1)


def jaw_roll_loss(euler_jaw: Tensor) -> Tensor:
    """100 times half the sum of z^2: a jaw does not roll. [N, 3] Euler angles x, y, z in radians (spec section 8.3)."""
    return JAW_ROLL_WEIGHT * euler_jaw[:, 2].square().sum() / 2


def jaw_close_loss(euler_jaw: Tensor) -> Tensor:
    """10 times half the sum of max(-x, 0)^2: a jaw does not close further than shut. [N, 3] as `jaw_roll_loss`."""
    return JAW_CLOSE_WEIGHT * F.relu(-euler_jaw[:, 0]).square().sum() / 2
