"""How good a fitted picture is to learn from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch

from deca_cli.heads.camera import ndc_to_photo_pixels
from deca_cli.train.data.cut import MIRRORED

if TYPE_CHECKING:
    from collections.abc import Sequence

    from deca_cli.packs.store import Pack
    from deca_cli.pipeline.fit import Fit
    from deca_cli.train.data.prepare.settings import QualityLimits

SHARPNESS_SIDE = 96  # pixels; sharpness is compared at one size
INNER = slice(17, None)  # detectors and models differ about the contour


@dataclass(frozen=True)
class Quality:
    """Measures; see `QualityLimits` for what each means."""

    face_score: float
    face_size: float
    sharpness: float
    disagreement: float
    second_face: float


def measure(pixels: np.ndarray, fits: Sequence[Fit], points: np.ndarray, pack: Pack) -> Quality:
    """Judge the largest face of a photo.

    Args:
        pixels: uint8 [H, W, 3] of the photo.
        fits: its faces, the largest first.
        points: [68, 2] landmarks of that one in photo pixels.
        pack: the model.
    """
    fit = fits[0]
    return Quality(
        face_score=1.0 if fit.face_score is None else fit.face_score,
        face_size=fit.size,
        sharpness=sharpness(pixels, fit.box_px),
        disagreement=disagreement(fit, points, pack),
        second_face=fits[1].size / fit.size if len(fits) > 1 else 0.0,
    )


def fault(quality: Quality, limits: QualityLimits, least_score: float) -> str | None:
    """Which limit a picture misses, as a sentence; None if it is good."""
    wanted = max(limits.face_score, least_score) if limits.face_score > 0 else 0.0
    if quality.face_score < wanted:
        return f"face score {quality.face_score:.3f} below {wanted:g}"
    if quality.face_size < limits.face_size:
        return f"face of {quality.face_size:.0f} pixels, smaller than {limits.face_size:g}"
    if quality.sharpness < limits.sharpness:
        return f"blurred: sharpness {quality.sharpness:.1f} below {limits.sharpness:g}"
    if quality.disagreement > limits.disagreement:
        return f"uncertain landmarks: disagreement {quality.disagreement:.3f} above {limits.disagreement:g}"
    if quality.second_face > limits.second_face:
        return (
            f"another face of nearly the same size ({quality.second_face:.0%}), so it is unclear who is meant"
        )
    return None


def sharpness(pixels: np.ndarray, box: tuple[float, float, float, float]) -> float:
    """Variance of the Laplacian of the grey face, brought to one size; 0 for a face outside the photo."""
    height, width = pixels.shape[:2]
    left, top = max(int(box[0]), 0), max(int(box[1]), 0)
    right, bottom = min(int(box[2]) + 1, width), min(int(box[3]) + 1, height)
    if right - left < 2 or bottom - top < 2:
        return 0.0
    grey = cv2.cvtColor(pixels[top:bottom, left:right], cv2.COLOR_RGB2GRAY)
    face = cv2.resize(grey, (SHARPNESS_SIDE, SHARPNESS_SIDE), interpolation=cv2.INTER_AREA)
    return float(cv2.Laplacian(face, cv2.CV_64F).var())


@torch.inference_mode()
def disagreement(fit: Fit, points: np.ndarray, pack: Pack) -> float:
    """Mean distance to the landmarks of the mirrored crop, and to the detector's if it has some; the larger one.

    In mean sides of the landmark box.
    """
    deca, rule = pack.deca, pack.deca.preprocessing
    device = deca.head.template_vertices.device
    mirrored = torch.from_numpy(np.ascontiguousarray(fit.crop.image[:, :, ::-1])).to(device)
    ndc = deca.decode(deca.encode(mirrored[None]).codes).landmarks2d.double().cpu()
    flip = np.array([[-1.0, 0, rule.image_size - 1], [0, 1, 0], [0, 0, 1]])
    to_photo = torch.from_numpy(fit.crop.to_photo @ flip)[None]
    again = ndc_to_photo_pixels(ndc, to_photo, rule.image_size, rule.pixel_offset)[0].numpy()[MIRRORED]
    distances = [np.linalg.norm(again - points, axis=1).mean()]
    if fit.face.landmarks_px is not None:
        distances.append(np.linalg.norm(fit.face.landmarks_px[INNER] - points[INNER], axis=1).mean())
    return float(max(distances)) / fit.size
