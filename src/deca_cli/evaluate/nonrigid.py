"""Non-rigid registration of a scan region onto a target, as the REALY benchmark prescribes (Chai et al., ECCV 2022).

Optimal-step non-rigid ICP (Amberg et al., CVPR 2007): an affine transform per vertex, neighbours kept alike by a
stiffness that is lowered in rounds. Constants are those of the benchmark's public code.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import splu
from scipy.spatial import cKDTree

from deca_cli.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

STIFFNESS = 50.0
CLOSE_ENOUGH = 1.0  # change of all transforms at which a round ends; halved every round
ROUNDS = 3
MOST_STEPS = 11  # per round, with keypoints
FIRST_STIFFNESS = 150.0  # of the opening step, which follows the keypoints only
FIRST_SHAPE = np.diag([2.0, 2.0, 3.0, 2.0])
KEYPOINT_WEIGHT = 50.0
MOST_STEPS_WITHOUT_KEYPOINTS = 200  # the public code has no limit; rounds end long before


@dataclass(frozen=True)
class Keypoints:
    """Vertices of the source that should reach given places."""

    vertices: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))  # [K]
    places: NDArray[np.float64] = field(default_factory=lambda: np.zeros((0, 3)))  # [K, 3]


def register(
    vertices: NDArray[np.float64],
    faces: NDArray[np.integer],
    target: NDArray[np.float64],
    keypoints: Keypoints | None = None,
) -> NDArray[np.float64]:
    """Bend vertices [N, 3] of a mesh onto target points [T, 3]; returns the moved vertices [N, 3]."""
    laplacian = _edge_laplacian(len(vertices), faces)
    tree = cKDTree(target)
    moved, transforms, previous = vertices, np.ones((4 * len(vertices), 3)), np.zeros((4 * len(vertices), 3))
    count = 0
    if keypoints is not None:
        stiffness = FIRST_STIFFNESS**2 * sparse.kron(laplacian, FIRST_SHAPE**2)
        weights = np.zeros(len(vertices))
        opening = _pull(keypoints, KEYPOINT_WEIGHT, len(vertices))
        previous = transforms
        moved, transforms = _solve(moved, stiffness, weights, moved, opening)
        count = 1
    limit = MOST_STEPS if keypoints is not None else MOST_STEPS_WITHOUT_KEYPOINTS
    for turn in range(ROUNDS):
        stiffness = (STIFFNESS * np.exp(-0.5 * turn)) ** 2 * sparse.kron(laplacian, np.eye(4))
        for _ in range(limit):
            if np.linalg.norm(transforms - previous) <= CLOSE_ENOUGH * 0.5**turn:
                break
            previous = transforms
            distances, nearest = tree.query(moved)
            weights = (distances < max(2 * distances.mean(), 1.0)).astype(float)
            weight = KEYPOINT_WEIGHT / 10 * np.exp(-0.9 * count)
            pull = _pull(keypoints, weight, len(vertices)) if keypoints is not None else None
            moved, transforms = _solve(moved, stiffness, weights, target[nearest], pull)
            count += 1
    return moved


def _edge_laplacian(size: int, faces: NDArray[np.integer]) -> sparse.csc_matrix:
    """M^T M [N, N] of the incidence matrix M of the mesh's edges, each counted once."""
    sides = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    edges = np.unique(np.sort(sides, axis=1), axis=0)
    rows = np.repeat(np.arange(len(edges)), 2)
    incidence = sparse.csc_matrix(
        (np.tile([1.0, -1.0], len(edges)), (rows, edges.ravel())), (len(edges), size)
    )
    return (incidence.T @ incidence).tocsc()


def _pull(keypoints: Keypoints, weight: float, size: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Squared weight [N] and wanted place [N, 3] per vertex."""
    weights, places = np.zeros(size), np.zeros((size, 3))
    weights[keypoints.vertices] = weight**2
    places[keypoints.vertices] = keypoints.places
    return weights, places


def _solve(
    moved: NDArray[np.float64],
    stiffness: sparse.spmatrix,
    weights: NDArray[np.float64],
    wanted: NDArray[np.float64],
    pull: tuple[NDArray[np.float64], NDArray[np.float64]] | None,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Least squares for the transforms X [4N, 3] of the current points; returns the new points and X."""
    size = len(moved)
    homogeneous = np.hstack([moved, np.ones((size, 1))])
    total, right = weights.copy(), weights[:, None] * wanted
    if pull is not None:
        total, right = total + pull[0], right + pull[0][:, None] * pull[1]
    blocks = total[:, None, None] * homogeneous[:, :, None] * homogeneous[:, None, :]
    data = sparse.bsr_matrix((blocks, np.arange(size), np.arange(size + 1)), shape=(4 * size, 4 * size))
    sides = (homogeneous[:, :, None] * right[:, None, :]).reshape(4 * size, 3)
    try:
        factors = splu(
            (stiffness + data).tocsc(), permc_spec="MMD_AT_PLUS_A", options={"SymmetricMode": True}
        )
    except RuntimeError:
        raise InputError(
            "a scan region has a part that nothing holds in place (no keypoint near it, or all in one plane). "
            "Ask for the benchmark's own regions."
        ) from None
    transforms = factors.solve(sides)
    return np.einsum("nk,nkd->nd", homogeneous, transforms.reshape(size, 4, 3)), transforms
