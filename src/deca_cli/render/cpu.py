"""The numba kernel: the reference's arithmetic, compiled, on several threads, deterministic.

The target is cut into bands of rows. Each band belongs to one task that walks all triangles in order, so no
two tasks write the same pixel and ties go to the lower face id whatever the number of threads. The tasks are
plain threads over a kernel without the interpreter lock: unlike numba's own parallel layers this may be called
from several threads at once and in forked processes.
"""

# ruff: noqa: ANN001, ANN202 - numba infers the types of the kernels

import collections
import itertools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numba
import numpy as np
import torch
from torch import Tensor

from deca_cli.render.barycentrics import COLLINEAR, area_epsilon
from deca_cli.render.fragments import EMPTY, Rule
from deca_cli.render.indices import check_indices

# Threads cost about 0.3 ms to start and to join; a task should be worth more. A 224 x 224 head is one task.
PIXELS_PER_TASK = 32_768
# Rows wider than this are first cut to the triangle's own extent in them.
WIDE = 12
# Beyond this many pixels from the origin the cut is left out: its rounding errors would reach a pixel.
FAR = 1e9
# An edge that rises by less than this many pixels crosses a row nowhere in particular.
LEVEL = 1e-6


def jit(function: Callable[..., Any]) -> Any:  # noqa: ANN401 - numba's dispatcher has no public type
    """Compile without the interpreter lock and keep the result on disk.

    numba stores it beside the source or, where that is not writable, in the user's cache folder (or in
    NUMBA_CACHE_DIR). If none of them can be written, the kernel is compiled anew in every process.
    """
    options: dict[str, Any] = {"nogil": True, "error_model": "numpy", "fastmath": False}
    try:
        return numba.njit(cache=True, **options)(function)
    except RuntimeError:
        return numba.njit(cache=False, **options)(function)


