"""One head's expressions in the coefficients of another: ridge regression of deformations.

The driver's head, with the mean identity, takes the expression; its displacements from neutral, carried over by
`correspondence`, are what the source's coefficients x should reproduce:

    least  sum_k a_k |A_k x - d_k|^2  +  sum_i ridge_i (G_ii + median G) x_i^2,      G = A^T a A

a_k is the area around point k, A_k the displacement there per unit of each coefficient. Where the source has no named
expressions (FLAME) three columns of A are its jaw rotation, as the secant to `JAW_RAD`. Where coefficients have limits
(ARKit: 0..1) the minimum within them is found by coordinate descent.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from deca_cli.animate.correspondence import Correspondence, correspond, onto_itself
from deca_cli.heads.model import HeadModel

if TYPE_CHECKING:
    from deca_cli.animate.motion import Motion
    from deca_cli.animate.spaces import ExpressionSpace

RIDGE = 2e-3
GAZE, GAZE_RIDGE = (
    "eyeLook",
    0.5,
)  # eyeballs are not part of the fit: lids that close must not be taken for a look down
JAW_RAD = (0.2, 0.1, 0.1)  # turn about x, y, z over which the jaw is taken as straight
SWEEPS = 80  # of the coordinate descent
CHUNK = 64  # frames whose deformations are held at once


@dataclass(frozen=True, eq=False)
class Fit:
    """The source's side of the equation."""

    match: Correspondence
    basis: np.ndarray  # float32 [3 K, C], displacement per coefficient times the root of the area
    gram: np.ndarray  # float64 [C, C], with the ridge
    limits: tuple[float, float] | None
    expressions: int  # columns that are expressions; three of the jaw may follow


def retarget(motion: Motion, target: ExpressionSpace) -> Motion:
    """The same motion in the coefficients of another head; head rotations are the same in all of them."""
    if motion.space.same_as(target):
        return motion
    if motion.space.names and target.names:
        return replace(motion, space=target, expression=by_name(motion, target))
    fit = fit_to(target, motion.space)
    parts = [_solve(fit, motion, slice(at, at + CHUNK)) for at in range(0, motion.length, CHUNK)]
    solved = torch.from_numpy(np.concatenate(parts)).float()
    jaw = solved[:, fit.expressions :] if solved.shape[1] > fit.expressions else torch.zeros(motion.length, 3)
    return replace(
        motion, space=target, expression=solved[:, : fit.expressions].contiguous(), jaw=jaw.contiguous()
    )


def by_name(motion: Motion, target: ExpressionSpace) -> Tensor:
    """[N, E] coefficients picked by their names; those that the driver does not have are 0."""
    column = {name: index for index, name in enumerate(motion.space.names)}
    wanted = [column.get(name) for name in target.names]
    zeros = motion.expression.new_zeros(motion.length)
    return torch.stack([zeros if index is None else motion.expression[:, index] for index in wanted], dim=1)


@lru_cache(maxsize=4)
def fit_to(target: ExpressionSpace, driver: ExpressionSpace | None = None) -> Fit:
    """Prepare the equation for one pair of heads, or for a head with itself."""
    match = onto_itself(target.head) if driver is None else correspond(target.head, driver.head)
    columns = target.head.expression_basis[match.here].astype(np.float32)  # [K, 3, E]
    if not target.names:
        columns = np.concatenate([columns, _jaw_columns(target, match.here)], axis=2)
    basis = (columns * np.sqrt(match.area)[:, None, None]).reshape(-1, columns.shape[2])
    gram = basis.T.astype(np.float64) @ basis
    diagonal = np.diag(gram)
    ridge = np.full(len(diagonal), RIDGE)
    ridge[[index for index, name in enumerate(target.names) if name.startswith(GAZE)]] = GAZE_RIDGE
    gram = gram + np.diag(ridge * (diagonal + np.median(diagonal)) + 1e-30)
    return Fit(match, basis, gram, target.limits, target.size)


def _jaw_columns(space: ExpressionSpace, points: np.ndarray) -> np.ndarray:
    """[K, 3, 3] displacement per radian of the jaw about x, y, z."""
    turns = torch.diag(torch.tensor(JAW_RAD))
    moved = deformations(space, torch.zeros(3, space.size), turns)[:, points]
    return np.asarray(moved / np.array(JAW_RAD, np.float32)[:, None, None]).transpose(1, 2, 0)


@lru_cache(maxsize=4)
def _model(space: ExpressionSpace) -> HeadModel:
    return HeadModel(space.head)


@torch.inference_mode()
def deformations(space: ExpressionSpace, expression: Tensor, jaw: Tensor) -> np.ndarray:
    """float32 [N, V, 3] displacement from neutral of the mean identity, metres; the head does not turn."""
    model = _model(space)
    shape = torch.zeros(len(expression), model.shape_size)
    pose = torch.cat([torch.zeros_like(jaw), jaw], dim=1)
    moved = model(shape, expression.float().cpu(), pose.float().cpu()) - model.template_vertices
    return np.asarray(moved.numpy())


def _solve(fit: Fit, motion: Motion, part: slice) -> np.ndarray:
    """float64 [n, C] coefficients of some frames."""
    moved = fit.match.carry(deformations(motion.space, motion.expression[part], motion.jaw[part]))
    goal = (moved * np.sqrt(fit.match.area)[:, None]).reshape(len(moved), -1)
    right = goal.astype(np.float64) @ fit.basis
    free = np.linalg.solve(fit.gram, right.T).T
    return free if fit.limits is None else within(fit.gram, right, free, fit.limits)


def within(gram: np.ndarray, right: np.ndarray, start: np.ndarray, limits: tuple[float, float]) -> np.ndarray:
    """Minimise x G x / 2 - b x for every row b of `right` with all x between the limits, by coordinate descent."""
    low, high = limits
    solution = np.clip(start, low, high)
    for _ in range(SWEEPS):
        before = solution.copy()
        for column in range(len(gram)):
            rest = right[:, column] - solution @ gram[column] + solution[:, column] * gram[column, column]
            solution[:, column] = np.clip(rest / gram[column, column], low, high)
        if np.abs(solution - before).max() < 1e-6:
            break
    return solution
