"""How the lips of the open head change their height: MakeHuman's actions move lips as a whole.

When the levators uncover the upper teeth, the red of the lip is stretched: its free edge rises by more than its
border with the skin, and a smiling lip is two thirds as high as a resting one. Pressed lips roll inwards, so that less
of the red is seen. Rounded lips are narrow: a kissing mouth loses about a third of its width, MakeHuman's a sixth. The
offsets here are added to the actions of `head_expressions`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from deca_cli.synthetic.head_lips import lip_line, upper_side

if TYPE_CHECKING:
    from deca_cli.synthetic.head_regions import Parts
    from deca_cli.synthetic.head_source import SourceHead

# Metres at the middle of the mouth when the action is 1.
EDGE_RISE = 0.0030  # mouthUpperUp: free edge of the upper lip, beyond its border
EDGE_DROP = 0.0020  # mouthLowerDown
BORDER_IN = {"mouthPress": 0.0022, "mouthSmile": 0.0010}  # both borders, towards the line between the lips
CORNER_IN = {"mouthPucker": 0.0032, "mouthFunnel": 0.0018}  # the corners, towards the middle
CORNER_REACH = (0.011, 0.010)  # beyond the corners to the side, and up and down: what moves along
CORNER_FRONT = 0.004  # metres behind the corners up to which everything moves along
BORDER_WIDTH = 0.45  # of the lip's height, over which a moving border takes the skin along
LEAST_HEIGHT = 0.0015  # metres; near the corners the lips have no height to speak of
SIDE_BLEND = 0.005  # metres from the middle over which the left action hands over to the right one
MOUTH_DEPTH = 0.012  # metres behind the free edge where the inside of the mouth stays in place


def _smooth(value: np.ndarray) -> np.ndarray:
    """0 below 0, 1 above 1, smooth between."""
    clipped = np.clip(value, 0.0, 1.0)
    return clipped * clipped * (3.0 - 2.0 * clipped)


def _height_at(x: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Heights y of a symmetric curve through points [N,3] of the left half and the middle, at |x|."""
    order = np.argsort(points[:, 0])
    return np.interp(np.abs(x), points[order, 0], points[order, 1])


def _narrowing(x: np.ndarray, y: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """[V] move in x, 1 from the corners of the mouth to the middle: even along the lips, fading out on the cheeks."""
    corner_x, corner_y, _ = landmarks[54]
    aside = np.clip((np.abs(x) - corner_x) / CORNER_REACH[0], 0.0, None)
    level = np.clip((np.abs(y - corner_y) - 0.006) / CORNER_REACH[1], 0.0, None)
    along = np.clip(np.abs(x) / corner_x, 0.0, 1.0)
    return -np.sign(x) * along * np.exp(-(aside**2) - level**2)


def lip_offsets(
    mean: np.ndarray, landmarks: np.ndarray, source: SourceHead, parts: Parts
) -> dict[str, np.ndarray]:
    """Offsets [V,3] in metres, by ARKit name, to add to the actions.

    Args:
        mean: [V,3] mean head.
        landmarks: [68,3] on it.
        source: mesh and actions.
        parts: pieces of the mesh.
    """
    x, y, z = mean.T
    line = _height_at(x, lip_line(landmarks)[2:])
    skin = np.zeros(len(mean), bool)
    skin[np.unique(source.faces[parts.main | parts.pieces["mouth"]])] = True
    edge_z = landmarks[62, 2]
    near = skin * _smooth(1.0 + (z - edge_z) / MOUTH_DEPTH)
    along = np.clip(1.0 - (x / landmarks[54, 0]) ** 2, 0.0, 1.0)  # nothing happens at the corners
    upper = np.clip(upper_side(source), 0.0, 1.0)
    lower = np.clip(-upper_side(source), 0.0, 1.0)
    height_up = np.maximum(_height_at(x, landmarks[51:55]) - line, LEAST_HEIGHT)
    height_down = np.maximum(line - _height_at(x, landmarks[54:58]), LEAST_HEIGHT)
    place_up, place_down = (
        1.0 - (y - line) / height_up,
        1.0 - (line - y) / height_down,
    )  # 0 border, 1 free edge
    amount = near * along
    rise = amount * upper * EDGE_RISE * _smooth(place_up)
    drop = -amount * lower * EDGE_DROP * _smooth(place_down)
    inwards = amount * (
        lower * np.exp(-((place_down / BORDER_WIDTH) ** 2))
        - upper * np.exp(-((place_up / BORDER_WIDTH) ** 2))
    )
    actions = {"mouthUpperUp": rise, "mouthLowerDown": drop}
    actions |= {name: reach * inwards for name, reach in BORDER_IN.items()}
    beside = skin * _smooth(1.0 + (z - landmarks[54, 2] + CORNER_FRONT) / MOUTH_DEPTH)
    narrowing = beside * _narrowing(x, y, landmarks)
    left = _smooth(0.5 + x / (2.0 * SIDE_BLEND))
    vertical = np.array([0.0, 1.0, 0.0])
    rounded = {
        name: (reach * narrowing)[:, None] * np.array([1.0, 0.0, 0.0]) for name, reach in CORNER_IN.items()
    }
    return rounded | {
        f"{name}{side}": (share * move)[:, None] * vertical
        for name, move in actions.items()
        for side, share in (("Left", left), ("Right", 1.0 - left))
    }
