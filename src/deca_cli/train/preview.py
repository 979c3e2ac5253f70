"""A contact sheet of training pictures, so that a person can judge what the network is fed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from deca_cli.heads.assets import load_head
from deca_cli.heads.model import HeadModel
from deca_cli.synthetic.generator import FaceGenerator
from deca_cli.synthetic.parts import find_parts

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from deca_cli.train.settings import SyntheticSettings

COLUMNS, ROWS = 10, 6


def draw_preview(head_file: Path, settings: SyntheticSettings, device: str, path: Path) -> None:
    """Draw a sheet of training pictures; every second row shows the true landmarks as well.

    Args:
        head_file: the head that is drawn.
        settings: of the training.
        device: where to draw.
        path: PNG to write.
    """
    import imageio.v3 as iio

    assets, _ = load_head(head_file)
    head = HeadModel(assets).to(device)
    parts = find_parts(head, assets, settings.generator.texture_size)
    batch = FaceGenerator(head, parts, settings.generator, settings.seed).batch(COLUMNS * ROWS)
    sheet = contact_sheet(batch.images.cpu(), batch.landmarks.cpu())
    iio.imwrite(path, sheet)


def contact_sheet(images: Tensor, landmarks: Tensor) -> np.ndarray:
    """uint8 picture of [N, 3, S, S] images in rows of ten; rows 1, 3, ... with [N, 68, 2] NDC landmarks as dots."""
    size = images.shape[-1]
    pixels = (images * 255).round().byte().permute(0, 2, 3, 1).numpy().copy()
    spots = ((landmarks + 1) / 2 * size - 0.5).round().long()
    for index in range(len(pixels)):
        if index // COLUMNS % 2 == 1:
            inside = spots[index][((spots[index] >= 0) & (spots[index] < size)).all(1)]
            pixels[index, inside[:, 1], inside[:, 0]] = (0, 255, 0)
    rows = [
        np.concatenate(list(pixels[start : start + COLUMNS]), 1) for start in range(0, len(pixels), COLUMNS)
    ]
    return np.concatenate(rows, 0)
