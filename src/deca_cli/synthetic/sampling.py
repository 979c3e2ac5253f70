"""Random heads in front of random cameras: what is rendered, and what the encoder is asked for."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from deca_cli.synthetic.constants import constant

if TYPE_CHECKING:
    from deca_cli.synthetic.draws import Draws
    from deca_cli.synthetic.expressions import ExpressionSampler


@dataclass(frozen=True)
class PoseRange:
    """Spread of head poses in degrees: a Gaussian half for everyday photos, a uniform half for the rest."""

    yaw_std: float = 20.0
    pitch_std: float = 12.0
    roll_std: float = 12.0
    yaw_limit: float = 90.0
    pitch_limit: float = 38.0
    roll_limit: float = 45.0
    uniform_share: float = 0.5


@dataclass(frozen=True)
class CropRange:
    """How the face lies in its crop: side of the crop over the larger side of the 68-point box, and its jitter."""

    factor: float = 1.45
    log_scale_std: float = 0.09
    shift_std: float = 0.045
    rough_share: float = 0.2  # first crops come from a detector's box and lie less well
    rough_log_scale_std: float = 0.16
    rough_shift_std: float = 0.09


@dataclass(frozen=True)
class FaceParameters:
    """What is drawn for a batch before anything is rendered (N faces)."""

    shape: Tensor  # [N, S] identity, unit variance
    expression: Tensor  # [N, E] ARKit coefficients
    rotation: Tensor  # [N, 3, 3] head to camera-aligned frame (x right, y up, z towards the viewer)
    perspective: Tensor  # [N] 1/m, inverse distance between camera and head origin


def rotation_from_degrees(yaw: Tensor, pitch: Tensor, roll: Tensor) -> Tensor:
    """[N, 3, 3]: roll about z after pitch about x after yaw about y; positive yaw turns the face to image right."""
    y, p, r = (angle * (math.pi / 180) for angle in (yaw, pitch, roll))
    zero, one = torch.zeros_like(y), torch.ones_like(y)
    about_y = torch.stack([y.cos(), zero, y.sin(), zero, one, zero, -y.sin(), zero, y.cos()], 1).view(
        -1, 3, 3
    )
    about_x = torch.stack([one, zero, zero, zero, p.cos(), -p.sin(), zero, p.sin(), p.cos()], 1).view(
        -1, 3, 3
    )
    about_z = torch.stack([r.cos(), -r.sin(), zero, r.sin(), r.cos(), zero, zero, zero, one], 1).view(
        -1, 3, 3
    )
    return about_z @ about_x @ about_y


def sample_rotations(draws: Draws, count: int, spread: PoseRange) -> Tensor:
    """[count, 3, 3] head rotations."""
    wide = draws.chance(spread.uniform_share, count)

    def angle(std: float, limit: float) -> Tensor:
        everyday = draws.normal(count, std=std).clamp(-limit, limit)
        return torch.where(wide, draws.uniform(count, low=-limit, high=limit), everyday)

    return rotation_from_degrees(
        angle(spread.yaw_std, spread.yaw_limit),
        angle(spread.pitch_std, spread.pitch_limit),
        angle(spread.roll_std, spread.roll_limit),
    )


def sample_parameters(
    draws: Draws,
    count: int,
    identity_size: int,
    expressions: ExpressionSampler,
    spread: PoseRange,
    per_person: int = 1,
) -> FaceParameters:
    """Draw identity, expression, pose and camera distance for ``count`` faces, ``per_person`` in a row of each person."""
    people = count // per_person
    # A little wider than the head statistics, because real faces are more varied than the generator of the basis.
    identity = draws.normal(people, identity_size) * draws.uniform(people, 1, low=0.6, high=1.35)
    distance = draws.log_uniform(count, low=0.55, high=4.0)  # metres: selfie to tele lens
    rotation = sample_rotations(draws, count, spread)
    return FaceParameters(
        shape=identity.repeat_interleave(per_person, 0),
        expression=expressions.sample(draws, count, rotation),
        rotation=rotation,
        perspective=1 / distance,
    )


def perspective_points(points: Tensor, perspective: Tensor) -> Tensor:
    """Divide by depth: x' = x / (1 - k z), and keep z for ordering.

    Args:
        points: [N, P, 3] in the camera-aligned frame, metres, z towards the viewer.
        perspective: [N] inverse camera distance k in 1/m.

    Returns:
        [N, P, 3]; x and y in metres at the depth of the head origin, z unchanged.
    """
    shrink = 1 / (1 - perspective[:, None, None] * points[..., 2:]).clamp_min(0.2)
    return torch.cat([points[..., :2] * shrink, points[..., 2:]], dim=-1)


@dataclass(frozen=True)
class Framing:
    """The crop as an affine map from metres to NDC: ndc = (scale x + shift_x, -(scale y) + shift_y, -scale z)."""

    scale: Tensor  # [N] NDC per metre
    shift: Tensor  # [N, 2] NDC

    def apply(self, points: Tensor) -> Tensor:
        """[N, P, 3] camera-aligned metres to NDC (x right, y down, smaller z nearer)."""
        flipped = points * constant((1.0, -1.0, -1.0), points.device)
        placed = flipped * self.scale[:, None, None]
        return torch.cat([placed[..., :2] + self.shift[:, None], placed[..., 2:]], dim=-1)


def sample_framing(draws: Draws, landmarks: Tensor, crop: CropRange) -> Framing:
    """Place the crop around the 68 projected landmarks as the pipeline does, with jitter.

    Args:
        landmarks: [N, 68, 3] camera-aligned points after perspective, metres.
        crop: sizes and jitter.
    """
    count = landmarks.shape[0]
    low, high = landmarks[..., :2].amin(1), landmarks[..., :2].amax(1)
    centre, side = (low + high) / 2, (high - low).amax(1)
    rough = draws.chance(crop.rough_share, count)
    scale_std = torch.where(rough, crop.rough_log_scale_std, crop.log_scale_std)
    shift_std = torch.where(rough, crop.rough_shift_std, crop.shift_std)
    jittered = side * torch.exp(draws.normal(count).clamp(-2.5, 2.5) * scale_std)
    scale = 2 / (crop.factor * jittered)
    move = draws.normal(count, 2).clamp(-2.5, 2.5) * (2 * shift_std)[:, None]
    flipped_centre = centre * constant((1.0, -1.0), centre.device)
    return Framing(scale=scale, shift=move - flipped_centre * scale[:, None])
