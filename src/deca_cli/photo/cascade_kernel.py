"""The compiled inner loop of the face cascade.

Most windows fall in the first two stages. These are tested for a whole row of windows at once, in plain loops over
neighbouring numbers that the compiler turns into vector instructions; what is left goes through the other stages window
by window. Sums are exact integers and leaves are added in the cascade's order, so a window's score does not depend on the
way that it took.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
import numpy as np

ROW_STAGES = 2  # tested for whole rows; about one window in seven passes them


def is_compiled() -> bool:
    """Whether the kernel is in memory or in numba's disk cache, so that the next scan starts at once."""
    if scores.signatures:
        return True
    folder = scores.stats.cache_path
    # numba itself decides whether what it kept is still good; file times say nothing after a reinstallation.
    return folder is not None and any(Path(folder).glob(f"{Path(__file__).stem}.scores-*.nbc"))


def compiled(function: Callable[..., Any]) -> Any:  # noqa: ANN401 - numba's dispatcher has no public type
    """Compile without the interpreter lock, for one thread: callers run several scans side by side.

    The result is kept on disk, beside the source or in the user's cache folder, where one of them is writable.
    """
    try:
        return numba.njit(cache=True, nogil=True)(function)
    except RuntimeError:
        return numba.njit(cache=False, nogil=True)(function)


@compiled
def _minus(out: np.ndarray, low: np.ndarray, high: np.ndarray) -> None:  # pragma: no cover
    for j in range(out.size):
        out[j] = high[j] - low[j]


@compiled
def _four_bits(
    code: np.ndarray, middle: np.ndarray, p: np.ndarray, q: np.ndarray, r: np.ndarray, s: np.ndarray
) -> None:  # pragma: no cover
    """Append a bit for each of four outer cells: 1 if it is at least as bright as the middle."""
    for j in range(code.size):
        m = middle[j]
        code[j] = (
            (code[j] << 4)
            | (np.int32(p[j] >= m) << np.int32(3))
            | (np.int32(q[j] >= m) << np.int32(2))
            | (np.int32(r[j] >= m) << np.int32(1))
            | np.int32(s[j] >= m)
        )


@compiled
def _add_leaves(value: np.ndarray, code: np.ndarray, leaves: np.ndarray) -> None:  # pragma: no cover
    for j in range(value.size):
        value[j] += leaves[np.uint8(code[j])]


