"""A tiny model pack that stands in for a trained one: an egg with 68 landmarks and an untrained ResNet-18.

Its encoder nearly ignores the photo and answers "a face, straight ahead, filling the crop as it should", so that the
whole path can be run in a moment and its results be told in advance.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image

from deca_cli.heads.assets import HeadAssets, save_head
from deca_cli.networks.codes import CodeSizes
from deca_cli.networks.detail_decoder import DetailDecoder
from deca_cli.networks.encoder import Encoder
from deca_cli.networks.preprocessing import Preprocessing
from deca_cli.packs.manifest import Manifest
from deca_cli.packs.store import save_pack

if TYPE_CHECKING:
    from pathlib import Path

AROUND, ROWS = 48, 33  # vertices per ring (column 0 in front), rings
RADII = np.array([0.08, 0.12, 0.1])  # metres
LOWEST, HIGHEST = np.radians(-84), np.radians(84)
EXPRESSIONS = ("jawOpen", "mouthSmileLeft", "mouthSmileRight", "eyeBlinkLeft")
LAYOUT = (
    ("shape", 4),
    ("expression", len(EXPRESSIONS)),
    ("rotation_6d", 6),
    ("log_camera", 3),
    ("face_score", 1),
)
CROP_FACTOR = 1.5


def egg() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Vertices [V, 3], faces [F, 3], texture coordinates [T, 2], texture faces [F, 3]."""
    longitude = 2 * np.pi * np.arange(AROUND) / AROUND
    latitude = np.linspace(LOWEST, HIGHEST, ROWS)
    lat, lon = np.meshgrid(latitude, longitude, indexing="ij")
    unit = np.stack([np.sin(lon) * np.cos(lat), np.sin(lat), np.cos(lon) * np.cos(lat)], -1).reshape(-1, 3)
    row, column = np.meshgrid(np.arange(ROWS - 1), np.arange(AROUND), indexing="ij")

    def triangles(width: int, wrap: bool) -> np.ndarray:
        right = (column + 1) % AROUND if wrap else column + 1
        low, high = row * width, (row + 1) * width
        corners = [low + column, low + right, high + right, low + column, high + right, high + column]
        return np.stack(corners, -1).reshape(-1, 3).astype(np.int32)

    u, v = np.meshgrid(np.linspace(0.02, 0.98, AROUND + 1), np.linspace(0.02, 0.98, ROWS))
    uv = np.stack([u, v], -1).reshape(-1, 2)
    return (
        (unit * RADII).astype(np.float32),
        triangles(AROUND, wrap=True),
        uv.astype(np.float32),
        triangles(AROUND + 1, wrap=False),
    )


def face_drawing() -> np.ndarray:
    """The 68 points of a schematic face, x right and y up, in units of half the head."""

    def arc(centre: tuple[float, float], size: tuple[float, float], degrees: np.ndarray) -> np.ndarray:
        angle = np.radians(degrees)
        return np.stack([centre[0] + size[0] * np.cos(angle), centre[1] + size[1] * np.sin(angle)], -1)

    jaw = arc((0, 0.1), (0.8, 0.85), np.linspace(190, 350, 17))
    brows = [arc((x, 0.25), (0.22, 0.18), np.linspace(150, 30, 5)) for x in (-0.36, 0.36)]
    bridge = np.stack([np.zeros(4), np.linspace(0.22, -0.1, 4)], -1)
    nostrils = arc((0, -0.1), (0.16, 0.08), np.linspace(200, 340, 5))
    eyes = [arc((x, 0.22), (0.14, 0.06), np.array([180, 120, 60, 0, -60, -120])) for x in (-0.34, 0.34)]
    outer = arc((0, -0.4), (0.3, 0.12), -np.arange(12) * 30 + 180)
    inner = arc((0, -0.4), (0.22, 0.05), -np.arange(8) * 45 + 180)
    return np.concatenate([jaw, *brows, bridge, nostrils, *eyes, outer, inner])


