"""A complete texture from one photo: what is seen, then what its mirror image shows, then a smooth guess.

Every texel knows its point on the mesh, so its colour can be read from the original photo. A texel counts as seen
where the surface faces the camera, lies inside the photo and is not behind another part of the head.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import cv2
import numpy as np

from deca_cli.export.view import Region, View, look, positions_on

if TYPE_CHECKING:
    from deca_cli.export.capture import Capture, Topology

SMALLEST, LARGEST = 1024, 2048  # sides of the texture
FACING_NONE, FACING_FULL = 0.2, 0.5  # normal's z from which a texel starts to count, and counts fully
HIDDEN_BEHIND_M = 0.004  # a texel this far behind the visible surface is hidden
OUTLINE_M = 0.003  # so near the outline the background may show; twice as far in counts fully
SEARCH_SIZE = 768  # longer side of the head in the depth buffer that decides what is hidden
SEEN_ENOUGH = 1e-3


@lru_cache(maxsize=2)
def chart_of(topology: Topology, size: int) -> View:
    """The UV chart as a picture: which triangle each texel lies on. The same for every photo of a run, so it is kept."""
    import torch

    from deca_cli.render.uv import rasterize_uv

    coordinates, faces = torch.from_numpy(topology.uv_coordinates), torch.from_numpy(topology.uv_faces)
    fragments = rasterize_uv(coordinates, faces, size)
    return View(Region(0, 0, size, size), fragments.triangle[0].numpy(), fragments.barycentrics[0].numpy())


def texture_of(capture: Capture) -> np.ndarray:
    """uint8 [U, U, 3] RGB, no texel left black: a step beyond the chart is filled too, so that seams do not show."""
    size = _texture_size(capture)
    chart = chart_of(capture.topology, size)
    buffer = look(capture, _search_picture(capture))
    seen, weight = _from_photo(capture, chart, buffer, capture.vertices_px, capture.normals)
    mirror = capture.topology.mirror_vertices
    if mirror is not None:
        normals = capture.normals[mirror]
        other, other_weight = _from_photo(capture, chart, buffer, capture.vertices_px[mirror], normals)
        seen, weight = _blend(seen, weight, _match(other, other_weight, seen, weight), other_weight)
    colours = np.zeros((size, size, 3), np.float32)
    weights = np.zeros((size, size), np.float32)
    colours[chart.covered], weights[chart.covered] = seen, weight
    return np.clip(_filled(colours, weights) + 0.5, 0, 255).astype(np.uint8)


def _texture_size(capture: Capture) -> int:
    """The head's extent in the photo, rounded up: a photo that shows more than 1024 texels hold gets 2048."""
    extent = float(np.ptp(capture.vertices_px[:, :2], axis=0).max())
    return LARGEST if extent > SMALLEST else SMALLEST


def _search_picture(capture: Capture) -> tuple[int, int]:
    """Size of the whole photo at which the head is `SEARCH_SIZE` tall, or less where that would be huge."""
    extent = float(np.ptp(capture.vertices_px[:, :2], axis=0).max())
    scale = SEARCH_SIZE / max(extent, 1.0)
    return max(1, round(capture.photo.width * scale)), max(1, round(capture.photo.height * scale))


