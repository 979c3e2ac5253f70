"""The frontal face cascade that scikit-image bundles, evaluated with every window's score kept.

The trained numbers are scikit-image's (`skimage.data.lbp_frontal_face_cascade_filename`, an OpenCV cascade of
multi-block local binary patterns, Liao et al. 2007). scikit-image's own evaluator answers only yes or no and
searches scales by stretching the window; here the picture is shrunk instead, the sums are exact integers, and
each window keeps its stage sums, so that candidates can be ranked.
"""

import importlib.util
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np

from deca_cli.photo import cascade_kernel

ROUNDING = 1e-5
"""Taken off stage thresholds: trained thresholds often equal a reachable stage sum, up to float32 rounding."""

HEAD_START = 0.9
"""How far a window may be behind the pace of `scan`."""

STAGE_ORDER = (1, 0, 5, 17, 10, 18, 16, 11, 13, 19, 6, 14, 12, 7, 4, 8, 15, 3, 9, 2)
"""Order in which stages are tested: each rejects, for its number of stumps, the most of the windows of photographs that
the ones before it leave over. With loosened thresholds the stages in the trained order take a third longer."""


@dataclass(frozen=True, eq=False)
class Cascade:
    """A boosted cascade of local binary pattern stumps.

    Attributes:
        window: side of the square window in pixels.
        stage_starts: int32 [G + 1], first stump of every stage, then their number.
        stage_thresholds: float32 [G], least sum of a stage that goes on.
        cells: int32 [N, 4], left, top, width and height of the top left one of the 3 x 3 cells of every stump.
        leaves: float32 [N, 256], what each stump adds by pattern.
    """

    window: int
    stage_starts: np.ndarray
    stage_thresholds: np.ndarray
    cells: np.ndarray
    leaves: np.ndarray


def compile_kernel() -> None:
    """Compile the kernel, or load it from the disk cache, by scanning one window; takes about two seconds."""
    cascade = frontal_face_cascade()
    side = cascade.window
    scan(cascade, np.zeros((side, side), np.uint8), all_spans(cascade, side, side), 1, 0.0)


@lru_cache(maxsize=1)
def frontal_face_cascade() -> Cascade:
    """Read scikit-image's bundled frontal face cascade (about 50 kB of XML; kept after the first call)."""
    return reordered(read_cascade(cascade_file()), STAGE_ORDER)


def cascade_file() -> str:
    """Where scikit-image keeps it; asked for only if it is elsewhere, as that loads all that its other data are fetched with."""
    package = importlib.util.find_spec("skimage")
    for folder in (package.submodule_search_locations or ()) if package else ():
        path = Path(folder, "data", "lbpcascade_frontalface_opencv.xml")
        if path.is_file():
            return str(path)
    from skimage.data import lbp_frontal_face_cascade_filename

    return str(lbp_frontal_face_cascade_filename())


def reordered(cascade: Cascade, first: tuple[int, ...]) -> Cascade:
    """The same cascade with some stages before the others; a window must pass all of them, so their order is free."""
    stages = len(cascade.stage_thresholds)
    order = [*first, *(stage for stage in range(stages) if stage not in first)]
    starts = cascade.stage_starts
    stumps = np.concatenate([np.arange(starts[stage], starts[stage + 1]) for stage in order])
    return Cascade(
        window=cascade.window,
        stage_starts=np.concatenate([[0], np.cumsum(np.diff(starts)[order])]).astype(np.int32),
        stage_thresholds=cascade.stage_thresholds[order],
        cells=cascade.cells[stumps],
        leaves=cascade.leaves[stumps],
    )


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
    patterns = np.arange(256)
    words = np.array(tables, dtype=np.uint32)[:, patterns >> 5]
    first_leaf = (words >> (patterns & 31).astype(np.uint32)) & 1
    pairs = np.array(leaves, dtype=np.float32)
    return Cascade(
        window=int(_numbers(_child(root, "width"))[0]),
        stage_starts=np.array(starts, dtype=np.int32),
        stage_thresholds=np.array(thresholds, dtype=np.float32),
        cells=np.array(cells, dtype=np.int32),
        leaves=np.where(first_leaf == 1, pairs[:, :1], pairs[:, 1:]),
    )


def _child(node: ET.Element, name: str) -> ET.Element:
    found = node.find(name)
    if found is None:
        raise ValueError(f"the cascade file has no <{name}>")
    return found


def _numbers(node: ET.Element) -> list[float]:
    return [float(text) for text in (node.text or "").split()]


def scan(
    cascade: Cascade,
    grey: np.ndarray,
    spans: np.ndarray,
    stride: int,
    slack: float,
    *,
    fine_after: int = 0,
    pace: float = 0.0,
) -> tuple[np.ndarray, np.ndarray]:
    """Test the windows of a grey picture.

    Args:
        cascade: the classifier.
        grey: uint8 [H, W].
        spans: int32 [H - window + 1, 2], first and last left edge of the windows whose top is on each row; an
            empty span has first > last.
        stride: pixels between neighbouring windows; 2 tests every second row and column.
        slack: taken off every stage threshold; above 0 more windows pass, for recall.
        fine_after: where a window passes so many stages, also test those that the stride leaves out to the right of it
            and below, up to the next ones; 0 for nowhere.
        pace: windows are also left once the margins (stage sum minus lowered threshold) of the stages so far sum to less
            than this for every one of them, with `HEAD_START` forgiven. 0 leaves none for that.

    Returns:
        corners int32 [N, 2] (left, top) of the windows that pass all stages, and their scores float32 [N]: the
        mean over stages of (stage sum minus lowered threshold).
    """
    height, width = grey.shape
    if min(height, width) < cascade.window:
        return np.empty((0, 2), np.int32), np.empty(0, np.float32)
    table = _table(cascade, slack, pace)
    corners, scores = cascade_kernel.scan(
        cv2.integral(grey), cascade.window, spans, stride, fine_after, cascade.cells, table
    )
    return corners, scores


@lru_cache(maxsize=8)
def _table(cascade: Cascade, slack: float, pace: float) -> cascade_kernel.Table:
    """What the kernel needs to know of the stages; kept, because one photo needs it for a hundred scans."""
    thresholds = cascade.stage_thresholds - np.float32(slack + ROUNDING)
    floors = (pace * np.arange(1, len(thresholds) + 1) - HEAD_START).astype(np.float32)
    return cascade.stage_starts, thresholds, floors, cascade.leaves


def all_spans(cascade: Cascade, height: int, width: int) -> np.ndarray:
    """Spans for `scan` that cover a whole picture."""
    rows = max(height - cascade.window + 1, 0)
    return np.tile(np.array([0, width - cascade.window], dtype=np.int32), (rows, 1))