def on_egg(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Triangle [N] and barycentrics [N, 3] of the egg's front under the points [N, 2]."""
    lat = np.arcsin(points[:, 1])
    lon = np.arcsin(points[:, 0] / np.cos(lat)) % (2 * np.pi)
    row = (lat - LOWEST) / (HIGHEST - LOWEST) * (ROWS - 1)
    column = lon / (2 * np.pi) * AROUND
    y, x = row % 1, column % 1
    upper = y > x  # triangles of a cell: (low, low+1, high+1) and (low, high+1, high)
    cell = row.astype(int) * AROUND + column.astype(int) % AROUND
    below = np.stack([1 - x, x - y, y], -1)
    above = np.stack([1 - y, x, y - x], -1)
    return (2 * cell + upper).astype(np.int32), np.where(upper[:, None], above, below).astype(np.float32)


def stand_in_head() -> HeadAssets:
    """The egg as a head of the FLAME form."""
    vertices, faces, uv, uv_faces = egg()
    count = len(vertices)
    rng = np.random.default_rng(0)
    triangle, weights = on_egg(face_drawing())
    opening = np.zeros((count, 3, len(EXPRESSIONS)), np.float32)
    opening[vertices[:, 1] < -0.04, 1, 0] = -0.02
    mirror = np.arange(count).reshape(ROWS, AROUND)[:, -np.arange(AROUND) % AROUND].reshape(-1)
    skin = np.zeros((count, 5), np.float32)
    skin[:, 0] = 1
    return HeadAssets(
        name="egg",
        template_vertices=vertices,
        faces=faces,
        shape_basis=rng.normal(0, 1e-3, (count, 3, 4)).astype(np.float32),
        expression_basis=opening,
        expression_names=EXPRESSIONS,
        pose_basis=np.zeros((0, 3 * count), np.float32),
        joint_regressor=np.full((5, count), 1 / count, np.float32),
        parents=np.array([-1, 0, 1, 1, 1], np.int32),
        skin_weights=skin,
        joint_names=("root", "neck", "jaw", "eye_left", "eye_right"),
        uv_coordinates=uv,
        uv_faces=uv_faces,
        inner_landmark_faces=triangle[17:],
        inner_landmark_barycentrics=weights[17:],
        contour_landmark_faces=np.repeat(triangle[None, :17], 79, 0),
        contour_landmark_barycentrics=np.repeat(weights[None, :17], 79, 0),
        full_landmark_faces=triangle,
        full_landmark_barycentrics=weights,
        face_eye_mask=np.ones((256, 256), np.float32),
        fixed_displacement=np.zeros((256, 256), np.float32),
        mirror_vertices=mirror.astype(np.int32),
    )


def make_pack(folder: Path, *, detail: int = 0) -> Path:
    """Write the pack and return its folder; with a detail code of that size it has (untrained) detail networks."""
    head = stand_in_head()
    save_head(folder.with_suffix(".npz"), head)
    torch.manual_seed(0)
    encoder = Encoder("resnet18", sum(size for _, size in LAYOUT), None)
    box = (np.ptp(face_drawing(), axis=0) * RADII[:2]).mean()
    middle = (face_drawing().max(axis=0) + face_drawing().min(axis=0)) / 2 * RADII[:2]
    scale = 2 / CROP_FACTOR / box * 63 / 64  # the crop spans the centres of its 64 pixels
    answer = [0.0] * (4 + len(EXPRESSIONS)) + [1, 0, 0, 0, 1, 0, np.log(scale), *(-scale * middle), 3]
    with torch.no_grad():
        encoder.layers[0].weight.mul_(1e-3)
        encoder.layers[0].bias.copy_(torch.tensor(answer))
    manifest = Manifest(
        name="stand-in",
        licence="test",
        backbone="resnet18",
        layout=LAYOUT,
        sizes=CodeSizes(shape=4, albedo=0, expression=len(EXPRESSIONS), light=0, detail=detail),
        preprocessing=Preprocessing(64, CROP_FACTOR, "mean", -0.5, 0.45, 0.25),
        expression_range=(0.0, 1.0),
        detail_backbone="resnet18" if detail else None,
    )
    networks = {"encoder": encoder.state_dict()}
    if detail:
        networks["detail_encoder"] = Encoder("resnet18", detail, None).state_dict()
        networks["detail_decoder"] = DetailDecoder(len(EXPRESSIONS), detail).state_dict()
    return save_pack(folder, manifest, folder.with_suffix(".npz"), networks)


def make_photos(folder: Path) -> list[Path]:
    """Write seven photos of noise, 200 pixels wide and 170 high, and return their paths."""
    rng = np.random.default_rng(0)
    paths = [folder / f"{number}.png" for number in range(7)]
    for path in paths:
        Image.fromarray(rng.integers(0, 255, (170, 200, 3), np.uint8)).save(path)
    return paths