def _from_photo(
    capture: Capture, chart: View, buffer: View, vertices_px: np.ndarray, normals: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Colours [n, 3] in 0..255 of the texels in the photo, and how well each is seen [n] in 0..1."""
    size = (capture.photo.width, capture.photo.height)
    positions = np.concatenate(
        [positions_on(capture, vertices_px, size), vertices_px[:, 2:], normals], axis=1
    )
    places = chart.at_covered(positions, capture.topology.faces)
    inside = (places[:, 0] > 0) & (places[:, 0] < size[0]) & (places[:, 1] > 0) & (places[:, 1] < size[1])
    facing = places[:, 5] / np.maximum(np.linalg.norm(places[:, 3:6], axis=1), 1e-6)
    weight = _smoothstep((facing - FACING_NONE) / (FACING_FULL - FACING_NONE))
    weight *= inside
    weight *= _in_front(capture, buffer, places[:, :3], facing)
    return _sample(capture.photo.pixels, places[:, :2] - 0.5), weight


def _in_front(capture: Capture, buffer: View, places: np.ndarray, facing: np.ndarray) -> np.ndarray:
    """Float [n] in 0..1: whether nothing of the head lies before the texel and the background is not near."""
    if not buffer.covered.any():
        return np.zeros(len(places), np.float32)
    size, region = _search_picture(capture), buffer.region
    scale = np.array(size) / (capture.photo.width, capture.photo.height)
    columns, rows = (places[:, :2] * scale - (region.left, region.top)).T.astype(np.int64)
    columns, rows = np.clip(columns, 0, region.width - 1), np.clip(rows, 0, region.height - 1)
    surface = buffer.interpolate(capture.vertices_px[:, 2:], capture.topology.faces)[..., 0]
    surface[~buffer.covered] = np.inf
    # A pixel next to a nearer part is doubtful: it takes that part's depth. A slope then seems hidden by itself,
    # so steep surface is allowed the depth that it gains over two pixels.
    surface = cv2.erode(surface, np.ones((3, 3), np.uint8), borderType=cv2.BORDER_REPLICATE)
    steepness = np.sqrt(np.maximum(1 - facing**2, 0)) / np.maximum(facing, 0.1)
    pixel_m = 1 / (capture.pixels_per_metre * float(scale.mean()))
    behind_m = (places[:, 2] - surface[rows, columns]) / capture.pixels_per_metre - 2 * pixel_m * steepness
    inward = cv2.distanceTransform(buffer.covered.astype(np.uint8), cv2.DIST_L2, 3)[rows, columns] * pixel_m
    return (1 - _smoothstep(behind_m / HIDDEN_BEHIND_M - 1)) * _smoothstep(inward / OUTLINE_M - 1)


def _sample(pixels: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Bilinear samples float32 [n, 3] of uint8 [H, W, 3] at pixel indices [n, 2]; the border is continued."""
    width = 16384  # OpenCV maps pictures, so the list is folded into rows of this length
    rows = -(-len(places) // width)
    padded = np.zeros((rows * width, 2), np.float32)
    padded[: len(places)] = places
    grid = padded.reshape(rows, width, 2)
    sampled = cv2.remap(pixels, grid[..., 0], grid[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return sampled.reshape(-1, 3)[: len(places)].astype(np.float32)


def _match(other: np.ndarray, other_weight: np.ndarray, seen: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """The mirrored colours with the mean colour of the seen side, where both are known: light differs by side."""
    both = (weight * other_weight)[:, None]
    total = float(both.sum())
    if total < 1:
        return other
    gain = ((seen * both).sum(axis=0) + 1) / ((other * both).sum(axis=0) + 1)
    return np.clip(other * np.clip(gain, 0.5, 2.0), 0, 255)


def _blend(
    seen: np.ndarray, weight: np.ndarray, other: np.ndarray, other_weight: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Lay the seen colours over the mirrored ones by their weight."""
    under = (1 - weight) * other_weight
    total = weight + under
    mixed = (seen * weight[:, None] + other * under[:, None]) / np.maximum(total, SEEN_ENOUGH)[:, None]
    return mixed, total


def _filled(colours: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Continue the known colours smoothly into everything unknown, from coarse to fine (push and pull)."""
    side = weights.shape[0]
    if side <= 4 or not (weights > SEEN_ENOUGH).any():
        mean = (colours * weights[..., None]).sum(axis=(0, 1)) / max(float(weights.sum()), SEEN_ENOUGH)
        return np.broadcast_to(mean if weights.any() else np.full(3, 128.0), colours.shape).astype(np.float32)
    half = (side // 2, side // 2)
    mass = cv2.resize(weights, half, interpolation=cv2.INTER_AREA)
    smaller = cv2.resize(colours * weights[..., None], half, interpolation=cv2.INTER_AREA)
    smaller /= np.maximum(mass, 1e-6)[..., None]
    below = _filled(smaller, np.minimum(4 * mass, 1))
    guess = cv2.resize(below, (side, side), interpolation=cv2.INTER_LINEAR)
    known = np.minimum(weights, 1)[..., None]
    return np.asarray(colours * known + guess * (1 - known), np.float32)


def _smoothstep(x: np.ndarray) -> np.ndarray:
    """0 below 0, 1 above 1, smooth between."""
    x = np.clip(x, 0, 1)
    return np.asarray(x * x * (3 - 2 * x), np.float32)
