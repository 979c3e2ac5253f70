"""The frontal face cascade that scikit-image bundles, evaluated with every window's score kept.

The trained numbers are scikit-image's (`skimage.data.lbp_frontal_face_cascade_filename`, an OpenCV cascade of
multi-block local binary patterns, Liao et al. 2007). scikit-image's own evaluator answers only yes or no and
searches scales by stretching the window; here the picture is shrunk instead, the sums are exact integers, and
each window keeps its stage sums, so that candidates can be ranked.
"""

import xml.etree.ElementTree as ET
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numba
import numpy as np

ROUNDING = 1e-5
"""Taken off stage thresholds: trained thresholds often equal a reachable stage sum, up to float32 rounding."""


@dataclass(frozen=True, eq=False)
class Cascade:
    """A boosted cascade of local binary pattern stumps.

    Attributes:
        window: side of the square window in pixels.
        stage_starts: int32 [G + 1], first stump of every stage, then their number.
        stage_thresholds: float32 [G], least sum of a stage that goes on.
        cells: int32 [N, 4], left, top, width and height of the top left one of the 3 x 3 cells of every stump.
        tables: uint32 [N, 8], one bit per pattern 0..255; set bits give the first leaf.
        leaves: float32 [N, 2].
    """

    window: int
    stage_starts: np.ndarray
    stage_thresholds: np.ndarray
    cells: np.ndarray
    tables: np.ndarray
    leaves: np.ndarray


def is_compiled() -> bool:
    """Whether the kernel is in memory or in numba's disk cache, so that the next scan starts at once."""
    if _scores.signatures:
        return True
    folder = _scores.stats.cache_path
    # numba itself decides whether what it kept is still good; file times say nothing after a reinstallation.
    return folder is not None and any(Path(folder).glob(f"{Path(__file__).stem}._scores-*.nbc"))


def compile_kernel() -> None:
    """Compile the kernel, or load it from the disk cache, by scanning one window; takes about two seconds."""
    cascade = frontal_face_cascade()
    side = cascade.window
    scan(cascade, np.zeros((side, side), np.uint8), all_spans(cascade, side, side), 1, 0.0)


@lru_cache(maxsize=1)
def frontal_face_cascade() -> Cascade:
    """Read scikit-image's bundled frontal face cascade (about 50 kB of XML; kept after the first call)."""
    from skimage.data import lbp_frontal_face_cascade_filename

    return read_cascade(lbp_frontal_face_cascade_filename())


def read_cascade(path: str) -> Cascade:
    """Read a cascade of depth-one LBP trees in OpenCV's XML form."""
    root = ET.parse(path).getroot()[0]  # noqa: S314 - a file of an installed package, not of the user
    rectangles = np.array([_numbers(node[0]) for node in _child(root, "features")], dtype=np.int32)
    starts, thresholds, cells, tables, leaves = [0], [], [], [], []
    for stage in _child(root, "stages"):
        for tree in _child(stage, "weakClassifiers"):
            node = [int(number) for number in _numbers(_child(tree, "internalNodes"))]
            cells.append(rectangles[node[2]])
            tables.append([bits & 0xFFFFFFFF for bits in node[3:11]])
            leaves.append(_numbers(_child(tree, "leafValues")))
        starts.append(len(cells))
        thresholds.append(_numbers(_child(stage, "stageThreshold"))[0])
    return Cascade(
        window=int(_numbers(_child(root, "width"))[0]),
        stage_starts=np.array(starts, dtype=np.int32),
        stage_thresholds=np.array(thresholds, dtype=np.float32),
        cells=np.array(cells, dtype=np.int32),
        tables=np.array(tables, dtype=np.uint32),
        leaves=np.array(leaves, dtype=np.float32),
    )


def _child(node: ET.Element, name: str) -> ET.Element:
    found = node.find(name)
    if found is None:
        raise ValueError(f"the cascade file has no <{name}>")
    return found


def _numbers(node: ET.Element) -> list[float]:
    return [float(text) for text in (node.text or "").split()]


def scan(
    cascade: Cascade, grey: np.ndarray, spans: np.ndarray, stride: int, slack: float
) -> tuple[np.ndarray, np.ndarray]:
    """Test the windows of a grey picture.

    Args:
        cascade: the classifier.
        grey: uint8 [H, W].
        spans: int32 [H - window + 1, 2], first and last left edge of the windows whose top is on each row; an
            empty span has first > last.
        stride: pixels between neighbouring windows; 2 tests every second row and column.
        slack: taken off every stage threshold; above 0 more windows pass, for recall.

    Returns:
        corners int32 [N, 2] (left, top) of the windows that pass all stages, and their scores float32 [N]: the
        mean over stages of (stage sum minus lowered threshold).
    """
    height, width = grey.shape
    if min(height, width) < cascade.window:
        return np.empty((0, 2), np.int32), np.empty(0, np.float32)
    scores = _scores(
        cv2.integral(grey),
        cascade.window,
        spans,
        stride,
        cascade.stage_starts,
        cascade.stage_thresholds - np.float32(slack + ROUNDING),
        cascade.cells,
        cascade.tables,
        cascade.leaves,
    )
    rows, columns = np.nonzero(scores)
    return np.stack([columns, rows], axis=1).astype(np.int32) * stride, scores[rows, columns]


