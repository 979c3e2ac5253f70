"""What the launches of `cuda.py` need for one problem size: sizes as the kernels read them, blocks, places of results."""

import functools
import math
from collections.abc import Sequence
from typing import NamedTuple

from deca_cli.render.barycentrics import area_epsilon
from deca_cli.render.fragments import Rule
from deca_cli.render.kernels import BLOCK

# Of rasterize.cu: pixels of a block, triangles of a warp at most, numbers in the list of large triangles.
TILE_WIDTH, TILE_HEIGHT, WARP, LIST = 32, 4, 32, 1024
# Warps that keep a large GPU busy; with fewer triangles than this times 32, a warp takes fewer of them.
BUSY_WARPS = 4096
# A triangle is large if its bounding box has more pixels than a 64th of the picture, within these limits.
LARGE_SHARE, LEAST_LARGE, MOST_LARGE = 64, 4096, 65536
# Bytes up to which the results share one allocation. Beyond, keeping one of them should not keep them all, and the GPU
# is busy long enough to allocate them one by one.
MOST_SHARED = 1 << 26

Part = tuple[tuple[int, ...], tuple[int, ...], int]  # size, strides and start of a tensor


class Places(NamedTuple):
    """Where triangle, barycentrics, depth and picture lie in one allocation."""

    length: int  # numbers of the mesh's type
    offsets: tuple[int, ...]  # bytes
    parts: tuple[Part, ...]  # in numbers of the mesh's type, those of the triangles of 32 bits


class Plan(NamedTuple):
    """What the launches of one problem size need; made once and kept."""

    sizes: tuple[float, ...]  # wide, batch, vertices, faces, height, width, standard, epsilon, z offset
    drawing: tuple[int, int]  # triangles of a warp, pixels of a large one
    channels: int | None  # none: no attributes
    attributes: tuple[
        int, int, int
    ]  # rows, numbers from one item to the next (none where all share them), channels
    keys: int
    clear_blocks: int
    draw_blocks: int
    pixel_blocks: int
    places: Places | None  # none: allocated one by one


@functools.lru_cache(maxsize=1024)
def plan_of(
    shape: Sequence[int], double: bool, faces_shape: Sequence[int], wide: bool, height: int, width: int, rule: Rule,
    z_offset: float, attributes_shape: Sequence[int] | None,
) -> Plan:  # fmt: skip
    """The plan for vertices, faces of 32 or (wide) 64 bits, and attributes or none."""
    (batch, vertices, _), faces = shape, faces_shape[0]
    channels, attributes = None, (0, 0, 0)
    if attributes_shape is not None:
        rows, channels = attributes_shape[-2:]
        attributes = (rows, rows * channels if len(attributes_shape) == 3 else 0, channels)
    share = WARP
    while share > 1 and batch * faces < share * BUSY_WARPS:
        share //= 2
    large = min(max(height * width // LARGE_SHARE, LEAST_LARGE), MOST_LARGE)
    keys = 2 * -(-batch * (height * width + LIST // 2) // 2)  # cleared in pairs
    integers = (int(wide), batch, vertices, faces, height, width, int(rule == "standard"))
    return Plan(
        sizes=(*integers, area_epsilon(rule, height, width), float(z_offset)),
        drawing=(share, large),
        channels=channels,
        attributes=attributes,
        keys=keys,
        clear_blocks=-(-keys // (2 * BLOCK)),
        draw_blocks=batch * -(-faces // (share * (BLOCK // WARP))),
        pixel_blocks=blocks_of_pixels(batch, height, width),
        places=_places(double, batch, height, width, channels),
    )


def blocks_of_pixels(batch: int, height: int, width: int) -> int:
    """Blocks of a kernel that runs over pixels."""
    return batch * -(-width // TILE_WIDTH) * -(-height // TILE_HEIGHT)


def _places(double: bool, batch: int, height: int, width: int, channels: int | None) -> Places | None:
    """Places of the results in one allocation, each on a boundary of 128 bytes; none if that would be large."""
    plane, number = height * width, 8 if double else 4
    picture = (batch, height, width)
    strided: list[tuple[tuple[int, ...], tuple[int, ...]]] = [
        (picture, (plane, width, 1)),
        ((*picture, 3), (3 * plane, 3 * width, 3, 1)),
        (picture, (plane, width, 1)),
    ]
    if channels is not None:
        strided.append(((batch, channels, height, width), (channels * plane, plane, width, 1)))
    starts, end = [], 0
    for size, _ in strided:
        starts.append(end)
        end += (
            -(-math.prod(size) // 32) * 32
        )  # the triangles, of 32 bits, get as much as if they were as long
    if end * number > MOST_SHARED:
        return None
    return Places(
        length=end,
        offsets=tuple(start * number for start in starts),
        parts=tuple((*one, start) for one, start in zip(strided, starts, strict=True)),
    )
