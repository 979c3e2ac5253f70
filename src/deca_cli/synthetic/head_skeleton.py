"""Joints and skin weights of the open head: root, neck, jaw and the two eyes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from deca_cli.synthetic.head_regions import (
    EYEBALL_LEFT,
    EYEBALL_RIGHT,
    SKIN,
    TEETH_LOWER,
    TEETH_UPPER,
    TONGUE,
    Parts,
)
from deca_cli.synthetic.head_sampling import draw_weights

if TYPE_CHECKING:
    from deca_cli.synthetic.head_source import SourceHead

JOINT_NAMES = ("root", "neck", "jaw", "eye_left", "eye_right")
PARENTS = np.array([-1, 0, 1, 1, 1], np.int32)
NEIGHBOURS = 200  # vertices from which a joint is regressed
STILL = 0.0005  # metres: regressing vertices hardly move under any facial action
REGRESSION_HEADS = 300
UNIFORMITY = 1e-4  # square metres; pulls the regression weights towards their mean


@dataclass(frozen=True)
class Skeleton:
    """joint_regressor [5,V] and skin_weights [V,5]; rows sum to 1."""

    joint_regressor: np.ndarray
    skin_weights: np.ndarray


def _joint_targets(
    source: SourceHead, heads: np.ndarray, bones: np.ndarray, ears: np.ndarray
) -> dict[str, np.ndarray]:
    """Where the joints shall be on heads [n,V,3] with MakeHuman bones [n,N,3].

    The root lies between the ears at the height of the skull base, the neck joint at the skull base, the jaw joint
    at MakeHuman's jaw bone, shifted by a constant so that on average it is the pivot of `jawOpen`.
    """
    skull_base = bones[:, source.bone_names.index("head")]
    between_ears = heads[:, ears].mean(1)
    root = np.stack([between_ears[:, 0], skull_base[:, 1], between_ears[:, 2]], 1)
    jaw = bones[:, source.bone_names.index("jaw")]
    return {"root": root, "neck": skull_base, "jaw": jaw - jaw.mean(0) + jaw_pivot(source, heads.mean(0))}


def _regress(heads: np.ndarray, target: np.ndarray, mirror: np.ndarray, vertices: np.ndarray) -> np.ndarray:
    """Weights [V] over `vertices` (closed under mirroring) that sum to 1 and give the target [n,3] on heads [n,V,3].

    Least squares with a pull towards equal weights, made symmetric.
    """
    count = len(vertices)
    known = heads[:, vertices].transpose(0, 2, 1).reshape(-1, count)
    origin = heads[:, vertices].mean(1).reshape(-1, 1)  # any fixed point works: the weights sum to 1
    moved = known - origin
    system = np.zeros((count + 1, count + 1))
    system[:count, :count] = moved.T @ moved / len(heads) + UNIFORMITY * np.eye(count)
    system[:count, count] = system[count, :count] = 1.0
    right = np.concatenate(
        [moved.T @ (target.reshape(-1) - origin[:, 0]) / len(heads) + UNIFORMITY / count, [1.0]]
    )
    weights = np.zeros(heads.shape[1])
    weights[vertices] = np.linalg.solve(system, right)[:count]
    return 0.5 * (weights + weights[mirror])


def _regressor(source: SourceHead, parts: Parts, seed: int) -> np.ndarray:
    """Joint regressor [5,V] from random heads and their MakeHuman bones."""
    weights = draw_weights(np.random.default_rng(seed), source, REGRESSION_HEADS)
    heads = source.template + np.tensordot(weights, source.stacked_shapes(), 1)
    bones = source.bone_heads + np.tensordot(weights, source.bone_shapes, 1)
    ears = np.unique(source.faces[parts.pieces["ear_left"] | parts.pieces["ear_right"]])
    still = np.linalg.norm(source.actions, axis=-1).max(0) < STILL
    still[SKIN.stop :] = False
    regressor = np.zeros((len(JOINT_NAMES), len(source.template)))
    for name, target in _joint_targets(source, heads, bones, ears).items():
        distance = np.linalg.norm(heads.mean(0) - target.mean(0), axis=1)
        distance[~still] = np.inf
        distance = np.maximum(distance, distance[source.mirror])
        nearest = np.argsort(distance, kind="stable")[:NEIGHBOURS]
        chosen = np.union1d(nearest, source.mirror[nearest])
        if name == "root":
            chosen = np.union1d(chosen, ears)
        regressor[JOINT_NAMES.index(name)] = _regress(heads, target, source.mirror, chosen)
    for name, part in (("eye_left", EYEBALL_LEFT), ("eye_right", EYEBALL_RIGHT)):
        regressor[JOINT_NAMES.index(name), part] = 1.0 / (part.stop - part.start)
    return regressor


def _rotation_of(points: np.ndarray, moved: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rotation [3,3] and translation [3] that best carry points [N,3] to `moved` (Kabsch)."""
    centre, moved_centre = points.mean(0), moved.mean(0)
    left, _, right = np.linalg.svd((points - centre).T @ (moved - moved_centre))
    rotation = (left @ right).T
    return rotation, moved_centre - rotation @ centre


