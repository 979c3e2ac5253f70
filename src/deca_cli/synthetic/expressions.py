"""Named expressions and visemes as ARKit-52 coefficients, and plausible random combinations of them.

The names and their meaning are those of Apple's ARKit ``ARFaceAnchor.BlendShapeLocation``; which coefficients make up
an expression follows the usual action-unit descriptions of the Facial Action Coding System (Ekman and Friesen).
"""

from __future__ import annotations

import math
from types import MappingProxyType
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from deca_cli.synthetic.draws import Draws


def _both(**values: float) -> dict[str, float]:
    """The same value on the left and on the right."""
    return {f"{name}{side}": value for name, value in values.items() for side in ("Left", "Right")}


EXPRESSIONS: Mapping[str, Mapping[str, float]] = MappingProxyType(
    {
        "neutral": {},
        "smile": _both(mouthSmile=0.7, cheekSquint=0.35, eyeSquint=0.2, mouthDimple=0.2),
        "grin": _both(mouthSmile=0.85, mouthUpperUp=0.4, mouthLowerDown=0.3, cheekSquint=0.55, eyeSquint=0.4),
        "toothy_smile": _both(
            mouthSmile=0.75, mouthUpperUp=0.9, mouthLowerDown=0.7, cheekSquint=0.5, eyeSquint=0.4
        ),
        "polite_smile": _both(mouthSmile=0.45, mouthUpperUp=0.55, mouthLowerDown=0.3, eyeSquint=0.2),
        "lips_parted": {**_both(mouthUpperUp=0.3, mouthLowerDown=0.35), "jawOpen": 0.06},
        "thin_lips": {**_both(mouthPress=0.3, mouthSmile=0.2), "mouthRollLower": 0.3, "mouthRollUpper": 0.15},
        "laugh": {
            **_both(mouthSmile=0.9, mouthUpperUp=0.5, mouthLowerDown=0.5, cheekSquint=0.7, eyeSquint=0.5),
            "jawOpen": 0.45,
        },
        "surprise": {
            **_both(browOuterUp=0.8, eyeWide=0.7),
            "browInnerUp": 0.9,
            "jawOpen": 0.5,
            "mouthFunnel": 0.2,
        },
        "fear": {
            **_both(browOuterUp=0.4, eyeWide=0.8, mouthStretch=0.6, browDown=0.25),
            "browInnerUp": 0.8,
            "jawOpen": 0.3,
        },
        "anger": {
            **_both(browDown=0.9, eyeSquint=0.4, noseSneer=0.4, mouthPress=0.5, mouthFrown=0.3),
            "mouthClose": 0.05,
        },
        "shout": {
            **_both(browDown=0.8, noseSneer=0.6, mouthUpperUp=0.7, mouthLowerDown=0.6, mouthStretch=0.4),
            "jawOpen": 0.7,
        },
        "disgust": _both(noseSneer=0.9, mouthUpperUp=0.6, browDown=0.4, cheekSquint=0.4, mouthFrown=0.3),
        "sadness": {
            **_both(mouthFrown=0.7, browDown=0.15, eyeLookDown=0.2),
            "browInnerUp": 0.8,
            "mouthShrugLower": 0.4,
        },
        "pout": {**_both(mouthFrown=0.3), "mouthPucker": 0.5, "mouthShrugLower": 0.6, "mouthRollLower": 0.1},
        "kiss": {"mouthPucker": 0.9, **_both(eyeSquint=0.1)},
        "rounded": {"mouthFunnel": 0.9, "mouthPucker": 0.2, "jawOpen": 0.15},
        "whistle": {"mouthFunnel": 0.6, "mouthPucker": 0.6, "jawOpen": 0.1},
        "puff": {"cheekPuff": 0.9, "mouthClose": 0.05, **_both(mouthPress=0.4)},
        "yawn": {**_both(eyeBlink=0.7, browDown=0.2, mouthStretch=0.2), "jawOpen": 0.95, "browInnerUp": 0.3},
        "eyes_closed": _both(eyeBlink=1.0),
        "sleepy": _both(eyeBlink=0.55, browOuterUp=0.15),
        "squint": _both(eyeSquint=0.9, browDown=0.5, cheekSquint=0.5),
        "wide_eyes": _both(eyeWide=1.0, browOuterUp=0.3),
        "brow_left_up": {"browOuterUpLeft": 0.9, "browInnerUp": 0.25, "browDownRight": 0.4},
        "brow_right_up": {"browOuterUpRight": 0.9, "browInnerUp": 0.25, "browDownLeft": 0.4},
        "worry": {"browInnerUp": 1.0, **_both(mouthFrown=0.2)},
        "brows_up": {**_both(browOuterUp=1.0), "browInnerUp": 1.0},
        "frown": _both(browDown=1.0),
        "wink_left": {"eyeBlinkLeft": 1.0, "cheekSquintLeft": 0.6, "mouthSmileLeft": 0.4},
        "wink_right": {"eyeBlinkRight": 1.0, "cheekSquintRight": 0.6, "mouthSmileRight": 0.4},
        "smirk_left": {"mouthSmileLeft": 0.7, "mouthDimpleLeft": 0.4, "mouthLeft": 0.2},
        "smirk_right": {"mouthSmileRight": 0.7, "mouthDimpleRight": 0.4, "mouthRight": 0.2},
        "lips_pressed": {**_both(mouthPress=0.8), "mouthRollLower": 0.5, "mouthRollUpper": 0.5},
        "mouth_open": {"jawOpen": 0.8},
        "grimace": _both(mouthStretch=0.8, mouthUpperUp=0.4, mouthLowerDown=0.6, eyeSquint=0.4),
        "closed_lips_open_jaw": {"jawOpen": 0.3, "mouthClose": 0.28, **_both(mouthPress=0.1)},
        "jaw_left": {"jawLeft": 0.8, "mouthLeft": 0.4},
        "jaw_right": {"jawRight": 0.8, "mouthRight": 0.4},
    }
)

