"""What of the head the viewer sees, and where the photo can be trusted to show the head and not what is behind it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from deca_cli.export.view import Region, View, head_region, look

if TYPE_CHECKING:
    from deca_cli.export.capture import Capture

SIZE = 512  # pixels of the head's longer side on the picture that these questions are answered on
OUTLINE_M = 0.004  # so near the outline the background may show; twice as far in it is the head
BAND_M = 0.05  # the mesh may stand out over the real head by this much, mostly at hair and crown
ALIKE = 26.0  # distance of 8-bit Lab colours up to which a place looks like the background


@dataclass(frozen=True, eq=False)
class Front:
    """The part of the head that is nearest to the viewer, on a picture of its own size."""

    region: Region
    scale: np.ndarray  # [2] pixels of that picture per photo pixel
    pixel_m: float  # metres of head per pixel of that picture
    depth_px: np.ndarray  # float32 [h, w], z in photo pixels, infinite where there is no head
    trust: np.ndarray  # float32 [h, w] in 0..1, whether the photo shows the head there

    def pixels(self, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Rows and columns of positions [n, 2] on the photo, from its top left edge."""
        columns, rows = (places * self.scale - (self.region.left, self.region.top)).T.astype(np.int32)
        return np.clip(rows, 0, self.region.height - 1), np.clip(columns, 0, self.region.width - 1)


def front_of(capture: Capture) -> Front | None:
    """Rasterise the head about `SIZE` pixels tall, with what is around it; None if it lies outside the photo."""
    photo = np.array([capture.photo.width, capture.photo.height])
    width, height = np.maximum(np.rint(photo * SIZE / max(head_extent(capture), 1.0)), 1).astype(int).tolist()
    scale = (np.array([width, height]) / photo).astype(np.float32)
    pixel_m = 1 / (capture.pixels_per_metre * float(scale.mean()))
    view = look(
        capture, (width, height), _grown(head_region(capture, (width, height)), (width, height), pixel_m)
    )
    if not view.covered.any():
        return None
    depth = view.interpolate(capture.vertices_px[:, 2:], capture.topology.faces)[..., 0]
    depth[~view.covered] = np.inf
    # A pixel next to a nearer part is doubtful: it takes that part's depth.
    depth = cv2.erode(depth, np.ones((3, 3), np.uint8), borderType=cv2.BORDER_REPLICATE)
    return Front(view.region, scale, pixel_m, depth, _trust(capture, view, scale, pixel_m))


def head_extent(capture: Capture) -> float:
    """Longer side of the head in photo pixels."""
    return float(np.ptp(capture.vertices_px[:, :2], axis=0).max())


def _grown(region: Region, size: tuple[int, int], pixel_m: float) -> Region:
    """The region with a band around it, inside the picture."""
    band = round(1.5 * BAND_M / pixel_m)
    left, top = max(region.left - band, 0), max(region.top - band, 0)
    return Region(left, top, min(region.right + band, size[0]), min(region.bottom + band, size[1]))


def _trust(capture: Capture, view: View, scale: np.ndarray, pixel_m: float) -> np.ndarray:
    """Float32 [h, w]: 0 outside, at the outline, and where the photo looks like the background there."""
    mask = view.covered.astype(np.uint8)
    inward, near = _nearest(mask)
    trust = smoothstep(inward * pixel_m / OUTLINE_M - 1)
    outward, _ = _nearest(1 - mask)
    away = (outward * pixel_m < BAND_M).astype(np.uint8)  # 0 where it is surely no head, nor its hair
    if away.all() or not mask.any():
        return trust
    _, far = _nearest(away)
    colours = _lab(capture, view.region, scale).reshape(-1, 3)
    # What looks like the photo just outside the outline and also like the photo further out is background that
    # the mesh covers by mistake. Hair that hangs over the outline looks like the first and not like the second.
    alike = np.ones(mask.size, bool)
    for place in (near, far):
        alike &= np.linalg.norm(colours - colours[place.reshape(-1)], axis=1) < ALIKE
    covered = (alike.reshape(mask.shape) & (inward * pixel_m < BAND_M)).astype(np.uint8) * mask
    background = cv2.morphologyEx(covered, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    background = _touching(background, inward * pixel_m < OUTLINE_M)
    around = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * round(OUTLINE_M / pixel_m) + 1,) * 2)
    doubtful = cv2.dilate(background, around).astype(np.float32)
    return np.asarray(trust * (1 - cv2.blur(doubtful, (5, 5))))


def _touching(spots: np.ndarray, border: np.ndarray) -> np.ndarray:
    """The spots (uint8 0/1) that reach the border: background enters from outside, a highlight on a cheek does not."""
    _, labels = cv2.connectedComponents(spots, connectivity=8)
    reaching = np.unique(labels[border & (spots > 0)])
    return np.isin(labels, reaching).astype(np.uint8) * spots


def _nearest(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For every pixel the distance to the nearest zero of the mask, and that zero's row-major index."""
    distance, labels = cv2.distanceTransformWithLabels(mask, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    zeros = np.flatnonzero(mask.reshape(-1) == 0)
    if len(zeros) == 0:
        return np.full(mask.shape, np.inf, np.float32), np.zeros(mask.shape, np.int64)
    index = np.zeros(labels.max() + 1, np.int64)
    index[labels.reshape(-1)[zeros]] = zeros
    return distance, index[labels]


def _lab(capture: Capture, region: Region, scale: np.ndarray) -> np.ndarray:
    """The photo in a region of the picture, smoothed: float32 [h, w, 3], 8-bit Lab."""
    edges = np.array([[region.left, region.top], [region.right, region.bottom]]) / scale
    (left, top), (right, bottom) = np.rint(edges).astype(int)
    part = capture.photo.pixels[top : max(bottom, top + 1), left : max(right, left + 1)]
    small = cv2.resize(part, (region.width, region.height), interpolation=cv2.INTER_AREA)
    return cv2.cvtColor(cv2.blur(small, (7, 7)), cv2.COLOR_RGB2LAB).astype(np.float32)


def smoothstep(x: np.ndarray) -> np.ndarray:
    """0 below 0, 1 above 1, smooth between."""
    x = np.clip(x, 0, 1)
    return np.asarray(x * x * (3 - 2 * x), np.float32)
