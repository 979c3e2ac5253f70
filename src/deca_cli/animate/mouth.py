"""Colours for what a photo rarely shows: teeth, gums, tongue, the inside of the mouth, and eyes that are half hidden.

Heads with named regions (the open head) have these parts; their texels are painted in plain colours, brought to the
photo's brightness by that of the skin. Heads without regions (FLAME) have no such parts and are left alone.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch

from deca_cli.render.uv import rasterize_uv

if TYPE_CHECKING:
    from deca_cli.heads.assets import HeadAssets

COLOURS = {  # sRGB under a light in which skin has the brightness SKIN
    "teeth_upper": (238, 229, 210),
    "teeth_lower": (230, 219, 199),
    "gums": (190, 104, 100),
    "tongue": (196, 104, 100),
    "mouth_cavity": (120, 52, 50),
}
# Millimetres along the arch from the middle of the jaw to the gaps between teeth: incisors, canine, premolars, molars.
GAPS_MM = {
    "teeth_upper": (0.0, 8.6, 15.1, 22.7, 29.7, 36.4, 46.4),
    "teeth_lower": (0.0, 5.2, 11.0, 17.8, 24.8, 31.8, 42.8),
}
GAP_MM, GAP_SHADE = 0.45, 0.35  # half width, and how much of the light is missing in a gap
BULGE = 0.12  # how much darker a tooth is at its sides
SKIN = 165.0  # mean of red, green and blue
LIT = 65  # percentile of the skin's brightness that is taken: much of it lies in shade, or at the neck
BRIGHTNESS = (0.35, 1.25)  # range of the factor
GRID = 512
FACE_REGION = "skin"
FADE_M = 0.035  # metres into the mouth after which a third of the light is left
ALWAYS = (
    *COLOURS,
    "lips",
    "eyeball_left",
    "eyeball_right",
    "eye_sockets",
)  # belongs to the face wherever it lies in the map
FEATHER = 14  # texels of 512 over which the face fades at its edge


def paint_inside(head: HeadAssets, texture: np.ndarray) -> np.ndarray:
    """A texture uint8 [U, U, 3] with the inside of the mouth painted; the same one if the head has no such regions."""
    if head.vertex_regions is None or not set(COLOURS) & set(head.region_names):
        return texture
    regions = region_map(head)
    size = texture.shape[0]
    skin = cv2.resize(texture, (GRID, GRID), interpolation=cv2.INTER_AREA)[
        regions == _number(head, FACE_REGION)
    ]
    factor = float(np.clip(np.percentile(skin.mean(axis=1), LIT) / SKIN, *BRIGHTNESS)) if len(skin) else 1.0
    painted = texture.copy()
    for name, colour in COLOURS.items():
        if name not in head.region_names:
            continue
        mask = cv2.dilate((regions == _number(head, name)).astype(np.uint8), np.ones((3, 3), np.uint8))
        # A seam's neighbour in the chart may be skin: what belongs to another region keeps its colour.
        mask = np.where((regions == _number(head, name)) | (regions < 0), mask, 0)
        full = cv2.resize(mask.astype(np.uint8), (size, size), interpolation=cv2.INTER_NEAREST).astype(bool)
        light = cv2.resize(depth_light(head), (size, size), interpolation=cv2.INTER_LINEAR)[full]
        if name in GAPS_MM:
            along_mm = cv2.resize(along_arch_mm(head, name), (size, size), interpolation=cv2.INTER_LINEAR)[
                full
            ]
            light = light * tooth_light(along_mm, name)
        painted[full] = np.clip(np.array(colour) * factor * light[:, None], 0, 255).astype(np.uint8)
    return painted


def face_opacity(head: HeadAssets) -> np.ndarray:
    """float32 [GRID, GRID] in 0..1: the face with soft edges, without skull, ears and neck; for drawing into a photo."""
    face = cv2.resize(head.face_eye_mask, (GRID, GRID), interpolation=cv2.INTER_LINEAR)
    inner = cv2.erode((face > 0.5).astype(np.uint8), np.ones((FEATHER, FEATHER), np.uint8), borderValue=0)
    soft = cv2.GaussianBlur(inner.astype(np.float32), (0, 0), FEATHER / 2)
    if head.vertex_regions is not None:
        names = [_number(head, name) for name in ALWAYS]
        soft = np.where(np.isin(region_map(head), names), np.float32(1), soft)
    return np.ascontiguousarray(soft, np.float32)


@lru_cache(maxsize=2)
def depth_light(head: HeadAssets) -> np.ndarray:
    """float32 [GRID, GRID]: how much light reaches each texel of the mouth; it falls with the way behind the front teeth."""
    triangle, weights = _chart(head)
    corners = head.template_vertices[head.faces[np.maximum(triangle, 0)], 2]
    front = head.template_vertices[head.region(*_front(head)), 2].max()
    return np.asarray(np.exp(-np.clip(front - (corners * weights).sum(axis=2), 0, None) / FADE_M), np.float32)


def tooth_light(along_mm: np.ndarray, name: str) -> np.ndarray:
    """Light on the teeth of a jaw at places along its arch: less at their sides, little in the gaps between them."""
    along_mm, gaps = np.abs(along_mm), np.array(GAPS_MM[name])
    tooth = np.clip(np.searchsorted(gaps, along_mm, side="right"), 1, len(gaps) - 1)
    start, end = gaps[tooth - 1], gaps[tooth]
    side = np.clip(2 * np.abs((along_mm - start) / (end - start) - 0.5), 0, 1)
    to_gap_mm = np.abs(along_mm[..., None] - gaps).min(axis=-1)
    return np.asarray((1 - BULGE * side**2) * (1 - GAP_SHADE * np.exp(-((to_gap_mm / GAP_MM) ** 2))))


@lru_cache(maxsize=4)
def along_arch_mm(head: HeadAssets, name: str) -> np.ndarray:
    """float64 [GRID, GRID]: where each texel lies along a jaw's arch, from its middle, to the subject's left; millimetres."""
    places = 1000 * head.template_vertices[head.region(name)][:, [0, 2]].astype(np.float64)
    # The outer faces of the teeth as a curve over the angle about a point inside the arch.
    centre = np.array([0.0, places[:, 1].min()])
    angle, reach = _polar(places - centre)
    steps = np.linspace(-np.pi / 2, np.pi / 2, 61)
    near = np.abs(angle[:, None] - steps) < np.pi / 24
    outer = np.where(near, reach[:, None], 0).max(axis=0)
    outer = np.interp(steps, steps[outer > 0], outer[outer > 0])
    curve = np.stack([outer * np.sin(steps), outer * np.cos(steps)], axis=1)
    length = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(curve, axis=0), axis=1))])
    triangle, weights = _chart(head)
    corners = 1000 * head.template_vertices[head.faces[np.maximum(triangle, 0)]][..., [0, 2]]
    texels, _ = _polar((corners * weights[..., None]).sum(axis=2) - centre)
    return np.asarray(np.interp(texels, steps, length - np.interp(0.0, steps, length)))


def _polar(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Angle from the front, to the subject's left, and distance of points [..., 2] (x, z)."""
    return np.arctan2(points[..., 0], points[..., 1]), np.hypot(points[..., 0], points[..., 1])


