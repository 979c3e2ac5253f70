"""Powell's dogleg with a trust region, with the settings and the early stop of the NoW evaluation.

The official code stops long before full convergence, so its exact path matters: the same steps, the same stop.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

START_RADIUS = 0.1  # scale, radians and millimetres share it
ENOUGH = 1e-4  # stop when an accepted step lowers the objective by less than this share
MOST_STEPS = 200
SMALLEST_RADIUS = 1e-15
CG_TOLERANCE = 1e-5  # of the right-hand side
CG_ROUNDS = 2000


@dataclass(frozen=True)
class Evaluation:
    """The problem at one set of parameters."""

    residuals: NDArray[np.float64]  # [N]
    objective: float  # their sum of squares
    normal_equations: Callable[
        [], tuple[NDArray[np.float64], NDArray[np.float64]]
    ]  # J^T J [P, P], -J^T r [P]


@dataclass(frozen=True)
class Minimum:
    """Where the search ended."""

    parameters: NDArray[np.float64]  # [P]
    evaluation: Evaluation
    steps: int  # accepted
    trials: int


def minimise(evaluate: Callable[[NDArray[np.float64]], Evaluation], start: NDArray[np.float64]) -> Minimum:
    """Lower the sum of squares from `start` until a step gains less than 1e-4 of it."""
    parameters, here, radius, trials = start, evaluate(start), START_RADIUS, 0
    for steps in range(MOST_STEPS):
        matrix, gradient = here.normal_equations()
        if here.objective == 0 or np.abs(gradient).max() < SMALLEST_RADIUS:
            return Minimum(parameters, here, steps, trials)
        cauchy, newton = _cauchy_step(matrix, gradient), solve(matrix, gradient)
        while True:
            step = _dogleg_step(cauchy, newton, radius)
            there, trials = evaluate(parameters + step), trials + 1
            gain = here.objective - there.objective
            expected = float(2 * gradient @ step - step @ matrix @ step)
            radius = _next_radius(radius, step, gain / expected, accepted=gain > 0)
            if gain > 0:
                break
            if min(radius, float(np.linalg.norm(step))) < SMALLEST_RADIUS:
                return Minimum(parameters, here, steps, trials)
        parameters, before, here = parameters + step, here.objective, there
        if gain / before < ENOUGH:
            return Minimum(parameters, here, steps + 1, trials)
    return Minimum(parameters, here, MOST_STEPS, trials)


def _cauchy_step(matrix: NDArray[np.float64], gradient: NDArray[np.float64]) -> NDArray[np.float64]:
    return gradient * (gradient @ gradient) / (gradient @ matrix @ gradient)


def _dogleg_step(
    cauchy: NDArray[np.float64], newton: NDArray[np.float64], radius: float
) -> NDArray[np.float64]:
    """Cauchy direction cut at the radius, the whole Gauss-Newton step, or the point in between at the radius."""
    cauchy_size = np.linalg.norm(cauchy)
    if cauchy_size >= radius:
        return cauchy * (radius / cauchy_size)
    if np.linalg.norm(newton) <= radius:
        return newton
    leg = newton - cauchy
    a, b, c = leg @ leg, 2 * cauchy @ leg, cauchy @ cauchy - radius**2
    return cauchy + leg * ((-b + np.sqrt(b * b - 4 * a * c)) / (2 * a))


def _next_radius(radius: float, step: NDArray[np.float64], ratio: float, *, accepted: bool) -> float:
    if not accepted or ratio < 0.05:
        return radius / 4
    return max(radius, 2.5 * float(np.linalg.norm(step))) if ratio > 0.9 else radius


def solve(matrix: NDArray[np.float64], right: NDArray[np.float64]) -> NDArray[np.float64]:
    """Conjugate gradients from zero without preconditioner, stopped at 1e-5 of the right-hand side.

    An exact solve would move single distances by up to 1e-3 mm away from the official numbers.
    """
    solution, residual = np.zeros_like(right), right.copy()
    direction, squared = residual, float(residual @ residual)
    target = CG_TOLERANCE * float(np.linalg.norm(right))
    for _ in range(CG_ROUNDS):
        if np.sqrt(squared) <= target:
            break
        image = matrix @ direction
        length = squared / float(direction @ image)
        solution = solution + length * direction
        residual = residual - length * image
        previous, squared = squared, float(residual @ residual)
        direction = residual + (squared / previous) * direction
    return solution