# How often an expression is drawn, in shares of the plain ones: what people do in front of a camera comes more often.
COMMON: Mapping[str, float] = MappingProxyType(
    {
        "neutral": 2.5,
        "smile": 5.0,
        "grin": 5.0,
        "toothy_smile": 8.0,
        "polite_smile": 5.0,
        "lips_parted": 5.0,
        "thin_lips": 2.0,
        "laugh": 3.5,
        "squint": 2.5,
        "eyes_closed": 4.0,
        "wink_left": 2.0,
        "wink_right": 2.0,
        "brows_up": 3.0,
        "brow_left_up": 2.0,
        "brow_right_up": 2.0,
        "worry": 1.5,
        "frown": 3.0,
        "kiss": 3.0,
        "rounded": 2.5,
        "whistle": 2.0,
        "pout": 2.0,
        "surprise": 2.0,
        "anger": 2.0,
        "shout": 2.0,
        "lips_pressed": 2.0,
    }
)

VISEMES: Mapping[str, Mapping[str, float]] = MappingProxyType(
    {
        "aa": {"jawOpen": 0.55, **_both(mouthLowerDown=0.2, mouthUpperUp=0.1)},
        "ee": {"jawOpen": 0.2, **_both(mouthStretch=0.4, mouthSmile=0.3, mouthLowerDown=0.3)},
        "ih": {"jawOpen": 0.25, **_both(mouthStretch=0.2, mouthLowerDown=0.2)},
        "oh": {"jawOpen": 0.4, "mouthFunnel": 0.5, "mouthPucker": 0.2},
        "ou": {"jawOpen": 0.2, "mouthPucker": 0.7, "mouthFunnel": 0.3},
        "mbp": {**_both(mouthPress=0.4), "mouthRollLower": 0.3, "mouthRollUpper": 0.3},
        "fv": {"mouthRollLower": 0.5, "jawOpen": 0.1, **_both(mouthUpperUp=0.3)},
        "l": {"jawOpen": 0.3, **_both(mouthLowerDown=0.1)},
        "ch": {"jawOpen": 0.12, "mouthFunnel": 0.5, **_both(mouthLowerDown=0.2, mouthUpperUp=0.2)},
        "ss": {"jawOpen": 0.06, **_both(mouthStretch=0.4, mouthLowerDown=0.3, mouthUpperUp=0.15)},
    }
)

# Coefficients that are never drawn independently: the gaze has its own draw, and the tongue stays in.
LOOKS_INTO_CAMERA = 0.5  # share of the faces, as far as eyes turn
_DRAWN_APART = ("eyeLook", "tongueOut")
GAZE_DEGREES = {"side": 20.0, "up": 10.0, "down": 16.0}  # turn of the eyes at a coefficient of 1
_MOUTH_CLOSE_NEEDS_JAW = ("mouthClose", "jawOpen")


def coefficient_table(expressions: Mapping[str, Mapping[str, float]], names: Sequence[str]) -> Tensor:
    """[number of expressions, number of names] coefficients in the order of ``names``.

    Raises:
        KeyError: an expression uses a coefficient that is not in ``names``.
    """
    column = {name: index for index, name in enumerate(names)}
    table = torch.zeros(len(expressions), len(names))
    for row, values in enumerate(expressions.values()):
        for name, value in values.items():
            table[row, column[name]] = value
    return table