@compiled
def _row_stump(
    planes: np.ndarray, first: int, row: int, cell: np.ndarray, leaves: np.ndarray,
    diffs: np.ndarray, sums: np.ndarray, code: np.ndarray, value: np.ndarray,
) -> None:  # fmt: skip  # pragma: no cover
    """Add one stump's leaf to the values of a row of windows, of which the first is number `first`."""
    stride, n = planes.shape[0], value.size
    x, y, width, height = cell[0], row + cell[1], cell[2], cell[3]
    reach = n + (x + 3 * width) // stride
    for k in range(3):
        for plane in range(stride):
            upper, lower = planes[plane, y + k * height], planes[plane, y + (k + 1) * height]
            _minus(diffs[k, plane, :reach], upper[first : first + reach], lower[first : first + reach])
        for i in range(3):
            low, high = x + i * width, x + (i + 1) * width
            _minus(
                sums[3 * k + i, :n],
                diffs[k, low % stride, low // stride :],
                diffs[k, high % stride, high // stride :],
            )
    code[:] = 0
    # Local binary pattern, from the highest bit: top left, top, top right, right, bottom right, bottom, bottom left, left.
    _four_bits(code, sums[4], sums[0], sums[1], sums[2], sums[5])
    _four_bits(code, sums[4], sums[8], sums[7], sums[6], sums[3])
    _add_leaves(value, code, leaves)


@compiled
def _pattern(flat: np.ndarray, base: np.uint64, at: np.ndarray) -> np.uint64:  # pragma: no cover
    """The same pattern of one window; `at` holds the 4 x 4 corners of the cells, row by row, relative to `base`."""
    a0, a1, a2, a3 = flat[base + at[0]], flat[base + at[1]], flat[base + at[2]], flat[base + at[3]]
    b0, b1, b2, b3 = flat[base + at[4]], flat[base + at[5]], flat[base + at[6]], flat[base + at[7]]
    c0, c1, c2, c3 = flat[base + at[8]], flat[base + at[9]], flat[base + at[10]], flat[base + at[11]]
    d0, d1, d2, d3 = flat[base + at[12]], flat[base + at[13]], flat[base + at[14]], flat[base + at[15]]
    middle = c2 - c1 - b2 + b1
    code = np.uint64(b1 - b0 - a1 + a0 >= middle) << np.uint64(7)
    code |= np.uint64(b2 - b1 - a2 + a1 >= middle) << np.uint64(6)
    code |= np.uint64(b3 - b2 - a3 + a2 >= middle) << np.uint64(5)
    code |= np.uint64(c3 - c2 - b3 + b2 >= middle) << np.uint64(4)
    code |= np.uint64(d3 - d2 - c3 + c2 >= middle) << np.uint64(3)
    code |= np.uint64(d2 - d1 - c2 + c1 >= middle) << np.uint64(2)
    code |= np.uint64(d1 - d0 - c1 + c0 >= middle) << np.uint64(1)
    return code | np.uint64(c1 - c0 - b1 + b0 >= middle)


@compiled
def _rest(
    total: float, flat: np.ndarray, base: np.uint64, from_stage: int, stage_starts: np.ndarray,
    stage_thresholds: np.ndarray, corners: np.ndarray, leaves: np.ndarray,
) -> float:  # fmt: skip  # pragma: no cover
    """Add the other stages of one window to its total; 0 if one of them rejects it."""
    for stage in range(from_stage, stage_thresholds.shape[0]):
        value = np.float32(0)
        for stump in range(np.uint64(stage_starts[stage]), np.uint64(stage_starts[stage + 1])):
            value += leaves[stump, _pattern(flat, base, corners[stump])]
        if value < stage_thresholds[stage]:
            return 0.0
        total += value - stage_thresholds[stage]
    return total


@compiled
def scores(
    integral: np.ndarray,
    planes: np.ndarray,
    window: int,
    spans: np.ndarray,
    stride: int,
    stage_starts: np.ndarray,
    stage_thresholds: np.ndarray,
    cells: np.ndarray,
    corners: np.ndarray,
    leaves: np.ndarray,
) -> np.ndarray:  # pragma: no cover
    """Score of every window, 0 where it is not tested or a stage rejects it; float32 [rows, columns] of windows.

    Args:
        integral: int32 [H + 1, W + 1].
        planes: int32 [stride, H + 1, P], columns p, p + stride, p + 2 stride ... of it in plane p; a stump's columns are
            neighbours there. P leaves room for all of them.
        window: side of a window.
        spans: see `cascade.scan`.
        stride: 1 or 2.
        stage_starts, stage_thresholds, cells: see `cascade.Cascade`.
        corners: uint64 [N, 16], places of the corners of every stump's cells in the flat integral picture.
        leaves: float32 [N, 256], by pattern.
    """
    flat = integral.reshape(-1)
    rows = (integral.shape[0] - 1 - window) // stride + 1
    columns = (integral.shape[1] - 1 - window) // stride + 1
    stages = stage_thresholds.shape[0]
    row_stages = min(ROW_STAGES, stages)
    found = np.zeros((rows, columns), np.float32)
    diffs, sums = np.empty((3, stride, planes.shape[2]), np.int32), np.empty((9, columns), np.int32)
    codes, values, totals = (
        np.empty(columns, np.int32),
        np.empty(columns, np.float32),
        np.empty(columns, np.float32),
    )
    for row in range(rows):
        first = max(-(-spans[row * stride, 0] // stride), 0)
        n = min(spans[row * stride, 1] // stride, columns - 1) - first + 1
        if n <= 0:
            continue
        code, value, total = codes[:n], values[:n], totals[:n]
        total[:] = 0
        for stage in range(row_stages):
            value[:] = 0
            for stump in range(stage_starts[stage], stage_starts[stage + 1]):
                _row_stump(planes, first, row * stride, cells[stump], leaves[stump], diffs, sums, code, value)
            for j in range(n):
                passed = value[j] >= stage_thresholds[stage]
                total[j] = total[j] + (value[j] - stage_thresholds[stage]) if passed else np.float32(np.nan)
        for j in range(n):
            result = total[j]
            if np.isnan(result):
                continue
            base = np.uint64(row * stride * integral.shape[1] + (first + j) * stride)
            result = _rest(result, flat, base, row_stages, stage_starts, stage_thresholds, corners, leaves)
            found[row, first + j] = result / np.float32(stages)
    return found


@compiled
def hits(found: np.ndarray) -> tuple[np.ndarray, np.ndarray]:  # pragma: no cover
    """Rows and columns of scores that are not 0, int32 [N, 2], row by row, and the scores, float32 [N]."""
    count = 0
    for row in range(found.shape[0]):
        for column in range(found.shape[1]):
            count += found[row, column] != 0
    places, values = np.empty((count, 2), np.int32), np.empty(count, np.float32)
    at = 0
    for row in range(found.shape[0]):
        for column in range(found.shape[1]):
            if found[row, column] != 0:
                places[at, 0], places[at, 1], values[at] = row, column, found[row, column]
                at += 1
    return places, values
