"""The rasteriser against the official ones: triangles, barycentrics and depth of soups, heads and the UV chart."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from deca_cli.render import uv
from deca_cli.render.interpolate import interpolate
from deca_cli.render.rasterize import rasterize
from parity_compare import EXACT, Deviation, Limit, compare

if TYPE_CHECKING:
    from deca_cli.render.fragments import Fragments
    from official_release import Release

TRIANGLES = Limit(2e-4)  # the share of other triangles: float64 decides a pixel in ten thousand another way
SHARE_OF_PIXELS = Limit(0.01)  # no map says where edges and ties are


def rasteriser(release: Release) -> list[Deviation]:
    """Triangles, barycentrics and depth of soups and heads; z comes with its offset already."""
    data = release.arrays("rasteriser")
    found = []
    for name in sorted(key.removesuffix("_hw") for key in data if key.endswith("_hw")):
        size = data[f"{name}_hw"].tolist()
        is_head = name.startswith("head")
        vertices = data["head_vertices" if is_head else f"{name}_vertices"]
        faces = release.head.faces if is_head else torch.from_numpy(data[f"{name}_faces"])
        ours = rasterize(torch.from_numpy(vertices)[None], faces, *size, z_offset=0.0)
        depth_step, weight_step = data[f"{name}_strides"].tolist() if is_head else (1, 1)
        limits = (
            (Limit(5e-4), Limit(0, relative=1e-5))
            if is_head
            else (Limit(5e-3, most=1e-3), Limit(0, relative=1e-3))
        )
        found += _compare_fragments(
            name, ours, data, limits, (depth_step, weight_step), depth_scale=size[1] / 2
        )
    chart = uv.rasterize_uv(release.head.uv_coordinates, release.head.uv_faces, 256)
    clear = data["uv_fragile"] == 0
    weights = chart.barycentrics[0].numpy()[1::2, 1::2]
    seen = (clear & (data["uv_tri"] >= 0))[1::2, 1::2, None]
    return [
        *found,
        _share(
            "uv chart: share of other triangles", chart.triangle[0].numpy(), data["uv_tri"], clear, TRIANGLES
        ),
        compare("uv chart: barycentrics", weights, data["uv_bary_s2"], Limit(1e-4), seen),
        *_batch_of_two(data),
        *_pytorch3d_soups(release, data),
    ]


def _compare_fragments(
    name: str,
    ours: Fragments,
    data: dict[str, np.ndarray],
    limits: tuple[Limit, Limit],
    steps: tuple[int, int],
    depth_scale: float,
) -> list[Deviation]:
    triangle, theirs = ours.triangle[0].numpy(), data[f"{name}_tri"]
    clear = data[f"{name}_fragile"] == 0
    same = clear & (theirs >= 0) & (triangle == theirs)
    depth = ours.depth[0].numpy()[:: steps[0], :: steps[0]] * depth_scale
    weights = ours.barycentrics[0].numpy()[:: steps[1], :: steps[1]]
    there = same[:: steps[0], :: steps[0]]
    return [
        _share(f"{name}: share of other triangles", triangle, theirs, clear, TRIANGLES),
        compare(
            f"{name}: barycentrics",
            weights,
            data[f"{name}_bary"],
            limits[0],
            same[:: steps[1], :: steps[1], None],
        ),
        compare(
            f"{name}: depth",
            np.where(there, depth, 1),
            np.where(there, data[f"{name}_depth"], 1),
            limits[1],
            there,
        ),
    ]


def _share(quantity: str, have: np.ndarray, want: np.ndarray, where: np.ndarray, limit: Limit) -> Deviation:
    share = np.array([(have != want)[where].mean()])
    return compare(quantity, share, np.zeros(1), limit)


def _batch_of_two(data: dict[str, np.ndarray]) -> list[Deviation]:
    """The release gives every item the attributes of item 0, so they are passed as shared ones here."""
    attributes = torch.from_numpy(data["batch2_attributes"][0]).reshape(-1, 2)
    faces = torch.arange(len(attributes)).view(-1, 3)
    expected = data["batch2_official_output"]
    ours = rasterize(torch.from_numpy(data["batch2_vertices"]), faces, *expected.shape[2:], z_offset=0.0)
    mixed = torch.cat([interpolate(ours, faces, attributes), ours.covered[:, None].float()], 1).numpy()
    other = (np.abs(mixed - expected) > 1e-4).any(1)
    return [
        compare("batch of two: coverage", mixed[:, 2], expected[:, 2], EXACT),
        _share(
            "batch of two: share of other pixels", other, np.zeros_like(other), other | True, SHARE_OF_PIXELS
        ),
    ]


def _pytorch3d_soups(release: Release, data: dict[str, np.ndarray]) -> list[Deviation]:
    theirs = release.arrays("decode_pytorch3d")
    found = []
    for name in sorted(key.removesuffix("_zbuf") for key in theirs if key.endswith("_zbuf")):
        vertices, faces = (torch.from_numpy(data[f"{name}_{part}"]) for part in ("vertices", "faces"))
        size = theirs[f"{name}_tri"].shape
        ours = rasterize(vertices[None], faces, *size, rule="pytorch3d", z_offset=0.0)
        triangle = ours.triangle[0].numpy()
        same = (triangle == theirs[f"{name}_tri"]) & (triangle >= 0)
        where = np.ones_like(same)
        depth = np.where(same, ours.depth[0].numpy(), 1)
        limit = Limit(0, relative=5e-4)
        found += [
            _share(f"pytorch3d {name}: share of other triangles", triangle, theirs[f"{name}_tri"], where, TRIANGLES),
            compare(f"pytorch3d {name}: barycentrics", ours.barycentrics[0], theirs[f"{name}_bary"], Limit(2e-4), same[..., None]),
            compare(f"pytorch3d {name}: depth", depth, np.where(same, theirs[f"{name}_zbuf"], 1), limit, same),
        ]  # fmt: skip
    return found
