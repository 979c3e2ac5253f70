"""Fit the model to every face of a photo: crop, encode, crop again where the model says the face is, keep the real ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from deca_cli.heads.camera import ndc_to_photo_pixels
from deca_cli.photo.crop import Crop, crop_face, crop_whole, whole_box
from deca_cli.photo.find_faces import Face, find_faces

if TYPE_CHECKING:
    from collections.abc import Sequence

    from deca_cli.networks.codes import Codes, Encoding
    from deca_cli.packs.store import Pack
    from deca_cli.photo.crop import PixelBox
    from deca_cli.photo.read import Photo
    from deca_cli.pipeline.clock import Clock
    from deca_cli.pipeline.settings import Settings

RECROPS = 2  # times that a rough box is replaced by the box of the model's own landmarks
SAME_FACE = 0.4  # finds whose final boxes overlap by this share (intersection over union) are one face
REAL_FACE = 0.5  # least face score of a find
BATCH = 16  # crops that go through the encoder together
GIVEN, WHOLE = "given box", "whole photo"


@dataclass(frozen=True, eq=False)
class Fit:
    """The model's answer for one face."""

    face: Face
    crop: Crop
    codes: Codes  # batch of one
    face_score: float | None
    box_px: PixelBox  # around the model's own 68 landmarks

    @property
    def size(self) -> float:
        """Mean side of the box, pixels."""
        return (self.box_px[2] - self.box_px[0] + self.box_px[3] - self.box_px[1]) / 2


def fit_faces(photo: Photo, pack: Pack, settings: Settings, clock: Clock) -> list[Fit]:
    """All faces of a photo that are asked for, the largest first; none if there is none.

    Raises:
        InputError: the given box cannot be used.
    """
    with clock.stage("find"):
        faces = _faces_in(photo, settings)
    if not faces:
        return []
    with clock.stage("crop"):
        crops = [_first_crop(photo, face, pack, settings) for face in faces]
    with clock.stage("encode"):
        fits = _fit_crops(faces, crops, pack)
        if not settings.whole_photo:
            for _ in range(RECROPS):
                fits = _closer(photo, fits, pack)
    if settings.box_px is None and not settings.whole_photo:
        fits = [fit for fit in fits if fit.face_score is None or fit.face_score >= REAL_FACE]
        fits = merge_duplicates(fits)
    fits.sort(key=lambda fit: -fit.size)
    return fits[: settings.max_faces]


def merge_duplicates(fits: Sequence[Fit]) -> list[Fit]:
    """Of fits that cover the same face keep the one with the best score."""
    kept: list[Fit] = []
    for fit in sorted(fits, key=lambda fit: (-(fit.face_score or 0.0), -fit.face.score)):
        if all(overlap(fit.box_px, other.box_px) < SAME_FACE for other in kept):
            kept.append(fit)
    return kept


def overlap(one: PixelBox, other: PixelBox) -> float:
    """Intersection over union of two boxes."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    if width <= 0 or height <= 0:
        return 0.0
    shared = width * height
    areas = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other))
    return shared / (areas - shared)


def _faces_in(photo: Photo, settings: Settings) -> list[Face]:
    if settings.whole_photo:
        return [Face(box_px=whole_box(photo), score=1.0, landmarks_px=None, source=WHOLE)]
    if settings.box_px is not None:
        return [Face(box_px=settings.box_px, score=1.0, landmarks_px=None, source=GIVEN)]
    return find_faces(photo)


def _first_crop(photo: Photo, face: Face, pack: Pack, settings: Settings) -> Crop:
    if settings.whole_photo:
        return crop_whole(photo, pack.deca.preprocessing)
    return crop_face(photo, face.box_px, pack.deca.preprocessing)


def _closer(photo: Photo, fits: Sequence[Fit], pack: Pack) -> list[Fit]:
    """Fit again in crops around the model's own landmarks.

    A face found through its landmarks stays as it is: its box is better than a rough one from a detector.
    """
    again = [fit for fit in fits if fit.face.landmarks_px is None]
    crops = [crop_face(photo, fit.box_px, pack.deca.preprocessing) for fit in again]
    return [fit for fit in fits if fit.face.landmarks_px is not None] + _fit_crops(
        [fit.face for fit in again], crops, pack
    )


def _fit_crops(faces: Sequence[Face], crops: Sequence[Crop], pack: Pack) -> list[Fit]:
    """Encode crops and find the box around the landmarks of each; unusable answers are left out."""
    fits: list[Fit] = []
    for start in range(0, len(crops), BATCH):
        part = slice(start, start + BATCH)
        fits += _fit_batch(faces[part], crops[part], pack)
    return fits


@torch.inference_mode()
def _fit_batch(faces: Sequence[Face], crops: Sequence[Crop], pack: Pack) -> list[Fit]:
    deca = pack.deca
    device = deca.head.template_vertices.device
    encoding: Encoding = deca.encode(torch.from_numpy(np.stack([crop.image for crop in crops])).to(device))
    to_photo = torch.from_numpy(np.stack([crop.to_photo for crop in crops])).to(device)
    preprocessing = deca.preprocessing
    points = ndc_to_photo_pixels(
        deca.decode(encoding.codes).landmarks2d.double(),
        to_photo,
        preprocessing.image_size,
        preprocessing.pixel_offset,
    )
    low, high = points.amin(dim=1).tolist(), points.amax(dim=1).tolist()
    scores = [None] * len(crops) if encoding.face_score is None else encoding.face_score.tolist()
    fits = [
        Fit(face, crop, encoding.codes.select(index), scores[index], (*low[index], *high[index]))
        for index, (face, crop) in enumerate(zip(faces, crops, strict=True))
    ]
    return [fit for fit in fits if np.isfinite(fit.box_px).all() and fit.size > 2]
