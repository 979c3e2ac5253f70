"""Expression basis of the open head: the 52 ARKit blendshapes in the order of Apple's documentation."""

from __future__ import annotations

import numpy as np

from deca_cli.synthetic.head_source import SourceHead

# Order of ARFaceAnchor.BlendShapeLocation as documented. Left and right are the subject's.
ARKIT_NAMES = (
    "eyeBlinkLeft eyeLookDownLeft eyeLookInLeft eyeLookOutLeft eyeLookUpLeft eyeSquintLeft eyeWideLeft "
    "eyeBlinkRight eyeLookDownRight eyeLookInRight eyeLookOutRight eyeLookUpRight eyeSquintRight eyeWideRight "
    "jawForward jawLeft jawRight jawOpen "
    "mouthClose mouthFunnel mouthPucker mouthLeft mouthRight mouthSmileLeft mouthSmileRight "
    "mouthFrownLeft mouthFrownRight mouthDimpleLeft mouthDimpleRight mouthStretchLeft mouthStretchRight "
    "mouthRollLower mouthRollUpper mouthShrugLower mouthShrugUpper mouthPressLeft mouthPressRight "
    "mouthLowerDownLeft mouthLowerDownRight mouthUpperUpLeft mouthUpperUpRight "
    "browDownLeft browDownRight browInnerUp browOuterUpLeft browOuterUpRight "
    "cheekPuff cheekSquintLeft cheekSquintRight noseSneerLeft noseSneerRight tongueOut"
).split()


def mirror_name(name: str) -> str:
    """The action of the other side: eyeBlinkLeft <-> eyeBlinkRight; unsided names stay."""
    if name.endswith("Left"):
        return name[:-4] + "Right"
    if name.endswith("Right"):
        return name[:-5] + "Left"
    return name


def expression_basis(source: SourceHead) -> np.ndarray:
    """Vertex offsets [V,3,52] in metres of every ARKit action at its full value 1."""
    order = [source.action_names.index(name) for name in ARKIT_NAMES]
    return np.moveaxis(source.actions[order], 0, -1)
