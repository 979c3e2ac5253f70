"""A complete texture from one photo: what is seen, then what its mirror image shows, then a smooth guess.

Every texel knows its point on the mesh, so its colour can be read from the original photo. A texel counts as seen
where the surface faces the camera, lies inside the photo and is not behind another part of the head.
"""

from __future__ import annotations

from dataclasses import dataclass
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
    front = _front_of(capture)
    seen, weight = _from_photo(capture, chart, front, capture.vertices_px, capture.normals)
    mirror = capture.topology.mirror_vertices
    if mirror is not None:
        normals = capture.normals[mirror]
        other, other_weight = _from_photo(capture, chart, front, capture.vertices_px[mirror], normals)
        seen, weight = _blend(seen, weight, _match(other, other_weight, seen, weight), other_weight)
    colours = np.zeros((size, size, 3), np.float32)
    weights = np.zeros((size, size), np.float32)
    colours[chart.covered], weights[chart.covered] = seen, weight
    return np.clip(_filled(colours, weights) + 0.5, 0, 255).astype(np.uint8)


def _texture_size(capture: Capture) -> int:
    """The head's extent in the photo, rounded up: a photo that shows more than 1024 texels hold gets 2048."""
    extent = float(np.ptp(capture.vertices_px[:, :2], axis=0).max())
    return LARGEST if extent > SMALLEST else SMALLEST


@dataclass(frozen=True, eq=False)
class Front:
    """The part of the head that is nearest to the viewer, on a picture of its own size."""

    region: Region
    scale: np.ndarray  # [2] pixels of that picture per photo pixel
    pixel_m: float  # metres of head per pixel of that picture
    depth_px: np.ndarray  # float32 [h, w], z in photo pixels, infinite where there is no head
    inward_m: np.ndarray  # float32 [h, w], distance to the outline

    def pixels(self, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Rows and columns of positions [n, 2] on the photo, from its top left edge."""
        columns, rows = (places * self.scale - (self.region.left, self.region.top)).T.astype(np.int32)
        return np.clip(rows, 0, self.region.height - 1), np.clip(columns, 0, self.region.width - 1)


def _front_of(capture: Capture) -> Front | None:
    """Rasterise the head about `SEARCH_SIZE` pixels tall; None if it lies outside the photo."""
    extent = float(np.ptp(capture.vertices_px[:, :2], axis=0).max())
    photo = (capture.photo.width, capture.photo.height)
    size = (
        max(1, round(photo[0] * SEARCH_SIZE / max(extent, 1.0))),
        max(1, round(photo[1] * SEARCH_SIZE / max(extent, 1.0))),
    )
    view = look(capture, size)
    if not view.covered.any():
        return None
    depth = view.interpolate(capture.vertices_px[:, 2:], capture.topology.faces)[..., 0]
    depth[~view.covered] = np.inf
    # A pixel next to a nearer part is doubtful: it takes that part's depth.
    depth = cv2.erode(depth, np.ones((3, 3), np.uint8), borderType=cv2.BORDER_REPLICATE)
    scale = np.array(size, np.float32) / photo
    pixel_m = 1 / (capture.pixels_per_metre * float(scale.mean()))
    inward = cv2.distanceTransform(view.covered.astype(np.uint8), cv2.DIST_L2, 3) * pixel_m
    return Front(view.region, scale.astype(np.float32), pixel_m, depth, inward)


def _from_photo(
    capture: Capture, chart: View, front: Front | None, vertices_px: np.ndarray, normals: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Colours [n, 3] in 0..255 of the covered texels in the photo, and how well each is seen [n] in 0..1."""
    count = len(chart.triangles)
    colours, weights = np.zeros((count, 3), np.float32), np.zeros(count, np.float32)
    if front is None:
        return colours, weights
    faces = capture.topology.faces
    towards = (normals[faces, 2] > FACING_NONE).any(axis=1)[chart.triangles]  # most of the head is not
    size = (capture.photo.width, capture.photo.height)
    positions = np.concatenate(
        [positions_on(capture, vertices_px, size), vertices_px[:, 2:], normals], axis=1
    )
    places = chart.at_covered(positions, faces, towards)
    facing = places[:, 5] / np.sqrt(np.maximum(np.einsum("nd,nd->n", places[:, 3:], places[:, 3:]), 1e-12))
    weight = _smoothstep((facing - FACING_NONE) / (FACING_FULL - FACING_NONE))
    weight *= (places[:, 0] > 0) & (places[:, 0] < size[0]) & (places[:, 1] > 0) & (places[:, 1] < size[1])
    weight *= _in_front(capture, front, places[:, :3], facing)
    colours[towards], weights[towards] = _sample(capture.photo.pixels, places[:, :2] - 0.5), weight
    return colours, weights


def _in_front(capture: Capture, front: Front, places: np.ndarray, facing: np.ndarray) -> np.ndarray:
    """Float [n] in 0..1: whether nothing of the head lies before the texel and the background is not near."""
    at = front.pixels(places[:, :2])
    # Steep surface seems hidden by itself: it is allowed the depth that it gains over two pixels.
    steepness = np.sqrt(np.maximum(1 - facing**2, 0)) / np.maximum(facing, 0.1)
    behind_m = (places[:, 2] - front.depth_px[at]) / capture.pixels_per_metre - 2 * front.pixel_m * steepness
    return (1 - _smoothstep(behind_m / HIDDEN_BEHIND_M - 1)) * _smoothstep(front.inward_m[at] / OUTLINE_M - 1)


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
