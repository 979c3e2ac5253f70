"""What a face detector returns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

    from deca_cli.photo.crop import PixelBox


@dataclass(frozen=True, eq=False)
class Face:
    """A place in a photo where a face may be.

    Attributes:
        box_px: left, top, right, bottom in photo pixels, tight around the 68 landmarks (brows to chin).
        score: 0..1, how sure the detector is; only comparable between faces of one detector.
        landmarks_px: float32 [68, 2] in photo pixels, or None where the detector finds boxes only.
        source: name of the detector.
    """

    box_px: PixelBox
    score: float
    landmarks_px: np.ndarray | None
    source: str