def _towards_camera(rotation: Tensor) -> tuple[Tensor, Tensor]:
    """Gaze [N], [N] to the subject's left and up, in coefficients, of eyes that look at the viewer.

    Args:
        rotation: [N, 3, 3] head to camera-aligned frame; the viewer is in the direction +z of the latter.
    """
    x, y, z = rotation[:, 2].unbind(1)  # the viewer's direction in the head frame
    side = torch.atan2(x, z.clamp_min(0.05)) * (180 / math.pi)
    up = torch.asin(y.clamp(-1, 1)) * (180 / math.pi)
    lifted = torch.where(up > 0, up / GAZE_DEGREES["up"], up / GAZE_DEGREES["down"])
    return side / GAZE_DEGREES["side"], lifted


class ExpressionSampler:
    """Draws plausible ARKit coefficients: named expressions, visemes, small independent actions, gaze, blinks."""

    def __init__(self, names: Sequence[str], device: torch.device | str) -> None:
        self.names = tuple(names)
        self.expressions = coefficient_table(EXPRESSIONS, names).to(device)
        self.visemes = coefficient_table(VISEMES, names).to(device)
        self.shares = [COMMON.get(name, 1.0) for name in EXPRESSIONS]
        free = [not name.startswith(_DRAWN_APART) for name in names]
        self.free = torch.tensor(free, dtype=torch.float32, device=device)
        self.left = self._columns("Left", device)
        self.right = self._columns("Right", device)
        self.blink = self._columns("eyeBlink", device)

    def _columns(self, part: str, device: torch.device | str) -> Tensor:
        return torch.tensor([float(part in name) for name in self.names], device=device)

    def sample(self, draws: Draws, count: int, rotation: Tensor | None = None) -> Tensor:
        """[count, 52] coefficients in [0, 1].

        Args:
            draws: source of randomness.
            count: how many.
            rotation: [count, 3, 3] of the heads, for eyes that look into the camera however the head is turned.
        """
        first = self.expressions[draws.choice(self.shares, count)]
        second = self.expressions[draws.integers(len(self.expressions), count)]
        speech = self.visemes[draws.integers(len(self.visemes), count)]
        weak, full = draws.uniform(count, 1, low=0.15, high=1.0), draws.uniform(count, 1, low=0.8, high=1.2)
        total = first * torch.where(draws.chance(0.5, count, 1), full, weak)
        total = total + second * draws.uniform(count, 1, low=0.1, high=0.8) * draws.chance(0.3, count, 1)
        total = total + speech * draws.uniform(count, 1, low=0.2, high=1.1) * draws.chance(0.35, count, 1)
        loose = draws.uniform(count, len(self.names)) ** 1.5 * draws.chance(0.12, count, len(self.names))
        total = total + loose * self.free * draws.uniform(count, 1, low=0.2, high=1.0)
        total = total + self.blink * draws.chance(0.08, count, 1) * draws.uniform(count, 1, low=0.6, high=1.2)
        total = total * draws.chance(0.88, count, 1)  # the rest keeps a neutral face
        relaxed = draws.uniform(count, 1, low=0.0, high=0.3) * draws.chance(0.6, count, 1)
        total = total + self.blink * relaxed  # lids hang a little lower in most photos than on the mean head
        lean = draws.normal(count, 1, std=0.12)
        total = total * (1 + lean * self.left - lean * self.right)
        total = total + self._gaze(draws, count, rotation)
        return self._close_with_jaw(total.clamp(0, 1))

    def _gaze(self, draws: Draws, count: int, rotation: Tensor | None) -> Tensor:
        """Both eyes look the same way; a look to the subject's left is Out for the left eye and In for the right."""
        side = draws.normal(count, std=0.5) * draws.chance(0.75, count)
        up = draws.normal(count, std=0.4) * draws.chance(0.75, count)
        if rotation is not None:
            towards = draws.chance(LOOKS_INTO_CAMERA, count)
            to_side, to_up = _towards_camera(rotation)
            side = torch.where(towards, to_side + draws.normal(count, std=0.1), side)
            up = torch.where(towards, to_up + draws.normal(count, std=0.1), up)
        side, up = side.clamp(-1, 1), up.clamp(-1, 1)
        amounts = {
            "eyeLookOutLeft": side,
            "eyeLookInRight": side,
            "eyeLookInLeft": -side,
            "eyeLookOutRight": -side,
            "eyeLookUpLeft": up,
            "eyeLookUpRight": up,
            "eyeLookDownLeft": -up,
            "eyeLookDownRight": -up,
        }
        columns = [amounts.get(name, torch.zeros_like(side)).clamp_min(0) for name in self.names]
        return torch.stack(columns, dim=1)

    def _close_with_jaw(self, coefficients: Tensor) -> Tensor:
        """``mouthClose`` undoes an open jaw, so it never exceeds ``jawOpen`` (ARKit's own description)."""
        close, jaw = (self.names.index(name) for name in _MOUTH_CLOSE_NEEDS_JAW)
        limited = torch.minimum(coefficients[:, close], coefficients[:, jaw])
        return torch.cat([coefficients[:, :close], limited[:, None], coefficients[:, close + 1 :]], dim=1)
