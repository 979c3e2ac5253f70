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

SLIGHT = 1e-9  # slope under which a row runs along an edge of the photo
ROW_STAGES = 2  # tested for whole rows; about one window in thirteen passes them

Table = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
"""Starts of stages, their thresholds and the totals that must be reached by then, leaves; see `cascade.Cascade`."""


def is_compiled() -> bool:
    """Whether the kernel is in memory or in numba's disk cache, so that the next scan starts at once."""
    if scan.signatures:
        return True
    folder = scan.stats.cache_path
    # numba itself decides whether what it kept is still good; file times say nothing after a reinstallation.
    return folder is not None and any(Path(folder).glob(f"{Path(__file__).stem}.scan-*.nbc"))


def compiled(function: Callable[..., Any]) -> Any:  # noqa: ANN401 - numba's dispatcher has no public type
    """Compile without the interpreter lock, for one thread: callers run several scans side by side.

    The result is kept on disk, beside the source or in the user's cache folder, where one of them is writable.
    """
    try:
        return numba.njit(cache=True, nogil=True)(function)
    except RuntimeError:
        return numba.njit(cache=False, nogil=True)(function)


@compiled
def spans_inside(to_photo: np.ndarray, rows: int, height: int, width: int) -> np.ndarray:  # pragma: no cover
    """For each row of a picture the windows whose centre lies in the photo, int32 [rows, 2] as `scan` takes them.

    Args:
        to_photo: float64 [2, 3], from the corner of a window to its centre in the photo.
        rows: of windows.
        height, width: of the photo.
    """
    spans = np.empty((rows, 2), np.int32)
    for row in range(rows):
        first, last = -1.0, 1e6
        for axis in range(2):
            end = (width if axis == 0 else height) - 1
            slope, start = to_photo[axis, 0], to_photo[axis, 1] * row + to_photo[axis, 2]
            if abs(slope) < SLIGHT:
                if start < 0 or start > end:
                    last = -2.0
                continue
            one, other = -start / slope, (end - start) / slope
            first, last = max(first, min(one, other)), min(last, max(one, other))
        spans[row, 0], spans[row, 1] = np.int32(np.ceil(first)), np.int32(np.floor(max(last, -2.0)))
    return spans


@compiled
def places_of_corners(cells: np.ndarray, stride: int, planes: np.ndarray) -> np.ndarray:  # pragma: no cover
    """uint32 [stride, N, 16]: where the 4 x 4 corners of each stump's cells lie in flat planes, relative to a window's place.

    That place is in plane 0, at the row of the window's top and at its left edge over the stride; the first index is the
    remainder of that division.
    """
    places = np.empty((stride, len(cells), 16), np.uint32)
    for rest in range(stride):
        for stump in range(len(cells)):
            left, top, width, height = cells[stump]
            for k in range(4):
                for i in range(4):
                    x, y = rest + left + i * width, top + k * height
                    plane = (x % stride) * planes.shape[1] + y
                    places[rest, stump, 4 * k + i] = plane * planes.shape[2] + x // stride
    return places