@lru_cache(maxsize=2)
def region_map(head: HeadAssets) -> np.ndarray:
    """int16 [GRID, GRID]: number of the region on each texel, that of the nearest corner; -1 outside the chart."""
    triangle, weights = _chart(head)
    nearest = weights.argmax(axis=2)
    numbers = (
        np.zeros(len(head.template_vertices), np.uint8)
        if head.vertex_regions is None
        else head.vertex_regions
    )
    regions = numbers[head.faces[np.maximum(triangle, 0), nearest]].astype(np.int16)
    return np.asarray(np.where(triangle >= 0, regions, -1))


def _front(head: HeadAssets) -> list[str]:
    """Regions where the mouth begins: the teeth, or the lips of a head without teeth."""
    teeth = [name for name in head.region_names if name.startswith("teeth")]
    return teeth or [name for name in head.region_names if name == "lips"] or list(head.region_names)


@lru_cache(maxsize=2)
def _chart(head: HeadAssets) -> tuple[np.ndarray, np.ndarray]:
    """Triangle int32 [GRID, GRID], -1 outside, and barycentrics [GRID, GRID, 3] of the UV map."""
    uv, faces = torch.from_numpy(head.uv_coordinates), torch.from_numpy(head.uv_faces.astype(np.int64))
    fragments = rasterize_uv(uv, faces, GRID, backend="cpu")
    return fragments.triangle[0].numpy(), fragments.barycentrics[0].numpy()


def _number(head: HeadAssets, name: str) -> int:
    return head.region_names.index(name) if name in head.region_names else -2
