"""Ears of the mesh over which the photo shows something else: wall, hair, a collar.

Ears stand off the head, and few heads have them just where the model puts them, so what lies behind gets onto their texels.
Such texels are told from skin by their share of red and by their brightness, and count as not seen.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

from deca_cli.export.front import smoothstep

if TYPE_CHECKING:
    from deca_cli.heads.assets import HeadAssets

SKIN, EARS = "skin", "ears"  # regions of the head
SIDE = 512  # texels of the map of skin and ears; what the photo shows is decided on half of them
LEAST_SKIN = 120  # texels of a quarter of them that must be seen well to know its colour
# From here on ears are doubtful, and from there on they are none; differences of the share of red from that of the face.
# Ears are redder than cheeks, and light shines through them.
PALER, REDDER = (0.06, 0.09), (0.16, 0.22)
EAR_LIGHT = (0.8, 1.0)  # of a guessed ear, over that of the face: hair beside it is no shade
DARKER = (0.35, 0.2)  # brightness, as a share of that of the darker skin


def skin_and_ears(head: HeadAssets) -> np.ndarray | None:
    """Float32 [V, 2], 1 at vertices of the skin and of the ears; None for heads without these regions."""
    if head.vertex_regions is None or not {SKIN, EARS} <= set(head.region_names):
        return None
    belongs = np.zeros((len(head.template_vertices), 2), np.float32)
    for column, name in enumerate((SKIN, EARS)):
        belongs[head.region(name), column] = 1
    return belongs


def shows_ears(colours: np.ndarray, weight: np.ndarray, parts: np.ndarray) -> np.ndarray:
    """Float32 [U, U] in 0..1: 0 on ear texels that do not look like the person's skin, 1 elsewhere.

    Args:
        colours: uint8 [U, U, 3], as read from the photo.
        weight: float32 [U, U] in 0..1, how well each texel is seen.
        parts: float32 [SIDE, SIDE, 2], how far each texel belongs to skin and ears.
    """
    size, parts = (SIDE // 2, SIDE // 2), parts[::2, ::2]
    small = cv2.blur(cv2.resize(colours, size, interpolation=cv2.INTER_AREA), (3, 3)).astype(np.float32)
    seen = cv2.resize(weight, size, interpolation=cv2.INTER_AREA)
    bright = small.sum(axis=2)
    red = small[..., 0] / np.maximum(bright, 1)
    skin = (parts[..., 0] > 0.9) & (seen > 0.8)
    if np.count_nonzero(skin) < LEAST_SKIN:
        return np.ones_like(weight)
    off = red - np.median(red[skin])
    share = bright / max(float(np.percentile(bright[skin], 25)), 1.0)
    doubt = np.maximum(
        _beyond(-off, PALER), np.maximum(_beyond(off, REDDER), _beyond(-share, (-DARKER[0], -DARKER[1])))
    )
    # Texels beside doubtful ones show a mixture of both.
    trust = 1 - parts[..., 1] * cv2.blur(cv2.dilate(doubt, np.ones((3, 3), np.uint8)), (3, 3))
    return np.asarray(cv2.resize(trust, weight.shape[::-1], interpolation=cv2.INTER_LINEAR))


def ears_of_skin(guess: np.ndarray, weight: np.ndarray, parts: np.ndarray) -> np.ndarray:
    """The guess for texels that nobody saw, with ears in the colour of the skin, as bright as the guess around them.

    Args:
        guess: float32 [SIDE, SIDE, 3], 0..255, right where `weight` is 1.
        weight: float32 [SIDE, SIDE] in 0..1.
        parts: as above.
    """
    skin = (parts[::4, ::4, 0] > 0.9) & (weight[::4, ::4] > 0.8)
    if np.count_nonzero(skin) < LEAST_SKIN:
        return guess
    colour = np.median(guess[::4, ::4][skin], axis=0)
    at = np.nonzero(parts[..., 1])
    there, ears = guess[at], parts[..., 1][at][:, None]
    bright = np.clip(there.mean(axis=1, keepdims=True) / max(float(colour.mean()), 1.0), *EAR_LIGHT)
    tinted = guess.copy()
    tinted[at] = there * (1 - ears) + colour * bright * ears
    return tinted


def _beyond(values: np.ndarray, limits: tuple[float, float]) -> np.ndarray:
    """0 up to the first limit, 1 from the second on."""
    return smoothstep((values - limits[0]) / (limits[1] - limits[0]))