def all_spans(cascade: Cascade, height: int, width: int) -> np.ndarray:
    """Spans for `scan` that cover a whole picture."""
    rows = max(height - cascade.window + 1, 0)
    return np.tile(np.array([0, width - cascade.window], dtype=np.int32), (rows, 1))


def _jit(function: Callable[..., Any]) -> Any:  # noqa: ANN401 - numba's dispatcher has no public type
    """Compile without the interpreter lock, for one thread: callers run several scans side by side.

    The result is kept on disk, beside the source or in the user's cache folder, where one of them is writable.
    """
    try:
        return numba.njit(cache=True, nogil=True)(function)
    except RuntimeError:
        return numba.njit(cache=False, nogil=True)(function)


@numba.njit(inline="always")
def _pattern(integral: np.ndarray, left: int, top: int, width: int, height: int) -> int:  # pragma: no cover
    """Local binary pattern 0..255 of 3 x 3 cells: one bit per outer cell that is at least as bright as the middle.

    Bits from the highest: top left, top, top right, right, bottom right, bottom, bottom left, left.
    """
    x1, x2, x3 = left + width, left + 2 * width, left + 3 * width
    y1, y2, y3 = top + height, top + 2 * height, top + 3 * height
    a0, a1, a2, a3 = integral[top, left], integral[top, x1], integral[top, x2], integral[top, x3]
    b0, b1, b2, b3 = integral[y1, left], integral[y1, x1], integral[y1, x2], integral[y1, x3]
    c0, c1, c2, c3 = integral[y2, left], integral[y2, x1], integral[y2, x2], integral[y2, x3]
    d0, d1, d2, d3 = integral[y3, left], integral[y3, x1], integral[y3, x2], integral[y3, x3]
    middle = c2 - c1 - b2 + b1
    code = 0
    code |= 128 if b1 - b0 - a1 + a0 >= middle else 0
    code |= 64 if b2 - b1 - a2 + a1 >= middle else 0
    code |= 32 if b3 - b2 - a3 + a2 >= middle else 0
    code |= 16 if c3 - c2 - b3 + b2 >= middle else 0
    code |= 8 if d3 - d2 - c3 + c2 >= middle else 0
    code |= 4 if d2 - d1 - c2 + c1 >= middle else 0
    code |= 2 if d1 - d0 - c1 + c0 >= middle else 0
    code |= 1 if c1 - c0 - b1 + b0 >= middle else 0
    return code


@_jit
def _scores(
    integral: np.ndarray,
    window: int,
    spans: np.ndarray,
    stride: int,
    stage_starts: np.ndarray,
    stage_thresholds: np.ndarray,
    cells: np.ndarray,
    tables: np.ndarray,
    leaves: np.ndarray,
) -> np.ndarray:  # pragma: no cover
    """Score of every window, 0 where it is not tested or a stage rejects it; float32 [rows, columns] of windows."""
    rows = (integral.shape[0] - 1 - window) // stride + 1
    columns = (integral.shape[1] - 1 - window) // stride + 1
    stages = stage_thresholds.shape[0]
    scores = np.zeros((rows, columns), dtype=np.float32)
    for row in range(rows):
        first = max(-(-spans[row * stride, 0] // stride), 0)
        last = min(spans[row * stride, 1] // stride, columns - 1)
        for column in range(first, last + 1):
            total = np.float32(0)
            passed = True
            for stage in range(stages):
                value = np.float32(0)
                for stump in range(stage_starts[stage], stage_starts[stage + 1]):
                    code = _pattern(
                        integral,
                        column * stride + cells[stump, 0],
                        row * stride + cells[stump, 1],
                        cells[stump, 2],
                        cells[stump, 3],
                    )
                    in_set = (tables[stump, code >> 5] >> np.uint32(code & 31)) & np.uint32(1)
                    value += leaves[stump, 0] if in_set else leaves[stump, 1]
                if value < stage_thresholds[stage]:
                    passed = False
                    break
                total += value - stage_thresholds[stage]
            if passed:
                scores[row, column] = total / np.float32(stages)
    return scores
