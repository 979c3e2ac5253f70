"""Expression transfer: what comes from the driver and what stays the source's (specification 7.6)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from deca_cli.animate.correspondence import landmarks
from deca_cli.animate.mapping import RIDGE, fit_to
from deca_cli.animate.motion import neutral_of
from deca_cli.errors import UsageError
from deca_cli.heads.rotations import axis_angle_to_matrix, euler_degrees_to_matrix, matrix_to_axis_angle

if TYPE_CHECKING:
    from collections.abc import Iterable

    from deca_cli.animate.motion import Motion
    from deca_cli.animate.spaces import ExpressionSpace
    from deca_cli.networks.codes import Codes

Pose = str | tuple[float, float, float]  # source, driver, frontal, or yaw, pitch, roll in degrees
KEPT_NAMES = {  # beginnings of ARKit names
    "jaw": ("jaw",),
    "mouth": ("jaw", "mouth", "cheekPuff", "tongue"),
    "eyes": ("eye",),
}
KEPT_JAW = ("jaw", "mouth")  # parts that keep the jaw's rotation
KEPT_LANDMARKS = {"mouth": slice(48, 68), "eyes": slice(36, 48)}
# A point so near the landmarks of a part belongs to it fully; one farther than the second not at all. A smile lifts the cheeks.
REACH_M = {"mouth": (0.02, 0.05), "eyes": (0.012, 0.03)}


@dataclass(frozen=True)
class TransferRule:
    """How a driver acts on a source. The defaults are those of the official transfer."""

    relative: bool = False  # add the driver's change from its own neutral instead of taking its expression
    neutral: str = "calmest"  # see motion.neutral_of
    intensity: float = 1.0  # 0 = neutral, or with `relative` the source's own expression
    keep: tuple[str, ...] = ()  # jaw, mouth, eyes
    pose: Pose = "source"


def parse_pose(text: str) -> Pose:
    """`source`, `driver`, `frontal` or `YAW,PITCH,ROLL` in degrees.

    Raises:
        UsageError: it is none of these.
    """
    if text in {"source", "driver", "frontal"}:
        return text
    try:
        yaw, pitch, roll = (float(number) for number in text.split(","))
    except ValueError:
        raise UsageError(
            f"--pose {text}: say source, driver, frontal or YAW,PITCH,ROLL in degrees."
        ) from None
    return yaw, pitch, roll


def check_keep(parts: Iterable[str]) -> tuple[str, ...]:
    """The parts once each.

    Raises:
        UsageError: an unknown part.
    """
    parts = tuple(dict.fromkeys(parts))
    unknown = [part for part in parts if part not in KEPT_NAMES]
    if unknown:
        raise UsageError(f"--keep {unknown[0]}: only {', '.join(KEPT_NAMES)} can be kept.")
    return parts


def transfer(source: Codes, motion: Motion, rule: TransferRule) -> Codes:
    """The source's codes with the driver's expression, one for every frame.

    Identity, skin colour, camera, light and the detail code stay the source's, so that its displacement, decoded anew
    from the new expression and jaw, is that person's own.

    Args:
        source: batch of one.
        motion: N frames in the source's own coefficients (`mapping.retarget`).
        rule: what is taken and what stays.

    Returns:
        Codes of a batch of N on the source's device.
    """
    device, count = source.pose.device, motion.length
    own = source.expression, source.pose[:, 3:]
    expression, jaw = motion.expression.to(device), motion.jaw.to(device)
    neutral = neutral_of(motion, rule.neutral) if rule.relative else None
    if neutral is None:
        expression, jaw = rule.intensity * expression, rule.intensity * jaw
    else:
        expression = own[0] + rule.intensity * (expression - neutral.expression.to(device))
        jaw = own[1] + rule.intensity * (jaw - neutral.jaw.to(device))
    if motion.space.limits is not None:
        expression = expression.clamp(*motion.space.limits)
    expression = keep_parts(motion.space, own[0], expression, rule.keep)
    if set(rule.keep) & set(KEPT_JAW):
        jaw = own[1].expand(count, -1)
    head = _head(source.pose[:, :3], motion, neutral, rule)
    everything = source.select(torch.zeros(count, dtype=torch.long, device=device))
    return replace(everything, expression=expression, pose=torch.cat([head, jaw], dim=1))


def _head(own: Tensor, motion: Motion, neutral: Motion | None, rule: TransferRule) -> Tensor:
    """[N, 3] axis-angle of the head."""
    count = motion.length
    if isinstance(rule.pose, tuple):
        return matrix_to_axis_angle(euler_degrees_to_matrix(own.new_tensor([rule.pose]))).expand(count, -1)
    if rule.pose == "frontal":
        return torch.zeros_like(own).expand(count, -1)
    if rule.pose == "source":
        return own.expand(count, -1)
    if motion.head is None:
        raise UsageError(
            "--pose driver: this driver says nothing about the head's pose. Leave the option out."
        )
    heads = motion.head.to(own)
    if neutral is None or neutral.head is None:
        return heads
    change = axis_angle_to_matrix(heads) @ axis_angle_to_matrix(neutral.head.to(own)).transpose(-1, -2)
    return matrix_to_axis_angle(change @ axis_angle_to_matrix(own))


def keep_parts(space: ExpressionSpace, own: Tensor, expression: Tensor, keep: tuple[str, ...]) -> Tensor:
    """[N, E] the driver's expression with some parts of the face as the source has them, [1, E].

    Named coefficients are kept by their names. Others are kept by place: the coefficients whose deformation is nearest to
    the source's around the part and to the driver's elsewhere.
    """
    for part in keep:
        if space.names:
            kept = torch.tensor(
                [name.startswith(KEPT_NAMES[part]) for name in space.names], device=own.device
            )
            expression = torch.where(kept, own, expression)
        elif part in KEPT_LANDMARKS:
            blend = torch.from_numpy(_blend_matrix(space, part)).to(own)
            expression = expression + (own - expression) @ blend.T
    return expression


@lru_cache(maxsize=8)
def _blend_matrix(space: ExpressionSpace, part: str) -> np.ndarray:
    """float64 [E, E]: change of expression -> the part of the change that moves this part of the face."""
    fit = fit_to(space)
    points = space.head.template_vertices[fit.match.here]
    marks = landmarks(space.head)[KEPT_LANDMARKS[part]]
    distance = np.linalg.norm(points[:, None] - marks, axis=-1).min(axis=1)
    full, none = REACH_M[part]
    near = np.clip((none - distance) / (none - full), 0, 1)
    basis = fit.basis[:, : space.size].astype(np.float64)
    gram = basis.T @ basis
    floor = RIDGE * (np.diag(gram) + np.median(np.diag(gram))) + 1e-30
    return np.asarray(np.linalg.solve(gram + np.diag(floor), basis.T @ (basis * np.repeat(near, 3)[:, None])))
