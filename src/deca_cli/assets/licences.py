"""The terms under which the files of the catalogue may be used."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True)
class Licence:
    """Terms that are shown, and accepted once, before anything under them is fetched."""

    name: str
    sentence: str
    page: str
    must_accept: bool = True


LICENCES: Mapping[str, Licence] = MappingProxyType(
    {
        licence.name: licence
        for licence in (
            Licence(
                "flame",
                "FLAME 2020: non-commercial scientific research only, registration needed, not to be passed on.",
                "https://flame.is.tue.mpg.de/modellicense.html",
            ),
            Licence(
                "flame-texture",
                "FLAME texture space: CC BY-NC-SA 4.0, non-commercial.",
                "https://flame.is.tue.mpg.de/modellicense.html",
            ),
            Licence(
                "deca",
                "DECA data and weights: non-commercial scientific research only, not to be passed on.",
                "https://github.com/yfeng95/DECA/blob/master/LICENSE",
            ),
            Licence(
                "bfm-albedo",
                "Albedo model made from the Basel Face Model: under its licence, non-commercial, not to be passed on.",
                "https://github.com/TimoBolkart/BFM_to_FLAME",
            ),
            Licence(
                "vggface2",
                "VGGFace2 network: trained on a data set for non-commercial research.",
                "https://github.com/cydonia999/VGGFace2-pytorch",
            ),
            Licence(
                "vgg19",
                "VGG-19 of torchvision: BSD-3-Clause code; trained on ImageNet, whose terms are for research.",
                "https://github.com/pytorch/vision/blob/main/LICENSE",
                must_accept=False,
            ),
            Licence(
                "yunet",
                "YuNet face detector: MIT.",
                "https://github.com/opencv/opencv_zoo/blob/main/models/face_detection_yunet/LICENSE",
                must_accept=False,
            ),
            Licence(
                "face-alignment",
                "Detector weights of face-alignment: BSD-3-Clause code; trained on WIDER FACE, a research data set.",
                "https://github.com/1adrianb/face-alignment/blob/master/LICENSE",
                must_accept=False,
            ),
        )
    }
)
