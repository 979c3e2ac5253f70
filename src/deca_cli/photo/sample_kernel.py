"""The compiled inner loop of cutting crops: bilinear samples on a grid of rows and columns."""

from pathlib import Path

import numpy as np

from deca_cli.photo.cascade_kernel import compiled


def is_compiled() -> bool:
    """Whether the kernel is in memory or in numba's disk cache."""
    folder = sample.stats.cache_path
    return bool(sample.signatures) or (
        folder is not None and any(Path(folder).glob(f"{Path(__file__).stem}.sample-*.nbc"))
    )


def compile_kernel() -> None:
    """Compile the kernel, or load it from the disk cache, by sampling one pixel."""
    one, nothing = np.ones(2, np.float32), np.zeros(2, np.intp)
    sample(np.zeros((1, 1, 3), np.uint8), nothing, one, nothing, one)


@compiled
def sample(
    pixels: np.ndarray,
    rows: np.ndarray,
    row_weights: np.ndarray,
    columns: np.ndarray,
    column_weights: np.ndarray,
) -> np.ndarray:  # pragma: no cover
    """Weighted means of 2 x 2 pixels.

    Args:
        pixels: uint8 [H, W, 3].
        rows: intp [2S], lower (first half) and upper row of every sample; all inside the picture.
        row_weights: float32 [2S].
        columns: intp [2S], likewise.
        column_weights: float32 [2S].

    Returns:
        float32 [3, S, S].
    """
    height, width = len(rows) // 2, len(columns) // 2
    out = np.empty((3, height, width), np.float32)
    for j in range(height):
        upper, lower = pixels[rows[j]], pixels[rows[height + j]]
        upper_weight, lower_weight = row_weights[j], row_weights[height + j]
        for i in range(width):
            left, right = columns[i], columns[width + i]
            for colour in range(3):
                at_left = (
                    np.float32(upper[left, colour]) * upper_weight
                    + np.float32(lower[left, colour]) * lower_weight
                )
                at_right = (
                    np.float32(upper[right, colour]) * upper_weight
                    + np.float32(lower[right, colour]) * lower_weight
                )
                out[colour, j, i] = at_left * column_weights[i] + at_right * column_weights[width + i]
    return out
