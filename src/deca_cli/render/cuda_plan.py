"""What the launches of `cuda_draw.py` need for one problem size: sizes as the kernels read them, and blocks."""

import functools
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


class Plan(NamedTuple):
    """What the launches of one problem size need; made once and kept."""

    batch: int
    pixels: int  # of an item
    keys: int  # of 64 bits, with the lists of large triangles
    sizes: tuple[float, ...]  # wide, batch, vertices, faces, height, width, standard, epsilon, z offset
    drawing: tuple[int, int]  # triangles of a warp, pixels of a large one
    attributes: tuple[int, int, int]  # rows, numbers from one item to the next (0: all share them), channels
    clear_blocks: int
    draw_blocks: int
    pixel_blocks: int


@functools.lru_cache(maxsize=1024)
def plan_of(
    shape: Sequence[int], faces_shape: Sequence[int], wide: bool, height: int, width: int, rule: Rule, z_offset: float,
    attributes_shape: Sequence[int] | None,
) -> Plan:  # fmt: skip
    """The plan for vertices, faces of 32 or (wide) 64 bits, and attributes or none."""
    (batch, vertices, _), faces = shape, faces_shape[0]
    attributes = (0, 0, 0)
    if attributes_shape is not None:
        rows, channels = attributes_shape[-2:]
        attributes = (rows, rows * channels if len(attributes_shape) == 3 else 0, channels)
    share = WARP
    while share > 1 and batch * faces < share * BUSY_WARPS:
        share //= 2
    large = min(max(height * width // LARGE_SHARE, LEAST_LARGE), MOST_LARGE)
    keys = 2 * -(-batch * (height * width + LIST // 2) // 2)  # cleared in pairs
    return Plan(
        batch=batch,
        pixels=height * width,
        keys=keys,
        sizes=sizes_of(batch, vertices, faces, wide, height, width, rule, z_offset),
        drawing=(share, large),
        attributes=attributes,
        clear_blocks=-(-keys // (2 * BLOCK)),
        draw_blocks=batch * -(-faces // (share * (BLOCK // WARP))),
        pixel_blocks=blocks_of_pixels(batch, height, width),
    )


def sizes_of(
    batch: int, vertices: int, faces: int, wide: bool, height: int, width: int, rule: Rule, z_offset: float
) -> tuple[float, ...]:
    """What all kernels that know triangles read one after the other."""
    integers = (int(wide), batch, vertices, faces, height, width, int(rule == "standard"))
    return *integers, area_epsilon(rule, height, width), float(z_offset)


def blocks_of_pixels(batch: int, height: int, width: int) -> int:
    """Blocks of a kernel that runs over pixels."""
    return batch * -(-width // TILE_WIDTH) * -(-height // TILE_HEIGHT)
