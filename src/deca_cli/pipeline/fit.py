"""Fit the model to every face of a photo: crop, encode, crop again where the model says the face is, keep the real ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from deca_cli.heads.camera import ndc_to_photo_pixels
from deca_cli.photo.crop import LEAST_SIDE, Crop, check_box, crop_face, crop_whole, whole_box
from deca_cli.photo.find_faces import Face, find_faces

if TYPE_CHECKING:
    from collections.abc import Sequence

    from deca_cli.networks.codes import Codes, Encoding
    from deca_cli.packs.store import Pack
    from deca_cli.photo.crop import PixelBox
    from deca_cli.photo.read import Photo
    from deca_cli.pipeline.clock import Clock
    from deca_cli.pipeline.settings import Settings

RECROPS = 4  # times at most that a rough box is replaced by the box of the model's own landmarks
SETTLED = 0.8  # overlap (intersection over union) of a box and the one that follows from it that ends this
SAME_FACE = 0.4  # finds whose final boxes overlap by this share are one face
EARLY = 0.2  # part of the pack's least face score that is enough before the crop is right ...
FAINT = 0.02  # ... and in a photo in which no face is sure yet
BATCH = 16  # crops that go through the encoder together
GIVEN, WHOLE = "given box", "whole photo"


@dataclass(frozen=True, eq=False)
class Fit:
    """The model's answer for one face."""

    face: Face
    crop: Crop
    codes: Codes  # batch of one
    face_score: float | None
    looked_in_px: PixelBox  # the box that the crop was cut around
    box_px: PixelBox  # around the model's own 68 landmarks

    @property
    def size(self) -> float:
        """Mean side of the box, pixels."""
        return (self.box_px[2] - self.box_px[0] + self.box_px[3] - self.box_px[1]) / 2


def fit_faces(photo: Photo, pack: Pack, settings: Settings, clock: Clock) -> list[Fit]:
    """All faces of a photo that are asked for, the largest first; none if there is none.

    Raises:
        InputError: the given box cannot be used.
        UsageError: the detector that is asked for is not here.
    """
    if settings.whole_photo:
        fits = _fit_whole(photo, pack, clock)
    elif settings.box_px is not None:
        check_box(photo, settings.box_px)
        given = Face(box_px=settings.box_px, score=1.0, landmarks_px=None, source=GIVEN)
        fits = _fit_boxes(photo, [given], pack, clock, least_score=0.0)
    else:
        fits = _fit_found(photo, pack, settings, clock, thorough=False)
        if not fits:
            fits = _fit_found(photo, pack, settings, clock, thorough=True)
    fits.sort(key=lambda fit: -fit.size)
    return fits[: settings.max_faces]


def _fit_whole(photo: Photo, pack: Pack, clock: Clock) -> list[Fit]:
    """The photo is an aligned crop: no finding, no second crop."""
    with clock.stage("crop"):
        crop = crop_whole(photo, pack.deca.preprocessing)
    with clock.stage("encode"):
        box = whole_box(photo)
        return _fit_crops([Face(box, 1.0, None, WHOLE)], [crop], [box], pack)


def _fit_found(photo: Photo, pack: Pack, settings: Settings, clock: Clock, *, thorough: bool) -> list[Fit]:
    """Find faces, fit them, and keep those that the model takes for faces."""
    with clock.stage("find"):
        faces = find_faces(photo, detector=settings.detector, thorough=thorough)
    return _fit_boxes(photo, faces, pack, clock, least_score=pack.manifest.least_face_score)


def _fit_boxes(
    photo: Photo, faces: Sequence[Face], pack: Pack, clock: Clock, *, least_score: float
) -> list[Fit]:
    """Fit faces in rough boxes: crop, encode, and again in crops around the model's own landmarks until these stay.

    A face found through its landmarks is not cut again: its box is better than a rough one from a detector.
    """
    done: list[Fit] = []
    moving = list(faces)
    boxes = [face.box_px for face in moving]
    for turn in range(1 + RECROPS):
        with clock.stage("crop"):
            crops = [crop_face(photo, box, pack.deca.preprocessing) for box in boxes]
        with clock.stage("encode"):
            fits = _fit_crops(moving, crops, boxes, pack)
        part = EARLY if any(_is_face(fit, least_score) for fit in [*done, *fits]) else FAINT
        fits = [fit for fit in fits if _is_face(fit, part * least_score)]
        settled = [fit for fit in fits if turn == RECROPS or _is_settled(fit, turn)]
        done += settled
        again = merge_duplicates([fit for fit in fits if fit not in settled])
        moving, boxes = [fit.face for fit in again], [fit.box_px for fit in again]
    return merge_duplicates([fit for fit in done if _is_face(fit, least_score)])


def _is_settled(fit: Fit, turn: int) -> bool:
    """Whether another crop would change little; one more follows on every rough box."""
    return fit.face.landmarks_px is not None or (
        turn > 0 and overlap(fit.looked_in_px, fit.box_px) >= SETTLED
    )


def _is_face(fit: Fit, least_score: float) -> bool:
    return fit.face_score is None or fit.face_score >= least_score


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


def _fit_crops(
    faces: Sequence[Face], crops: Sequence[Crop], boxes: Sequence[PixelBox], pack: Pack
) -> list[Fit]:
    """Encode crops and find the box around the landmarks of each; unusable answers are left out."""
    fits: list[Fit] = []
    for start in range(0, len(crops), BATCH):
        part = slice(start, start + BATCH)
        fits += _fit_batch(faces[part], crops[part], boxes[part], pack)
    return fits


@torch.inference_mode()
def _fit_batch(
    faces: Sequence[Face], crops: Sequence[Crop], boxes: Sequence[PixelBox], pack: Pack
) -> list[Fit]:
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
        Fit(face, crop, encoding.codes.select(index), scores[index], box, (*low[index], *high[index]))
        for index, (face, crop, box) in enumerate(zip(faces, crops, boxes, strict=True))
    ]
    return [fit for fit in fits if np.isfinite(fit.box_px).all() and fit.size > LEAST_SIDE]
