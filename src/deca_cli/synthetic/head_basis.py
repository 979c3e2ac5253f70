"""Identity basis of the open head: rigid alignment of random heads and a symmetric principal component analysis.

The covariance of the drawn heads together with their mirror images splits into a symmetric and an antisymmetric
part, so every component is either symmetric or antisymmetric: mirroring a head only flips signs in its code.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from deca_cli.synthetic.head_sampling import draw_weights

if TYPE_CHECKING:
    from collections.abc import Iterator

    from deca_cli.synthetic.head_source import SourceHead

CHUNK = 500
OVERSAMPLING = 40
# MakeHuman's body height scales the head too: drawn face sizes vary by 8 %. Adults' faces vary by about 4 %
# (anthropometric tables: face height and breadth have coefficients of variation of 4 to 5 %).
SIZE_RETAINED = 0.5
LARGEST_SIZE_CHANGE = 0.11


@dataclass(frozen=True)
class IdentityBasis:
    """Mean head [V,3], components [V,3,S] per standard deviation, mirror signs [S] and explained shares [S]."""

    mean: np.ndarray
    components: np.ndarray
    mirror_signs: np.ndarray
    explained: np.ndarray  # cumulative share of the weighted variance


def align(heads: np.ndarray, reference: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Rigidly align heads [n,V,3] to the reference [V,3] on the vertices `points`, and temper their size.

    Rotation by Kabsch. The logarithm of the size relative to the reference is multiplied by SIZE_RETAINED.
    """
    target = reference[points]
    target_centre = target.mean(0)
    target = target - target_centre
    centres = heads[:, points].mean(1, keepdims=True)
    moved = heads - centres
    covariance = np.einsum("npi,pj->nij", moved[:, points], target)
    left, _, right = np.linalg.svd(covariance)
    sign = np.sign(np.linalg.det(left @ right))
    left[:, :, 2] *= sign[:, None]
    rotation = left @ right
    size = 0.5 * np.log((moved[:, points] ** 2).sum((1, 2)) / (target**2).sum())
    kept = np.clip(SIZE_RETAINED * size, -LARGEST_SIZE_CHANGE, LARGEST_SIZE_CHANGE)
    return moved @ rotation * np.exp(kept - size)[:, None, None] + target_centre


def head_chunks(
    source: SourceHead, weights: np.ndarray, reference: np.ndarray, points: np.ndarray
) -> Iterator[np.ndarray]:
    """Aligned heads [CHUNK,V,3] made from the shape weights [N,K+2L]."""
    shapes = torch.from_numpy(source.stacked_shapes().reshape(weights.shape[1], -1))
    for start in range(0, len(weights), CHUNK):
        flat = torch.from_numpy(weights[start : start + CHUNK]) @ shapes
        heads = np.asarray(flat).reshape(len(flat), -1, 3) + source.template
        yield align(heads, reference, points)


def mirrored(points: np.ndarray, mirror: np.ndarray) -> np.ndarray:
    """Points [...,V,3] of the head reflected in its middle plane, in the order of the vertices."""
    return points[..., mirror, :] * np.array([-1.0, 1.0, 1.0])


def mean_head(source: SourceHead, weights: np.ndarray, points: np.ndarray, *, rounds: int = 3) -> np.ndarray:
    """Symmetric mean of the aligned heads [V,3]."""
    reference = source.template + np.tensordot(weights.mean(0), source.stacked_shapes(), 1)
    for _ in range(rounds):
        total = sum(chunk.sum(0) for chunk in head_chunks(source, weights, reference, points))
        mean = np.asarray(total) / len(weights)
        reference = 0.5 * (mean + mirrored(mean, source.mirror))
    return reference


def _parts(chunk: np.ndarray, mean: np.ndarray, mirror: np.ndarray, scale: np.ndarray) -> list[torch.Tensor]:
    """Weighted symmetric and antisymmetric parts of the deviations, each [n,V*3]."""
    deviation = chunk - mean
    other = mirrored(deviation, mirror)
    parts = (0.5 * (deviation + other), 0.5 * (deviation - other))
    return [torch.from_numpy((part * scale[:, None]).reshape(len(chunk), -1)) for part in parts]


def _principal(
    chunks: list[torch.Tensor], count: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, float]:
    """Leading directions [count,V*3] (unit), their variances [count] and the total variance.

    Randomised range finder with two power iterations over the chunks [n,V*3].
    """
    width = chunks[0].shape[1]
    number = sum(len(chunk) for chunk in chunks)
    basis = torch.from_numpy(rng.standard_normal((width, count + OVERSAMPLING)))
    for _ in range(3):
        product = torch.zeros_like(basis)
        for chunk in chunks:
            values = chunk.double()
            product += values.T @ (values @ basis)
        basis, _ = torch.linalg.qr(product)
    scores = torch.cat([chunk.double() @ basis for chunk in chunks])
    _, singular, rotation = torch.linalg.svd(scores, full_matrices=False)
    total = sum(float((chunk.double() ** 2).sum()) for chunk in chunks) / number
    directions = (basis @ rotation.T).T[:count]
    return np.asarray(directions), np.asarray(singular[:count] ** 2) / number, total


def _fix_sign(component: np.ndarray) -> np.ndarray:
    """The coordinate of largest size is made positive, so that the sign does not depend on the solver."""
    return component if component.flat[np.abs(component).argmax()] > 0 else -component


def identity_basis(
    source: SourceHead,
    *,
    points: np.ndarray,
    vertex_weights: np.ndarray,
    heads: int,
    components: int,
    seed: int,
) -> IdentityBasis:
    """Basis of `heads` random heads and their mirror images, in units of one standard deviation.

    Args:
        source: the sampled head.
        points: vertices [P] on which the heads are aligned.
        vertex_weights: [V] positive, how much each vertex counts in the analysis.
        heads: number of drawn heads.
        components: number of components kept.
        seed: of the random draws.
    """
    rng = np.random.default_rng(seed)
    weights = draw_weights(rng, source, heads)
    mean = mean_head(source, weights[: heads // 5], points)
    scale = np.sqrt(vertex_weights)
    parts: list[list[torch.Tensor]] = [[], []]
    for chunk in head_chunks(source, weights, mean, points):
        for part, values in zip(parts, _parts(chunk, mean, source.mirror, scale), strict=True):
            part.append(values.float())  # halves the memory; the sums above stay float64
    total, found = 0.0, []
    for sign, part in zip((1, -1), parts, strict=True):
        directions, variances, part_total = _principal(part, components, rng)
        total += part_total
        found += [(variance, sign, row) for variance, row in zip(variances, directions, strict=True)]
    found.sort(key=lambda item: -item[0])
    found = found[:components]
    basis = [_fix_sign(row.reshape(-1, 3) * np.sqrt(variance) / scale[:, None]) for variance, _, row in found]
    return IdentityBasis(
        mean=mean,
        components=np.stack(basis, axis=-1),
        mirror_signs=np.array([sign for _, sign, _ in found], np.int8),
        explained=np.cumsum([variance for variance, _, _ in found]) / total,
    )
