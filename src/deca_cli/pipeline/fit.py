"""Fit the model to every face of a photo: crop, encode, crop again where the model says the face is, keep the real ones."""

from __future__ import annotations

import math
from collections.abc import Generator
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from deca_cli.heads.camera import ndc_to_photo_pixels, project
from deca_cli.networks.codes import Codes
from deca_cli.photo.crop import (
    LEAST_SIDE,
    Crop,
    check_box,
    cut_square,
    square_around,
    square_of_whole,
    whole_box,
)
from deca_cli.photo.find_faces import Face, find_faces
from deca_cli.pipeline.transfer import to_host

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from deca_cli.networks.codes import Encoding
    from deca_cli.networks.deca import Deca
    from deca_cli.networks.preprocessing import Preprocessing
    from deca_cli.packs.store import Pack
    from deca_cli.photo.crop import PixelBox, Square
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
    batch: Codes  # of the crops that went through the networks together
    face_score: float | None
    looked_in_px: PixelBox  # the box that the crop was cut around
    box_px: PixelBox  # around the model's own 68 landmarks
    row: int = 0  # of the batch

    @property
    def codes(self) -> Codes:
        """Batch of one."""
        return self.batch.select(self.row)

    @property
    def size(self) -> float:
        """Mean side of the box, pixels."""
        return (self.box_px[2] - self.box_px[0] + self.box_px[3] - self.box_px[1]) / 2


@dataclass(frozen=True)
class Look:
    """A question: where may faces be in the photo? The answer is a list of faces."""

    thorough: bool


@dataclass(frozen=True, eq=False)
class Encode:
    """A question: what does the model say about these boxes of the photo? The answer is a list of fits."""

    faces: Sequence[Face]
    boxes: Sequence[PixelBox]
    whole: bool = False  # use the whole photo as the crop


Steps = Generator[Look | Encode, Any, list["Fit"]]


def fit_faces(photo: Photo, pack: Pack, settings: Settings, clock: Clock) -> list[Fit]:
    """All faces of a photo that are asked for, the largest first; none if there is none.

    Raises:
        InputError: the given box cannot be used.
        UsageError: the detector that is asked for is not here.
    """
    steps = fit_steps(photo, pack.manifest.least_face_score, settings)
    answer: list[Face] | list[Fit] | None = None
    while True:
        try:
            question = steps.send(answer)
        except StopIteration as done:
            return done.value
        if isinstance(question, Look):
            with clock.stage("find"):
                answer = find_faces(photo, detector=settings.detector, thorough=question.thorough)
        else:
            with clock.stage("crop"):
                rule = pack.deca.preprocessing
                crops = [cut_square(photo, square, rule) for square in squares_of(photo, question, rule)]
            with clock.stage("encode"):
                answer = fit_crops(question.faces, crops, question.boxes, pack)


def fit_steps(photo: Photo, least_face_score: float, settings: Settings) -> Steps:
    """What has to be found out about a photo, question by question, so that many photos can be asked about together.

    Raises:
        InputError: the given box cannot be used.
    """
    if settings.whole_photo:
        box = whole_box(photo)
        fits = yield Encode([Face(box, 1.0, None, WHOLE)], [box], whole=True)
    elif settings.box_px is not None:
        check_box(photo, settings.box_px)
        given = Face(box_px=settings.box_px, score=1.0, landmarks_px=None, source=GIVEN)
        fits = yield from _fit_boxes([given], least_score=0.0)
    else:
        fits = []
        for thorough in (False, True):
            faces = yield Look(thorough)
            fits = yield from _fit_boxes(faces, least_score=least_face_score)
            if fits:
                break
    fits.sort(key=lambda fit: -fit.size)
    return fits[: settings.max_faces]


def _fit_boxes(faces: Sequence[Face], *, least_score: float) -> Steps:
    """Fit faces in rough boxes: crop, encode, and again in crops around the model's own landmarks until these stay.

    A face found through its landmarks is not cut again: its box is better than a rough one from a detector.
    """
    done: list[Fit] = []
    moving = list(faces)
    boxes = [face.box_px for face in moving]
    for turn in range(1 + RECROPS):
        fits = (yield Encode(moving, boxes)) if moving else []
        part = EARLY if any(_is_face(fit, least_score) for fit in [*done, *fits]) else FAINT
        fits = [fit for fit in fits if _is_face(fit, part * least_score)]
        settled = [fit for fit in fits if turn == RECROPS or _is_settled(fit, turn)]
        done += settled
        again = merge_duplicates([fit for fit in fits if fit not in settled])
        moving, boxes = [fit.face for fit in again], [fit.box_px for fit in again]
    return merge_duplicates([fit for fit in done if _is_face(fit, least_score)])


