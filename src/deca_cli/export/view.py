"""The head as the photo's camera sees it, rasterised on any pixel grid laid over the photo."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

    from deca_cli.export.capture import Capture
    from deca_cli.render.fragments import Fragments

PIXELS_PER_STRIP = 2_000_000  # 40 MB of fragments at a time


@dataclass(frozen=True)
class Region:
    """A rectangle of whole pixels of a picture: columns left..right - 1, rows top..bottom - 1."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def width(self) -> int:
        """Columns."""
        return self.right - self.left

    @property
    def height(self) -> int:
        """Rows."""
        return self.bottom - self.top

    @property
    def slices(self) -> tuple[slice, slice]:
        """Index of the rectangle in an array [H, W, ...]."""
        return slice(self.top, self.bottom), slice(self.left, self.right)

    def scaled(self, factor: int) -> Region:
        """The rectangle on a picture that is so many times as large."""
        return Region(factor * self.left, factor * self.top, factor * self.right, factor * self.bottom)


@dataclass(frozen=True, eq=False)
class View:
    """What is seen at each pixel of a region. Read once, for all pictures of it."""

    region: Region
    fragments: Fragments  # of a batch of one, on the device that draws

    @cached_property
    def triangle(self) -> np.ndarray:
        """Int32 [h, w], -1 where there is no head."""
        return np.asarray(self.fragments.triangle[0].cpu().numpy())

    @cached_property
    def barycentrics(self) -> np.ndarray:
        """Float32 [h, w, 3]."""
        return np.asarray(self.fragments.barycentrics[0].cpu().numpy())

    @cached_property
    def covered(self) -> np.ndarray:
        """Bool [h, w]."""
        return self.triangle >= 0

    def at(self, pixels: np.ndarray, values: np.ndarray, faces: np.ndarray) -> np.ndarray:
        """[V, D] values at the corners of `faces` -> float32 [n, D] at covered pixels, given as row-major indices [n]."""
        # There are fewer triangles than pixels: what a pixel needs is put side by side once for each triangle.
        table = np.take(np.asarray(values, np.float32), faces, axis=0)  # [F, 3, D]
        corners = np.take(table, np.take(self.triangle.reshape(-1), pixels), axis=0)  # [n, 3, D]
        weights = np.take(self.barycentrics.reshape(-1, 3), pixels, axis=0)  # [n, 3]
        corners *= weights[:, :, None]
        return corners[:, 0] + corners[:, 1] + corners[:, 2]

    def interpolate(self, values: np.ndarray, faces: np.ndarray) -> np.ndarray:
        """[V, D] values at the corners of `faces` -> float32 [h, w, D], 0 where there is no head."""
        if self.fragments.triangle.is_cuda:
            return np.asarray(self.spread(values, faces)[0].permute(1, 2, 0).cpu().numpy())
        out = np.zeros((self.triangle.size, values.shape[1]), np.float32)
        pixels = np.flatnonzero(self.covered)
        out[pixels] = self.at(pixels, values, faces)
        return out.reshape(*self.triangle.shape, values.shape[1])

    def spread(self, values: np.ndarray, faces: np.ndarray) -> Tensor:
        """As `interpolate`, as a tensor [1, D, h, w] on the device that draws."""
        import torch

        if not self.fragments.triangle.is_cuda:  # the head covers a part of the region: numpy reads only that
            return torch.from_numpy(self.interpolate(values, faces)).permute(2, 0, 1)[None]
        from deca_cli.render.interpolate import interpolate

        device = self.fragments.triangle.device
        corners = torch.from_numpy(faces).to(device)
        return interpolate(
            self.fragments, corners, torch.from_numpy(np.asarray(values, np.float32)).to(device)
        )


def positions_on(capture: Capture, points_px: np.ndarray, picture_size: tuple[int, int]) -> np.ndarray:
    """[N, 2+] photo pixels -> [N, 2] positions on a picture of the whole photo at another size, from its top left edge.

    Args:
        capture: says the photo's size and where in a pixel its index points.
        points_px: positions as pixel indices of the photo.
        picture_size: (width, height) of the picture; its pixel i reaches from i to i + 1.
    """
    scale = np.array(picture_size) / (capture.photo.width, capture.photo.height)
    return (points_px[:, :2] - capture.pixel_offset) * scale


def head_region(capture: Capture, picture_size: tuple[int, int]) -> Region:
    """The part of the picture that the head can touch; it may be empty."""
    places = positions_on(capture, capture.vertices_px, picture_size)
    return region_of(places.min(axis=0), places.max(axis=0), picture_size)


def region_of(low: np.ndarray, high: np.ndarray, picture_size: tuple[int, int]) -> Region:
    """The whole pixels of a picture between two corners [2], given as positions from its top left edge."""
    (left, top), (right, bottom) = low, high
    width, height = picture_size
    x0, y0 = (min(max(math.floor(low), 0), size) for low, size in ((left, width), (top, height)))
    x1, y1 = (min(max(math.ceil(high), 0), size) for high, size in ((right, width), (bottom, height)))
    return Region(x0, y0, max(x0, x1), max(y0, y1))


def look(capture: Capture, picture_size: tuple[int, int], region: Region | None = None) -> View:
    """Rasterise the head over a picture of the whole photo at any size.

    Args:
        capture: the face.
        picture_size: (width, height) that the whole photo would have.
        region: the part to rasterise; all of the head if left out.
    """
    import torch

    from deca_cli.render.fragments import Fragments
    from deca_cli.render.rasterize import rasterize

    region = region or head_region(capture, picture_size)
    if region.width == 0 or region.height == 0:
        shape = (1, region.height, region.width)
        nothing = torch.zeros((*shape, 3)), torch.full(shape, torch.inf)
        return View(region, Fragments(torch.full(shape, -1, dtype=torch.int32), *nothing))
    places = positions_on(capture, capture.vertices_px, picture_size)
    flat = (places - (region.left, region.top)) * 2 / (region.width, region.height) - 1
    depth = capture.vertices_px[:, 2:] - capture.vertices_px[:, 2].min()
    ndc = np.concatenate([flat, depth / max(float(depth.max()), 1e-9)], axis=1).astype(np.float32)
    vertices, faces = torch.from_numpy(ndc)[None], torch.from_numpy(capture.topology.faces)
    there = torch.device(capture.draw_on)
    return View(region, rasterize(vertices.to(there), faces.to(there), region.height, region.width))


def look_in_strips(capture: Capture, picture_size: tuple[int, int]) -> Iterator[View]:
    """As `look`, but one strip of rows after another, so that memory does not grow with the photo."""
    for strip in strips_of(capture, picture_size):
        yield look(capture, picture_size, strip)


def strips_of(capture: Capture, picture_size: tuple[int, int]) -> list[Region]:
    """The strips of `look_in_strips`."""
    whole = head_region(capture, picture_size)
    rows = max(1, PIXELS_PER_STRIP // max(whole.width, 1))
    return [
        Region(whole.left, top, whole.right, min(top + rows, whole.bottom))
        for top in range(whole.top, whole.bottom, rows)
    ]