@compiled
def split_columns(integral: np.ndarray, stride: int) -> np.ndarray:  # pragma: no cover
    """uint16 [stride, H + 1, P]: columns p, p + stride, p + 2 stride ... of an integral picture in plane p.

    Sums are kept modulo 65,536: those of cells are differences of them, and exact while a cell has under 128 pixels.
    """
    height, width = integral.shape
    planes = np.zeros((stride, height, -(-width // stride)), np.uint16)
    for row in range(height):
        source = integral[row]
        if stride == 2:  # written out, because the compiler makes vector instructions of this only
            even, odd = planes[0, row], planes[1, row]
            for j in range(np.uint64(width // 2)):
                even[j], odd[j] = source[2 * j], source[2 * j + 1]
            if width % 2 == 1:
                even[width // 2] = source[width - 1]
        else:
            for x in range(width):
                planes[x % stride, row, x // stride] = source[x]
    return planes


@compiled
def _bits(
    a0: int, a1: int, a2: int, a3: int, b0: int, b1: int, b2: int, b3: int,
    c0: int, c1: int, c2: int, c3: int, d0: int, d1: int, d2: int, d3: int,
) -> np.int16:  # fmt: skip  # pragma: no cover
    """Local binary pattern of 3 x 3 cells with these corners: a bit for each outer cell as bright as the middle or brighter.

    From the highest bit: top left, top, top right, right, bottom right, bottom, bottom left, left.
    """
    middle = np.int16(c2 - c1 - b2 + b1)
    bits = np.int16(np.int16(b1 - b0 - a1 + a0) >= middle) << np.int16(7)
    bits |= np.int16(np.int16(b2 - b1 - a2 + a1) >= middle) << np.int16(6)
    bits |= np.int16(np.int16(b3 - b2 - a3 + a2) >= middle) << np.int16(5)
    bits |= np.int16(np.int16(c3 - c2 - b3 + b2) >= middle) << np.int16(4)
    bits |= np.int16(np.int16(d3 - d2 - c3 + c2) >= middle) << np.int16(3)
    bits |= np.int16(np.int16(d2 - d1 - c2 + c1) >= middle) << np.int16(2)
    bits |= np.int16(np.int16(d1 - d0 - c1 + c0) >= middle) << np.int16(1)
    return np.int16(bits | np.int16(np.int16(c1 - c0 - b1 + b0) >= middle))


@compiled
def _row_patterns(
    code: np.ndarray, flat: np.ndarray, base: np.uint64, at: np.ndarray
) -> None:  # pragma: no cover
    """The patterns of neighbouring windows, of which the first has its place at `base`."""
    a0, a1, a2, a3 = base + at[0], base + at[1], base + at[2], base + at[3]
    b0, b1, b2, b3 = base + at[4], base + at[5], base + at[6], base + at[7]
    c0, c1, c2, c3 = base + at[8], base + at[9], base + at[10], base + at[11]
    d0, d1, d2, d3 = base + at[12], base + at[13], base + at[14], base + at[15]
    for i in range(code.size):
        j = np.uint64(
            i
        )  # an unsigned index is not tested for being negative, which would keep this loop scalar
        code[i] = _bits(
            flat[a0 + j], flat[a1 + j], flat[a2 + j], flat[a3 + j],
            flat[b0 + j], flat[b1 + j], flat[b2 + j], flat[b3 + j],
            flat[c0 + j], flat[c1 + j], flat[c2 + j], flat[c3 + j],
            flat[d0 + j], flat[d1 + j], flat[d2 + j], flat[d3 + j],
        )  # fmt: skip


@compiled
def _add_leaves(value: np.ndarray, code: np.ndarray, leaves: np.ndarray) -> None:  # pragma: no cover
    for j in range(value.size):
        value[j] += leaves[np.uint8(code[j])]


@compiled
def _pattern(flat: np.ndarray, base: np.uint64, at: np.ndarray) -> np.uint64:  # pragma: no cover
    """The pattern of one window."""
    return np.uint64(
        _bits(
            flat[base + at[0]], flat[base + at[1]], flat[base + at[2]], flat[base + at[3]],
            flat[base + at[4]], flat[base + at[5]], flat[base + at[6]], flat[base + at[7]],
            flat[base + at[8]], flat[base + at[9]], flat[base + at[10]], flat[base + at[11]],
            flat[base + at[12]], flat[base + at[13]], flat[base + at[14]], flat[base + at[15]],
        )
    )  # fmt: skip


@compiled
def _stages(
    total: float, flat: np.ndarray, base: np.uint64, first: int, end: int, corners: np.ndarray, table: Table
) -> float:  # pragma: no cover
    """Add stages `first` to `end` - 1 of one window to its total; NaN if one of them rejects it."""
    starts, thresholds, floors, leaves = table
    for stage in range(first, end):
        value = np.float32(0)
        for stump in range(np.uint64(starts[stage]), np.uint64(starts[stage + 1])):
            value += leaves[stump, _pattern(flat, base, corners[stump])]
        total += value - thresholds[stage]
        if value < thresholds[stage] or total < floors[stage]:
            return np.nan
    return total


@compiled
def _row_totals(
    total: np.ndarray, buffers: tuple[np.ndarray, np.ndarray], flat: np.ndarray, base: np.uint64, stages: int,
    corners: np.ndarray, table: Table,
) -> None:  # fmt: skip  # pragma: no cover
    """Totals of the first stages of neighbouring windows, NaN for the rejected."""
    starts, thresholds, floors, leaves = table
    code, value = buffers[0][: total.size], buffers[1][: total.size]
    total[:] = 0
    for stage in range(stages):
        value[:] = 0
        for stump in range(starts[stage], starts[stage + 1]):
            _row_patterns(code, flat, base, corners[stump])
            _add_leaves(value, code, leaves[stump])
        for j in range(total.size):
            gathered = total[j] + (value[j] - thresholds[stage])
            passed = (value[j] >= thresholds[stage]) & (gathered >= floors[stage])
            total[j] = gathered if passed else np.float32(np.nan)


@compiled
def _finish(
    x: int, y: int, total: float, first: int, stride: int, reach: int, planes: np.ndarray, width: int,
    spans: np.ndarray, corners: np.ndarray, table: Table, places: np.ndarray, scores: np.ndarray, count: int,
) -> int:  # fmt: skip  # pragma: no cover
    """Test the window at x, y from stage `first` on, and all of the `reach` - 1 columns and rows after it from the start.

    Those that pass are appended to `places` and `scores`, which hold `count`; the new number is returned.
    """
    flat, pitch, stages = planes.reshape(-1), planes.shape[2], table[1].size
    for v in range(y, min(y + reach, len(spans))):
        for u in range(x, min(x + reach, width)):
            base = np.uint64(v * pitch + u // stride)
            if u == x and v == y:
                score = _stages(total, flat, base, first, stages, corners[0], table)
            elif spans[v, 0] <= u <= spans[v, 1]:
                score = _stages(np.float32(0), flat, base, 0, stages, corners[u - x], table)
            else:
                continue
            if not np.isnan(score):
                places[count, 0], places[count, 1], scores[count] = u, v, score / np.float32(stages)
                count += 1
    return count


@compiled
def scan(
    integral: np.ndarray, window: int, spans: np.ndarray, stride: int, fine_after: int, cells: np.ndarray, table: Table
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip  # pragma: no cover
    """The windows that pass: left and top, int32 [N, 2], and scores, float32 [N].

    Args:
        integral: int32 [H + 1, W + 1].
        window: side of a window, at most 33.
        spans, stride, fine_after: see `cascade.scan`.
        cells: see `cascade.Cascade`.
        table: see `Table`.
    """
    planes = split_columns(integral, stride)
    flat, pitch, stages = planes.reshape(-1), planes.shape[2], table[1].size
    width = integral.shape[1] - window
    columns, row_stages = (width - 1) // stride + 1, min(ROW_STAGES, stages)
    corners = places_of_corners(cells, stride, planes)
    middle, reach = max(row_stages, min(fine_after, stages)), stride if fine_after > 0 else 1
    buffers, totals = (
        (np.empty(columns, np.int16), np.empty(columns, np.float32)),
        np.empty(columns, np.float32),
    )
    capacity = len(spans) * width  # of memory that is only taken as far as it is written to
    places, scores, count = np.empty((capacity, 2), np.int32), np.empty(capacity, np.float32), 0
    for y in range(0, len(spans), stride):
        first = max(-(-spans[y, 0] // stride), 0)
        n = min(spans[y, 1] // stride, columns - 1) - first + 1
        if n <= 0:
            continue
        row = np.uint64(y * pitch + first)
        _row_totals(totals[:n], buffers, flat, row, row_stages, corners[0], table)
        for j in range(n):
            if np.isnan(totals[j]):
                continue
            total = _stages(totals[j], flat, row + np.uint64(j), row_stages, middle, corners[0], table)
            if not np.isnan(total):
                count = _finish(
                    (first + j) * stride, y, total, middle, stride, reach, planes, width, spans, corners, table,
                    places, scores, count
                )  # fmt: skip
    return places[:count].copy(), scores[:count].copy()