def _jaw_motion(source: SourceHead, head: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rigid motion of the lower teeth of a head [V,3] under full `jawOpen`: rotation, translation."""
    jaw_open = source.actions[source.action_names.index("jawOpen")]
    teeth = head[TEETH_LOWER]
    return _rotation_of(teeth, teeth + jaw_open[TEETH_LOWER])


def jaw_pivot(source: SourceHead, head: np.ndarray) -> np.ndarray:
    """The point of the middle plane [3] that stays in place when `jawOpen` turns the lower teeth."""
    rotation, translation = _jaw_motion(source, head)
    across = np.eye(2) - rotation[1:, 1:]
    return np.concatenate([[0.0], np.linalg.solve(across, translation[1:])])


def jaw_weights(source: SourceHead) -> np.ndarray:
    """Jaw share [V] of every vertex: how far `jawOpen` carries it along with the lower teeth.

    The lower teeth move rigidly under jawOpen (a turn of 21 degrees); a vertex's weight is its motion projected on
    the motion it would have as part of the jaw.
    """
    jaw_open = source.actions[source.action_names.index("jawOpen")]
    rotation, translation = _jaw_motion(source, source.template)
    rigid = source.template @ rotation.T + translation - source.template
    weights = (jaw_open * rigid).sum(1) / np.maximum((rigid**2).sum(1), 1e-8)
    weights = np.clip(weights, 0.0, 1.0)
    weights[TEETH_LOWER] = weights[TONGUE] = 1.0
    weights[TEETH_UPPER] = 0.0
    return 0.5 * (weights + weights[source.mirror])


def _root_weights(mean: np.ndarray) -> np.ndarray:
    """Root share [V]: grows smoothly from 0 at jaw height to 1 at the neck's lower rim."""
    height = mean[:, 1] + 0.25 * mean[:, 2]  # the rim slopes down towards the front
    share = np.clip((-0.060 - height) / 0.030, 0.0, 1.0)
    return share**2 * (3.0 - 2.0 * share)


def build_skeleton(source: SourceHead, mean: np.ndarray, parts: Parts, seed: int) -> Skeleton:
    """Skeleton for the mean head [V,3] (head frame)."""
    skin = np.zeros((len(mean), len(JOINT_NAMES)))
    jaw = jaw_weights(source)
    root = np.minimum(_root_weights(mean), 1.0 - jaw)
    root[SKIN.stop :] = 0.0
    skin[:, 0], skin[:, 2] = root, jaw
    skin[:, 1] = np.maximum(1.0 - root - jaw, 0.0)
    skin[EYEBALL_LEFT] = np.eye(5)[3]
    skin[EYEBALL_RIGHT] = np.eye(5)[4]
    return Skeleton(_regressor(source, parts, seed), skin)
