"""Two tooth arches, laid smoothly through the coarse helper teeth of the MakeHuman base mesh.

Every arch vertex is a fixed linear combination of the 68 helper vertices of its arch, so the arches follow every
identity shape and every facial action that MakeHuman's artists made for the helpers (`jawOpen` lowers the lower one).
"""

from __future__ import annotations

import numpy as np

# The helpers form a grid of 4 rows and 17 columns. Numbers are within the helper group, from the midline to the
# subject's left molar; the right half mirrors. Rows: gum, middle of the outer face, incisal edge, inner side.
UPPER_ROWS = (
    (1, 0, 2, 3, 4, 5, 6, 7, 8),
    (19, 15, 14, 13, 12, 24, 23, 22, 21),
    (9, 26, 11, 10, 25, 18, 17, 16, 20),
    (27, 35, 29, 28, 34, 32, 31, 30, 33),
)
LOWER_ROWS = (
    (1, 0, 2, 3, 4, 5, 6, 7, 8),
    (20, 21, 22, 23, 19, 24, 25, 26, 17),
    (18, 9, 10, 11, 12, 13, 14, 15, 16),
    (35, 27, 28, 29, 30, 31, 32, 33, 34),
)
# Rows of the arch as mixtures of the helper rows. The first two are gum, the others tooth.
ROW_MIX = np.array(
    [
        [1.0, 0.0, 0.0, 0.0],
        [0.5, 0.5, 0.0, 0.0],
        [0.0, 1.0, 0.0, 0.0],
        [0.0, 0.5, 0.5, 0.0],
        [0.0, 0.12, 0.88, 0.0],
        [0.0, 0.0, 1.0, 0.0],
        [0.0, 0.0, 0.0, 1.0],
    ]
)
GUM_ROWS = 2
COLUMNS = 25
ROWS = len(ROW_MIX)
ARCH_VERTICES = ROWS * COLUMNS
POLYNOMIAL_DEGREE = 6  # smooths the kinks of the helpers' 17 columns


def _full_rows(half_rows: tuple[tuple[int, ...], ...], helper_mirror: np.ndarray) -> np.ndarray:
    """Helper numbers [4,17] from the subject's right molar to the left one."""
    half = np.array(half_rows)
    return np.concatenate([helper_mirror[half[:, :0:-1]], half], axis=1)


def arch_weights(
    helpers: np.ndarray, helper_mirror: np.ndarray, half_rows: tuple[tuple[int, ...], ...]
) -> np.ndarray:
    """Weights [ARCH_VERTICES,68] that make the arch of the helper vertices [68,3]; every row sums to 1.

    Columns are spread evenly along the gum and each row is a polynomial of the arc length, fitted by least squares.
    """
    rows = _full_rows(half_rows, helper_mirror)
    gum = helpers[rows[0]]
    steps = np.linalg.norm(np.diff(gum, axis=0), axis=1)
    position = np.concatenate([[0.0], np.cumsum(steps)])
    position = 2.0 * position / position[-1] - 1.0
    position = (position - position[::-1]) / 2.0
    target = np.linspace(-1.0, 1.0, COLUMNS)
    fit = np.linalg.pinv(np.polynomial.chebyshev.chebvander(position, POLYNOMIAL_DEGREE))
    smooth = np.polynomial.chebyshev.chebvander(target, POLYNOMIAL_DEGREE) @ fit  # [COLUMNS, 17]
    weights = np.zeros((ROWS, COLUMNS, len(helpers)))
    for row in range(ROWS):
        for helper_row in range(4):
            weights[row][:, rows[helper_row]] += ROW_MIX[row, helper_row] * smooth
    return weights.reshape(ARCH_VERTICES, len(helpers))


def arch_faces(*, upper: bool) -> tuple[np.ndarray, np.ndarray]:
    """Triangles [N,3], outer side counter-clockwise, and mirror vertices [ARCH_VERTICES] of one arch.

    The diagonals mirror too: the right half's quads are cut the other way.
    """
    grid = np.arange(ARCH_VERTICES).reshape(ROWS, COLUMNS)
    a, b = grid[:-1, :-1].ravel(), grid[:-1, 1:].ravel()
    c, d = grid[1:, :-1].ravel(), grid[1:, 1:].ravel()
    left = np.tile(np.arange(COLUMNS - 1) >= (COLUMNS - 1) // 2, ROWS - 1)[:, None]
    first = np.where(left, np.stack([a, c, d], 1), np.stack([a, c, b], 1))
    second = np.where(left, np.stack([a, d, b], 1), np.stack([b, c, d], 1))
    faces = np.concatenate([first, second])
    mirror = grid[:, ::-1].ravel()
    return (faces if upper else faces[:, ::-1]), mirror


def gum_rows() -> np.ndarray:
    """Which arch vertices are gum, bool [ARCH_VERTICES]."""
    return np.repeat(np.arange(ROWS) < GUM_ROWS, COLUMNS)
