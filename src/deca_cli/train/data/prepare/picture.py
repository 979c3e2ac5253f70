"""One photo or video frame: fit, judge, cut with a margin, mask."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch

from deca_cli.errors import InputError
from deca_cli.heads.camera import ndc_to_photo_pixels
from deca_cli.pipeline.clock import Clock
from deca_cli.pipeline.fit import Fit, fit_faces
from deca_cli.pipeline.settings import Settings
from deca_cli.train.data.prepare.judge import Quality, fault, measure
from deca_cli.train.data.prepare.region import draw_region, face_triangles

if TYPE_CHECKING:
    from deca_cli.packs.store import Pack
    from deca_cli.photo.crop import PixelBox
    from deca_cli.photo.read import Photo
    from deca_cli.train.data.prepare.settings import PrepareSettings


class Rejected(InputError):  # noqa: N818 - it is no error of the program or the file
    """The picture can be read, but is not good enough to learn from."""


@dataclass(frozen=True, eq=False)
class Cutting:
    """A crop as it is stored."""

    pixels: np.ndarray  # uint8 [N, N, 3]
    landmarks: np.ndarray  # float64 [68, 2], pixel indices of the crop
    mask: np.ndarray  # uint8 [N, N]
    to_source: tuple[float, float, float]  # source pixel = [0] * crop pixel + [1], [2]
    quality: Quality
    box_px: PixelBox  # of the landmarks, in the photo


class Preparer:
    """A model and what all pictures share.

    Args:
        pack: finds the landmarks.
        settings: what is asked for.
    """

    def __init__(self, pack: Pack, settings: PrepareSettings) -> None:
        self.pack, self.settings = pack, settings
        self.triangles = face_triangles(pack)
        self.faces = pack.deca.head.faces.cpu()

    def prepare(
        self, photo: Photo, *, near: PixelBox | None = None, given: np.ndarray | None = None
    ) -> Cutting:
        """Prepare the largest face of a photo.

        Args:
            photo: the photo or frame.
            near: look there only, for frames of a video; if the face is not there, everywhere.
            given: skin mask uint8 [H, W] of the photo; drawn from the fitted head if left out.

        Raises:
            Rejected: there is no face, or the picture is not good enough.
        """
        fits = self._fits(photo, near)
        if not fits:
            raise Rejected("no face found")
        vertices, points = self._places(fits[0])
        quality = measure(photo.pixels, fits, points, self.pack)
        reason = fault(quality, self.settings.limits, self.pack.manifest.least_face_score)
        if reason is not None:
            raise Rejected(reason)
        return self._cut(photo.pixels, vertices, points, quality, given)

    def _fits(self, photo: Photo, near: PixelBox | None) -> list[Fit]:
        if near is not None:
            fits = fit_faces(photo, self.pack, Settings(box_px=near, max_faces=1), Clock())
            if fits and (fits[0].face_score or 0.0) >= self.pack.manifest.least_face_score:
                return fits
        return fit_faces(photo, self.pack, Settings(detector=self.settings.detector), Clock())

    @torch.inference_mode()
    def _places(self, fit: Fit) -> tuple[np.ndarray, np.ndarray]:
        """Vertices [V, 3] (depth in NDC) and landmarks [68, 2] in photo pixels."""
        rule = self.pack.deca.preprocessing
        head = self.pack.deca.decode(fit.codes)
        to_photo = torch.from_numpy(fit.crop.to_photo)[None]
        both = torch.cat([head.projected, head.landmarks2d], dim=1).double().cpu()
        flat = ndc_to_photo_pixels(both, to_photo, rule.image_size, rule.pixel_offset)[0]
        count = head.projected.shape[1]
        vertices = torch.cat([flat[:count], both[0, :count, 2:]], dim=1)
        return vertices.numpy(), flat[count:].numpy()

    def _cut(
        self,
        pixels: np.ndarray,
        vertices: np.ndarray,
        points: np.ndarray,
        quality: Quality,
        given: np.ndarray | None,
    ) -> Cutting:
        low, high = points.min(axis=0), points.max(axis=0)
        side = float((high - low).max()) * self.settings.margin
        x0, y0 = (math.floor(value - side / 2) for value in (low + high) / 2)
        span = math.ceil(side) + 2
        stored = min(span, self.settings.size)
        scale = stored / span  # stored pixels per source pixel
        corner = np.array([x0, y0], np.float64)
        points = (points - corner + 0.5) * scale - 0.5
        places = np.concatenate([(vertices[:, :2] - corner + 0.5) * scale - 0.5, vertices[:, 2:]], axis=1)
        mask = (
            draw_region(places, self.faces, self.triangles, stored)
            if given is None
            else window(given, (x0, y0), span, stored)
        )
        step = 1 / scale
        return Cutting(
            pixels=window(pixels, (x0, y0), span, stored),
            landmarks=points,
            mask=mask,
            to_source=(step, x0 + 0.5 * step - 0.5, y0 + 0.5 * step - 0.5),
            quality=quality,
            box_px=(float(low[0]), float(low[1]), float(high[0]), float(high[1])),
        )


def window(pixels: np.ndarray, corner: tuple[int, int], span: int, stored: int) -> np.ndarray:
    """A square of whole source pixels, zero outside the picture, averaged down if it is larger than ``stored``.

    Args:
        pixels: uint8 [H, W] or [H, W, 3].
        corner: column and row of its first pixel.
        span: its side.
        stored: side of the result.
    """
    x0, y0 = corner
    height, width = pixels.shape[:2]
    cut = np.zeros((span, span, *pixels.shape[2:]), np.uint8)
    rows, columns = slice(max(y0, 0), min(y0 + span, height)), slice(max(x0, 0), min(x0 + span, width))
    if rows.start < rows.stop and columns.start < columns.stop:
        cut[rows.start - y0 : rows.stop - y0, columns.start - x0 : columns.stop - x0] = pixels[rows, columns]
    if stored == span:
        return cut
    return np.asarray(cv2.resize(cut, (stored, stored), interpolation=cv2.INTER_AREA))