def rasterize(
    vertices: Tensor, faces: Tensor, height: int, width: int, rule: Rule, z_offset: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Triangle, barycentrics and depth; the contract is that of `render.rasterize`. On the vertices' device.

    Raises:
        ValueError: a face refers to a vertex that does not exist.
    """
    given = vertices.detach().cpu().numpy()
    points = np.empty(given.shape)
    faces = faces.cpu()
    check_indices(faces, vertices.shape[1])
    corners = np.ascontiguousarray(faces.numpy(), dtype=np.int32)
    dtype = np.float64 if vertices.dtype == torch.float64 else np.float32
    batch = len(points)
    triangle = np.empty((batch, height, width), np.int32)
    barycentrics = np.empty((batch, height, width, 3), dtype)
    depth = np.empty((batch, height, width), dtype)
    epsilon = area_epsilon(rule, height, width)
    threads = torch.get_num_threads()
    boxes = np.empty((batch, len(corners), 4), np.int32)

    def find_boxes(item: int) -> None:
        _to_pixels(given[item], height, width, z_offset, points[item])
        _find_boxes(points[item], corners, height, width, epsilon, boxes[item])

    def draw(task: tuple[int, int, int]) -> None:
        item, first, last = task
        _draw_band(
            points[item], corners, boxes[item], first, last, rule == "standard", epsilon, z_offset,
            triangle[item], barycentrics[item], depth[item],
        )  # fmt: skip

    bands = _bands(height, width, batch, threads)
    if len(bands) == 1:  # both steps of an item in one task

        def both(item: int) -> None:
            find_boxes(item)
            draw((item, 0, height))

        run_tasks(both, list(range(batch)), threads)
    else:
        run_tasks(find_boxes, list(range(batch)), threads)
        run_tasks(draw, [(item, *band) for item in range(batch) for band in bands], threads)
    found = [torch.from_numpy(array).to(vertices.device) for array in (triangle, barycentrics, depth)]
    return found[0], found[1], found[2]


def is_compiled() -> bool:
    """Whether the kernel is in memory or in numba's disk cache, so that the next call starts at once."""
    if _draw_band.signatures:
        return True
    folder = _draw_band.stats.cache_path
    if folder is None:
        return False
    # numba itself decides whether what it kept is still good; file times say nothing after a reinstallation.
    return any(Path(folder).glob(f"{Path(__file__).stem}._draw_band-*.nbc"))


def compile_kernel() -> None:
    """Compile the kernel, or load it from the disk cache, by drawing one small triangle."""
    triangle = torch.tensor([[[-0.5, -0.5, 0.0], [0.5, -0.5, 0.0], [0.0, 0.5, 0.0]]])
    rasterize(triangle, torch.tensor([[0, 1, 2]]), 4, 4, "standard", 10.0)


def _bands(height: int, width: int, batch: int, threads: int) -> list[tuple[int, int]]:
    """First row and last row + 1 of an item's tasks; about three tasks a thread, because the rows differ in work."""
    worthwhile = min(3 * threads // max(batch, 1), height, height * width // PIXELS_PER_TASK)
    count = max(1, worthwhile) if threads > 1 else 1
    edges = [round(height * band / count) for band in range(count + 1)]
    return list(itertools.pairwise(edges))


def run_tasks(function: Callable[[Any], None], tasks: list[Any], threads: int) -> None:
    """Call the function for every task, on at most ``threads`` threads, of which this is one.

    On a busy machine the others may be slow to start; then this one does their share, too.
    """
    left = collections.deque(tasks)

    def work() -> None:
        while left:
            try:
                task = left.popleft()
            except IndexError:  # another thread was quicker
                return
            function(task)

    helpers = min(threads, len(tasks)) - 1
    if helpers < 1:
        work()
        return
    with ThreadPoolExecutor(helpers) as pool:
        started = [pool.submit(work) for _ in range(helpers)]
        work()
        for helper in started:
            helper.result()  # raises what a task raised


@jit
def _to_pixels(vertices, height, width, z_offset, points):  # type: ignore[no-untyped-def]
    """`barycentrics.to_pixels` of one item, in the task: torch's threads wait for each other on a busy machine."""
    half_width, half_height = width / 2, height / 2
    for vertex in range(vertices.shape[0]):
        points[vertex, 0] = np.float64(vertices[vertex, 0]) * half_width + (half_width - 0.5)
        points[vertex, 1] = np.float64(vertices[vertex, 1]) * half_height + (half_height - 0.5)
        points[vertex, 2] = np.float64(vertices[vertex, 2]) + z_offset


@jit
def _find_boxes(points, faces, height, width, epsilon, boxes):  # type: ignore[no-untyped-def]
    """First and last row and column of every triangle into ``boxes [F, 4]``; an empty range skips it."""
    for face in range(faces.shape[0]):
        a, b, c = faces[face, 0], faces[face, 1], faces[face, 2]
        x0, y0, z0 = points[a, 0], points[a, 1], points[a, 2]
        x1, y1, z1 = points[b, 0], points[b, 1], points[b, 2]
        x2, y2, z2 = points[c, 0], points[c, 1], points[c, 2]
        left = (x1 - x0) * (y2 - y0)
        right = (x2 - x0) * (y1 - y0)
        area = abs(left - right)
        boxes[face, 0], boxes[face, 1] = 0, -1
        finite = np.isfinite(x0 + y0 + z0 + x1 + y1 + z1 + x2 + y2 + z2)
        if finite and area > COLLINEAR * (abs(left) + abs(right)) and area > epsilon:
            boxes[face, 0] = np.ceil(min(max(min(y0, y1, y2), 0.0), height))
            boxes[face, 1] = np.floor(max(min(max(y0, y1, y2), height - 1.0), -1.0))
            boxes[face, 2] = np.ceil(min(max(min(x0, x1, x2), 0.0), width))
            boxes[face, 3] = np.floor(max(min(max(x0, x1, x2), width - 1.0), -1.0))


@jit
def _cut(x0, y0, x1, y1, row, left, right):  # type: ignore[no-untyped-def]
    """Widen the interval [left, right] by the point where the edge crosses the row, if it does."""
    if (y0 - row) * (y1 - row) > 0.0:
        return left, right
    if abs(y1 - y0) < LEVEL:
        return -np.inf, np.inf
    crossing = x0 + (x1 - x0) * ((row - y0) / (y1 - y0))
    return min(left, crossing), max(right, crossing)


@jit
def _row_extent(x0, y0, x1, y1, x2, y2, row, first, last):  # type: ignore[no-untyped-def]
    """Columns first ... last narrowed to those the triangle can reach in this row, a pixel to spare."""
    left, right = np.inf, -np.inf
    left, right = _cut(x0, y0, x1, y1, row, left, right)
    left, right = _cut(x1, y1, x2, y2, row, left, right)
    left, right = _cut(x2, y2, x0, y0, row, left, right)
    return max(first, int(max(left - 1.0, first))), min(last, int(max(min(right + 1.0, last), -1.0)))


@jit
def _draw_band(  # type: ignore[no-untyped-def]
    points, faces, boxes, first_row, end_row, standard, epsilon, z_offset, triangle, barycentrics, depth
):
    """Draw all triangles into the rows first_row ... end_row - 1 of triangle, barycentrics and depth.

    ``points`` float64 [V, 3]: x and y in pixels, z + offset; ``faces`` int32 [F, 3]; ``boxes`` of _find_boxes.
    """
    nearest = np.full((end_row - first_row, triangle.shape[1]), np.inf, np.float32)
    triangle[first_row:end_row] = EMPTY
    barycentrics[first_row:end_row] = 0.0
    depth[first_row:end_row] = np.inf
    for face in range(faces.shape[0]):
        top, bottom = max(boxes[face, 0], first_row), min(boxes[face, 1], end_row - 1)
        first, last = boxes[face, 2], boxes[face, 3]
        if top > bottom or first > last:
            continue
        a, b, c = faces[face, 0], faces[face, 1], faces[face, 2]
        ax, ay, az = points[a, 0], points[a, 1], points[a, 2]
        bx, by, bz = points[b, 0], points[b, 1], points[b, 2]
        cx, cy, cz = points[c, 0], points[c, 1], points[c, 2]
        inverse = 1.0 / ((bx - ax) * (cy - ay) - (cx - ax) * (by - ay) - epsilon)
        if standard:
            az, bz, cz = 1.0 / az, 1.0 / bz, 1.0 / cz
        cut = last - first > WIDE and max(abs(ax), abs(ay), abs(bx), abs(by), abs(cx), abs(cy)) < FAR
        left, right = first, last
        for row in range(top, bottom + 1):
            if cut:
                left, right = _row_extent(ax, ay, bx, by, cx, cy, row, first, last)
            y0, y1, y2 = ay - row, by - row, cy - row
            for column in range(left, right + 1):
                x0, x1, x2 = ax - column, bx - column, cx - column
                b0 = (x1 * y2 - x2 * y1) * inverse
                b1 = (x2 * y0 - x0 * y2) * inverse
                b2 = (x0 * y1 - x1 * y0) * inverse
                if b0 > 0.0 and b1 >= 0.0 and b2 >= 0.0 and (standard or (b1 > 0.0 and b2 > 0.0)):
                    z = b0 * az + b1 * bz + b2 * cz
                    if standard:
                        z = 1.0 / z
                    key = np.float32(z)
                    if 0.0 < key < nearest[row - first_row, column]:
                        nearest[row - first_row, column] = key
                        triangle[row, column] = face
                        barycentrics[row, column, 0] = b0
                        barycentrics[row, column, 1] = b1
                        barycentrics[row, column, 2] = b2
                        depth[row, column] = z - z_offset
