"""Expression basis of the open head: the 52 ARKit blendshapes in the order of Apple's documentation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from deca_cli.synthetic.head_chart import boundary_loops
from deca_cli.synthetic.head_lip_actions import lip_offsets

if TYPE_CHECKING:
    from deca_cli.synthetic.head_regions import Parts
    from deca_cli.synthetic.head_source import SourceHead

UPPER_LID_TRAVEL = 0.0012  # metres that a blink moves a point of the upper lid at least
# MakeHuman's full lip raise uncovers 2 mm of teeth; a broad smile with closed jaws parts the lips by 8 to 12 mm.
LIP_GAINS = {"mouthUpperUp": 1.5, "mouthLowerDown": 1.6}
LID_OVERLAP = 0.0008  # metres that closed lids overlap on the mean head, so that most heads close fully

# Order of ARFaceAnchor.BlendShapeLocation as documented. Left and right are the subject's.
ARKIT_NAMES = (
    "eyeBlinkLeft",
    "eyeLookDownLeft",
    "eyeLookInLeft",
    "eyeLookOutLeft",
    "eyeLookUpLeft",
    "eyeSquintLeft",
    "eyeWideLeft",
    "eyeBlinkRight",
    "eyeLookDownRight",
    "eyeLookInRight",
    "eyeLookOutRight",
    "eyeLookUpRight",
    "eyeSquintRight",
    "eyeWideRight",
    "jawForward",
    "jawLeft",
    "jawRight",
    "jawOpen",
    "mouthClose",
    "mouthFunnel",
    "mouthPucker",
    "mouthLeft",
    "mouthRight",
    "mouthSmileLeft",
    "mouthSmileRight",
    "mouthFrownLeft",
    "mouthFrownRight",
    "mouthDimpleLeft",
    "mouthDimpleRight",
    "mouthStretchLeft",
    "mouthStretchRight",
    "mouthRollLower",
    "mouthRollUpper",
    "mouthShrugLower",
    "mouthShrugUpper",
    "mouthPressLeft",
    "mouthPressRight",
    "mouthLowerDownLeft",
    "mouthLowerDownRight",
    "mouthUpperUpLeft",
    "mouthUpperUpRight",
    "browDownLeft",
    "browDownRight",
    "browInnerUp",
    "browOuterUpLeft",
    "browOuterUpRight",
    "cheekPuff",
    "cheekSquintLeft",
    "cheekSquintRight",
    "noseSneerLeft",
    "noseSneerRight",
    "tongueOut",
)


def _blink_scale(mean: np.ndarray, margin: np.ndarray, blink: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How much a blink must be scaled, as a function of x, for the upper lid to land on the lower one.

    Args:
        mean: [V,3].
        margin: vertices of the rim of the eye opening.
        blink: [V,3] offsets of the action.

    Returns:
        Sorted x positions [N] and factors [N].
    """
    travel = -blink[margin, 1]
    upper, lower = margin[travel > UPPER_LID_TRAVEL], margin[travel <= UPPER_LID_TRAVEL]
    lower = lower[np.argsort(mean[lower, 0])]
    upper = upper[np.argsort(mean[upper, 0])]
    gap = mean[upper, 1] - np.interp(mean[upper, 0], mean[lower, 0], mean[lower, 1])
    return mean[upper, 0], np.clip((gap + LID_OVERLAP) / -blink[upper, 1], 0.4, 1.0)


def _gain(name: str) -> float:
    """Factor on MakeHuman's action."""
    return LIP_GAINS.get(name.removesuffix("Left").removesuffix("Right"), 1.0)


def expression_basis(source: SourceHead, mean: np.ndarray, parts: Parts, landmarks: np.ndarray) -> np.ndarray:
    """Vertex offsets [V,3,52] in metres of every ARKit action at its full value 1.

    MakeHuman's actions as they are, with two exceptions. Blinks: on the mean head [V,3], whose eyes are narrower than
    MakeHuman's base mesh, the upper lids would pass the lower ones by 4 mm, so they are scaled to meet them. The
    actions that part the lips reach farther (`LIP_GAINS`) and stretch them (`head_lip_actions`, landmarks [68,3]).
    """
    actions = np.stack(
        [_gain(name) * source.actions[source.action_names.index(name)] for name in ARKIT_NAMES]
    )
    for side in ("left", "right"):
        blink = actions[ARKIT_NAMES.index(f"eyeBlink{side.capitalize()}")]
        margin = np.array(boundary_loops(source.faces[parts.pieces[f"socket_{side}"]])[0])
        along, factor = _blink_scale(mean, margin, blink)
        blink *= np.interp(mean[:, 0], along, factor)[:, None]
    for name, offsets in lip_offsets(mean, landmarks, source, parts).items():
        actions[ARKIT_NAMES.index(name)] += offsets
    return np.moveaxis(actions, 0, -1)
