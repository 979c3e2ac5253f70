"""A complete texture from one photo: what is seen, then what its mirror image shows, then a smooth guess.

Every texel knows its point on the mesh, so its colour can be read from the original photo. A texel counts as seen
where the surface faces the camera, lies inside the photo, is not behind another part of the head, and is not at the
outline, where the background would bleed in. Places and visibility change slowly, so they are worked out on a grid of
`GRID` texels; the colours are read at the texture's full size.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import cv2
import numpy as np

from deca_cli.export.ears import SIDE, ears_of_skin, shows_ears
from deca_cli.export.front import Front, front_of, head_extent, smoothstep
from deca_cli.export.view import Region, View, head_region, positions_on

if TYPE_CHECKING:
    from deca_cli.export.capture import Capture, Topology

GRID = 1024  # side of the grid of places, and of the smallest texture
LARGEST = 2048  # side of the texture of a head that is larger than `GRID` in the photo
FACING_NONE, FACING_FULL = 0.2, 0.5  # normal's z from which a texel starts to count, and counts fully
HIDDEN_BEHIND_M = 0.004  # a texel this far behind the visible surface is hidden
GAIN = (0.15, 1.4)  # how far the mirrored side may be darkened and brightened to match the seen one
TINT = 1.2  # how much more in one channel than on the mean
GAIN_GRID, GAIN_BLUR = 128, 3.0  # how finely: texels a side, and their standard deviation
SKIN = (180.0, 140.0, 120.0)  # if nothing of the head is in the photo


@dataclass(frozen=True, eq=False)
class Texels:
    """Where the texels lie in the photo."""

    places: np.ndarray  # float32 [GRID, GRID, 2] on the photo, from its top left edge
    weight: np.ndarray  # float32 [GRID, GRID] in 0..1, how well each is seen


def texture_of(capture: Capture) -> np.ndarray:
    """uint8 [U, U, 3] RGB, no texel left black: a step beyond the chart is filled too, so that seams do not show."""
    chart, front = chart_of(capture.topology), front_of(capture)
    size = LARGEST if head_extent(capture) > GRID else GRID
    part = _for_texture(capture, size)
    texels = _texels(capture, chart, front, capture.vertices_px, capture.normals)
    parts = parts_of(capture.topology)
    seen, weight = _read(part, texels, size, parts)
    mirror = capture.topology.mirror_vertices
    if mirror is not None:
        texels = _texels(capture, chart, front, capture.vertices_px[mirror], capture.normals[mirror])
        other, other_weight = _read(part, texels, size, parts)
        under = (1 - weight) * other_weight
        seen = cv2.blendLinear(seen, _matched(other, other_weight, seen, weight), weight, under)
        weight = weight + under
    guess = _guess(seen, weight, parts)
    return np.asarray(cv2.blendLinear(seen, guess, weight, 1 - weight))


@lru_cache(maxsize=2)
def chart_of(topology: Topology) -> View:
    """The UV chart as a picture: which triangle each texel lies on. The same for every photo of a run, so it is kept."""
    import torch

    from deca_cli.render.uv import rasterize_uv

    coordinates, faces = torch.from_numpy(topology.uv_coordinates), torch.from_numpy(topology.uv_faces)
    fragments = rasterize_uv(coordinates, faces, GRID)
    return View(Region(0, 0, GRID, GRID), fragments)


@lru_cache(maxsize=2)
def parts_of(topology: Topology) -> np.ndarray | None:
    """Float32 [SIDE, SIDE, 2], how far each texel belongs to skin and ears; None for heads that do not say."""
    if topology.skin_and_ears is None:
        return None
    chart = chart_of(topology)
    parts = np.zeros((GRID, GRID, 2), np.float32)
    pixels = np.flatnonzero(chart.covered)
    parts.reshape(-1, 2)[pixels] = chart.at(pixels, topology.skin_and_ears, topology.faces)
    return np.asarray(cv2.resize(parts, (SIDE, SIDE), interpolation=cv2.INTER_AREA))


def _texels(
    capture: Capture, chart: View, front: Front | None, vertices_px: np.ndarray, normals: np.ndarray
) -> Texels:
    """Where in the photo the texels are, and how well each is seen."""
    places, weights = np.zeros((GRID, GRID, 2), np.float32), np.zeros((GRID, GRID), np.float32)
    if front is None:
        return Texels(places, weights)
    faces = capture.topology.faces
    towards = (normals[faces, 2] > FACING_NONE).any(axis=1)  # most of the head is not
    pixels = np.flatnonzero(towards[chart.triangle] & chart.covered)
    size = (capture.photo.width, capture.photo.height)
    values = np.concatenate([positions_on(capture, vertices_px, size), vertices_px[:, 2:], normals], axis=1)
    found = chart.at(pixels, values, faces)
    facing = found[:, 5] / np.sqrt(np.maximum(np.einsum("nd,nd->n", found[:, 3:], found[:, 3:]), 1e-12))
    weight = smoothstep((facing - FACING_NONE) / (FACING_FULL - FACING_NONE))
    weight *= (found[:, 0] > 0) & (found[:, 0] < size[0]) & (found[:, 1] > 0) & (found[:, 1] < size[1])
    weight *= _in_front(capture, front, found[:, :3], facing)
    places.reshape(-1, 2)[pixels], weights.reshape(-1)[pixels] = found[:, :2], weight
    return Texels(places, weights)


def _in_front(capture: Capture, front: Front, places: np.ndarray, facing: np.ndarray) -> np.ndarray:
    """Float [n] in 0..1: whether nothing of the head lies before the texel, and the photo shows the head there."""
    at = front.pixels(places[:, :2])
    # Steep surface seems hidden by itself: it is allowed the depth that it gains over two pixels.
    steepness = np.sqrt(np.maximum(1 - facing**2, 0)) / np.maximum(facing, 0.1)
    behind_m = (places[:, 2] - front.depth_px[at]) / capture.pixels_per_metre - 2 * front.pixel_m * steepness
    return (1 - smoothstep(behind_m / HIDDEN_BEHIND_M - 1)) * front.trust[at]


@dataclass(frozen=True, eq=False)
class Part:
    """The part of the photo that shows the head."""

    pixels: np.ndarray  # uint8 [h, w, 3]
    origin: np.ndarray  # float32 [2], its top left edge on the photo
    scale: np.ndarray  # float32 [2], its pixels per photo pixel


def _for_texture(capture: Capture, size: int) -> Part:
    """The head's part of the photo, shrunk until a texel is not much smaller than a pixel; else fine patterns would flicker.

    OpenCV cannot read colours at given places from pictures of more than 32767 pixels a side, and a panorama has more.
    """
    photo = (capture.photo.width, capture.photo.height)
    head = head_region(capture, photo)
    # An empty region (a head beside the photo) still gives a pixel; no texel is then seen.
    left, top = (
        max(min(edge - 1, side - 1), 0) for edge, side in zip((head.left, head.top), photo, strict=True)
    )
    pixels = capture.photo.pixels[top : max(head.bottom, top) + 1, left : max(head.right, left) + 1]
    whole = np.array(pixels.shape[1::-1])
    halvings = math.ceil(math.log2(max(head_extent(capture) / (2 * size), 1)))
    if halvings:
        smaller = np.maximum(whole >> halvings, 1).tolist()
        pixels = cv2.resize(pixels, smaller, interpolation=cv2.INTER_AREA)
    scale = np.array(pixels.shape[1::-1]) / whole
    return Part(pixels, np.array([left, top], np.float32), scale.astype(np.float32))


def _read(part: Part, texels: Texels, size: int, parts: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Colours uint8 [size, size, 3] of the texels in the photo, and their weights float32 [size, size]."""
    places, weight = texels.places, texels.weight
    if size != GRID:
        # Texels without a place must not pull their neighbours towards the photo's corner.
        known = (weight > 0).astype(np.float32)
        near = (
            cv2.blur(places * known[..., None], (3, 3)) / np.maximum(cv2.blur(known, (3, 3)), 1e-6)[..., None]
        )
        places = cv2.resize(np.where(known[..., None] > 0, places, near), (size, size))
        weight = cv2.resize(weight, (size, size))
    columns, rows = cv2.split((places - part.origin) * part.scale - np.float32(0.5))
    colours = cv2.remap(part.pixels, columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    if parts is not None:
        weight = weight * shows_ears(colours, weight, parts)
    return np.asarray(colours), np.asarray(weight)


def _matched(other: np.ndarray, other_weight: np.ndarray, seen: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """The mirrored colours in the light of their new side: matched to the seen ones where both are known, and smoothly on.

    One gain for all would leave a bright cheek beside a dark one where the light comes from the side.
    """
    step = max(len(seen) // (4 * GAIN_GRID), 1)  # few texels suffice for what is smooth
    few = np.s_[::step, ::step]
    both = weight[few] * other_weight[few]
    if float(both.sum()) < 1:
        return other
    size = (GAIN_GRID, GAIN_GRID)

    def smooth(colours: np.ndarray) -> np.ndarray:
        small = cv2.resize(colours[few] * both[..., None], size, interpolation=cv2.INTER_AREA)
        return cv2.GaussianBlur(small, (0, 0), GAIN_BLUR) + 1e-3

    here, there = smooth(seen), smooth(other)
    mean = here.sum(axis=(0, 1)) / there.sum(axis=(0, 1))
    tint = np.clip(mean / mean.mean(), 1 / TINT, TINT)
    mass = cv2.GaussianBlur(cv2.resize(both, size, interpolation=cv2.INTER_AREA), (0, 0), GAIN_BLUR)
    light = np.log(here.sum(axis=2, keepdims=True) / there.sum(axis=2, keepdims=True))
    light = _push_pull(np.repeat(light, 3, axis=2), np.minimum(mass, 1))
    gain = (np.exp(np.clip(light, *np.log(GAIN))) * tint).astype(np.float32)
    gain = cv2.resize(gain, other.shape[1::-1], interpolation=cv2.INTER_LINEAR)
    return np.asarray(cv2.multiply(other, gain, dtype=cv2.CV_8U))


def _guess(colours: np.ndarray, weight: np.ndarray, parts: np.ndarray | None) -> np.ndarray:
    """Continue the known colours smoothly into everything unknown: uint8, as large as `colours`."""
    half = GRID // 2  # a guess has no fine detail
    mass = cv2.resize(weight, (half, half), interpolation=cv2.INTER_AREA)
    known = cv2.resize(
        colours.astype(np.float32) * weight[..., None], (half, half), interpolation=cv2.INTER_AREA
    )
    filled = _push_pull(known / np.maximum(mass, 1e-6)[..., None], np.minimum(4 * mass, 1))
    if parts is not None:
        filled = ears_of_skin(filled, mass, parts)
    size = colours.shape[1::-1]
    return np.asarray(
        cv2.resize(np.clip(filled + 0.5, 0, 255).astype(np.uint8), size, interpolation=cv2.INTER_LINEAR)
    )


def _push_pull(colours: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Fill what has no weight from ever coarser averages of what has; float32 [n, n, 3] and [n, n]."""
    side = weights.shape[0]
    if side <= 2:
        total = float(weights.sum())
        mean = (colours * weights[..., None]).sum(axis=(0, 1)) / total if total > 0 else np.array(SKIN)
        return np.broadcast_to(mean, colours.shape).astype(np.float32)
    half = (side // 2, side // 2)
    mass = cv2.resize(weights, half, interpolation=cv2.INTER_AREA)
    smaller = cv2.resize(colours * weights[..., None], half, interpolation=cv2.INTER_AREA)
    below = _push_pull(smaller / np.maximum(mass, 1e-6)[..., None], np.minimum(4 * mass, 1))
    guess = cv2.resize(below, (side, side), interpolation=cv2.INTER_LINEAR)
    known = weights[..., None]
    return np.asarray(colours * known + guess * (1 - known), np.float32)