def squares_of(photo: Photo, question: Encode, preprocessing: Preprocessing) -> list[Square]:
    """The squares that a question is about; of the photo only its size counts."""
    if question.whole:
        return [square_of_whole(photo)]
    return [square_around(box, preprocessing) for box in question.boxes]


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


def fit_crops(
    faces: Sequence[Face], crops: Sequence[Crop], boxes: Sequence[PixelBox], pack: Pack
) -> list[Fit]:
    """Encode crops and find the box around the landmarks of each; unusable answers are left out."""
    fits: list[Fit | None] = []
    for start in range(0, len(crops), BATCH):
        part = slice(start, start + BATCH)
        fits += fit_batch(faces[part], crops[part], boxes[part], pack)
    return [fit for fit in fits if fit is not None]


@torch.inference_mode()
def fit_batch(
    faces: Sequence[Face],
    crops: Sequence[Crop],
    boxes: Sequence[PixelBox],
    pack: Pack,
    *,
    images: np.ndarray | None = None,
    pad_to: int = 0,
) -> list[Fit | None]:
    """Crops that go through the networks together -> a fit for each, or None where the answer is unusable.

    Args:
        faces: which face each crop is for.
        crops: the crops.
        boxes: the box that each was cut around.
        pack: the model.
        images: float32 [B, 3, S, S] of the crops, if they do not hold them themselves.
        pad_to: fill the batch up to this size with empty crops, for networks that are compiled for one size.
    """
    deca = pack.deca
    device = deca.head.template_vertices.device
    if images is None:
        images = np.stack([crop.image for crop in crops])
    there = torch.from_numpy(images).to(device, non_blocking=True)  # read when the answer is there
    if len(crops) < pad_to:
        there = torch.cat([there, there.new_zeros(pad_to - len(crops), *there.shape[1:])])
    encoding: Encoding = deca.encode(there)
    codes = encoding.codes.select(slice(len(crops)))
    to_photo = torch.from_numpy(np.stack([crop.to_photo for crop in crops])).to(device, non_blocking=True)
    preprocessing = deca.preprocessing
    points = ndc_to_photo_pixels(
        landmarks_of(deca, codes).double(),
        to_photo,
        preprocessing.image_size,
        preprocessing.pixel_offset,
    )
    found = torch.cat([points.amin(dim=1), points.amax(dim=1)], dim=1)
    if encoding.face_score is not None:
        found = torch.cat([found, encoding.face_score[: len(crops), None].double()], dim=1)
    [rows] = to_host([found])
    fits = [
        Fit(face, crop, codes, score[0] if score else None, box, (x0, y0, x1, y1), index)
        for index, (face, crop, box, (x0, y0, x1, y1, *score)) in enumerate(
            zip(faces, crops, boxes, rows.tolist(), strict=True)
        )
    ]
    return [fit if all(map(math.isfinite, fit.box_px)) and fit.size > LEAST_SIDE else None for fit in fits]


def codes_of(fits: Sequence[Fit]) -> Codes:
    """The codes of all fits as one batch, in few operations however many batches they come from."""
    batches = list({id(fit.batch): fit.batch for fit in fits}.values())
    starts = accumulate((batch.batch_size for batch in batches), initial=0)
    first = {id(batch): start for batch, start in zip(batches, starts, strict=False)}
    rows = torch.tensor([first[id(fit.batch)] + fit.row for fit in fits])
    return Codes.concat(batches).select(rows.to(batches[0].shape.device, non_blocking=True))


def landmarks_of(deca: Deca, codes: Codes) -> Tensor:
    """[B, 68, 3] NDC, as in `Deca.decode`, without what only a picture needs."""
    vertices = deca.head(codes.shape, codes.expression, codes.pose)
    return project(deca.head.landmarks(vertices, codes.pose).contour, codes.camera)
