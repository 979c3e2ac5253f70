"""Where the head lies in a frame: the camera's NDC laid onto a picture of any size."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from deca_cli.heads.camera import ndc_to_photo, project

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from deca_cli.heads.model import HeadModel
    from deca_cli.networks.codes import Codes
    from deca_cli.networks.preprocessing import Preprocessing

HEAD_SHARE = 0.86  # of the frame's height or width that a head seen from the front takes
DARK = (28, 30, 34)
MARGIN = 0.03  # of a window's side, around the head
HEADS_AT_ONCE = 32  # decoded together to see where they lie


@dataclass(frozen=True)
class Window:
    """A square of the camera's NDC."""

    centre: tuple[float, float] = (0.0, 0.0)
    half: float = 1.0  # of its side


CROP = Window()  # the crop that the model saw


@dataclass(frozen=True, eq=False)
class Frame:
    """A picture and the square of the camera's NDC in it: frame NDC = NDC * scale + shift."""

    width: int
    height: int
    scale: tuple[float, float] = (1.0, 1.0)  # x, y
    shift: tuple[float, float] = (0.0, 0.0)
    background: np.ndarray | tuple[int, int, int] = DARK  # uint8 [height, width, 3], or one colour

    def place(self, projected: Tensor) -> Tensor:
        """[B, V, 3] NDC of the camera -> NDC of the frame; z keeps its unit."""
        scale = projected.new_tensor([*self.scale, 1.0])
        return projected * scale + projected.new_tensor([*self.shift, 0.0])


def square_in(
    width: int,
    height: int,
    background: np.ndarray | tuple[int, int, int] = DARK,
    window: Window = CROP,
) -> Frame:
    """A square of the camera's NDC as large as it fits into the frame, in its middle."""
    side = min(width, height) / window.half
    scale = side / width, side / height
    shift = -window.centre[0] * scale[0], -window.centre[1] * scale[1]
    return Frame(width, height, scale, shift, background)


@torch.inference_mode()
def whole_heads(head: HeadModel, *clips: Codes) -> Window:
    """The smallest window that holds the crop and, with some air, every head of these codes."""
    low, high = torch.full((2,), -1.0), torch.full((2,), 1.0)
    for codes in clips:
        for start in range(0, codes.batch_size, HEADS_AT_ONCE):
            part = codes.select(slice(start, start + HEADS_AT_ONCE))
            seen = project(head(part.shape, part.expression, part.pose), part.camera)[..., :2].cpu()
            around = MARGIN * (seen.amax((0, 1)) - seen.amin((0, 1)))
            low = torch.minimum(low, seen.amin((0, 1)) - around)
            high = torch.maximum(high, seen.amax((0, 1)) + around)
    x, y = ((low + high) / 2).tolist()
    return Window((x, y), float((high - low).max()) / 2)


def on_photo(to_photo: np.ndarray, preprocessing: Preprocessing, photo: np.ndarray) -> Frame:
    """The camera's square where the crop was cut from the photo; the photo is the background.

    Args:
        to_photo: float64 [3, 3], crop pixel indices -> photo pixel indices, without rotation.
        preprocessing: of the model.
        photo: uint8 [H, W, 3].
    """
    height, width = photo.shape[:2]
    corners = torch.tensor([[[0.0, 0.0], [1.0, 1.0]]], dtype=torch.float64)
    placed = ndc_to_photo(
        corners,
        torch.from_numpy(to_photo)[None],
        preprocessing.image_size,
        preprocessing.pixel_offset,
        (height, width),
    )[0]
    (x0, y0), (x1, y1) = placed.tolist()
    return Frame(width, height, (x1 - x0, y1 - y0), (x0, y0), photo)


def portrait_camera(codes: Codes, neutral: Tensor, width: int, height: int, zoom: float = 1.0) -> Codes:
    """The same codes with a camera that shows the whole head, seen from the front, in the middle of the frame.

    Args:
        codes: of any batch.
        neutral: [V, 3] head in the head frame, not turned; metres.
        width: of the frame.
        height: of the frame.
        zoom: 1 fills `HEAD_SHARE` of the frame.
    """
    low, high = neutral.amin(0), neutral.amax(0)
    size = high - low
    side = min(width, height)
    # The head turns about the vertical axis: leave room for its depth as well as for its width.
    across = max(float(size[0]), float(size[2]))
    scale = zoom * 2 * HEAD_SHARE * min(height / side / float(size[1]), width / side / across)
    middle = (low + high) / 2
    camera = torch.stack([middle.new_tensor(scale), middle.new_tensor(0.0), -middle[1]])
    return replace(codes, camera=camera.to(codes.camera).expand(len(codes.camera), 3))
