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
    sample(np.zeros((1, 1, 3), np.uint8), nothing, one, nothing, one, np.empty((3, 1, 1), np.float32))


@compiled
def sample(
    pixels: np.ndarray,
    rows: np.ndarray,
    row_weights: np.ndarray,
    columns: np.ndarray,
    column_weights: np.ndarray,
    out: np.ndarray,
) -> None:  # pragma: no cover
    """Weighted means of 2 x 2 pixels.

    Args:
        pixels: uint8 [H, W, 3], contiguous.
        rows: intp [2S], lower (first half) and upper row of every sample; all inside the picture.
        row_weights: float32 [2S].
        columns: intp [2S], likewise.
        column_weights: float32 [2S].
        out: float32 [3, S, S] to fill, contiguous.
    """
    height, width = len(rows) // 2, len(columns) // 2
    first = columns.min()
    begin, end = 3 * first, 3 * (columns.max() + 1)
    numbers = pixels.reshape(pixels.shape[0], -1)[:, begin:end]
    # Places in a row of numbers; unsigned, so that nothing is tested for counting from the end.
    left = (3 * (columns[:width] - first)).astype(np.uint32)
    right = (3 * (columns[width:] - first)).astype(np.uint32)
    left_weights, right_weights = column_weights[:width], column_weights[width:]
    green, blue = np.uint32(1), np.uint32(2)
    mixed = np.empty(end - begin, np.float32)
    for j in range(height):
        upper, lower = numbers[rows[j]], numbers[rows[height + j]]
        upper_weight, lower_weight = row_weights[j], row_weights[height + j]
        for k in range(len(mixed)):  # the compiler turns this loop into vector instructions
            mixed[k] = np.float32(upper[k]) * upper_weight + np.float32(lower[k]) * lower_weight
        reds, greens, blues = out[0, j], out[1, j], out[2, j]
        for i in range(width):
            at, after, share, rest = left[i], right[i], left_weights[i], right_weights[i]
            reds[i] = mixed[at] * share + mixed[after] * rest
            greens[i] = mixed[at + green] * share + mixed[after + green] * rest
            blues[i] = mixed[at + blue] * share + mixed[after + blue] * rest
