"""What the launches of `cuda.py` need for one problem size: sizes as the kernels read them, blocks, places of results."""

import functools
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

# Of draw_tiles: tiles of a cluster, across and down, with and without clusters; and the tiles to choose from.
CLUSTER, NO_CLUSTER = (2, 4), (1, 1)
TILES = ((64, 32), (32, 32), (32, 16), (16, 16))
# Blocks that keep a large GPU busy: with fewer, smaller tiles are taken.
BUSY_BLOCKS = 128
# Pixels of all pictures together up to which one launch is quicker than three.
MOST_TILED = 1 << 21
# Bytes up to which the results share one allocation. Beyond, keeping one of them should not keep them all.
MOST_SHARED = 1 << 26


class Mixing(NamedTuple):
    """The attributes of a problem."""

    wide: bool  # faces of 64 bits
    rows: int
    channels: int
    stride: int  # numbers from one item to the next


NO_MIXING = Mixing(wide=False, rows=0, channels=0, stride=0)


class Results(NamedTuple):
    """Where barycentrics, depth, picture and triangle lie in one allocation."""

    length: int  # numbers of the mesh's type
    offsets: tuple[int, int, int, int]  # bytes
    # Size, strides and start; those of the triangles in numbers of 32 bits.
    parts: tuple[tuple[tuple[int, ...], tuple[int, ...], int], ...]


class Plan(NamedTuple):
    """What the launches of one problem size need; made once and kept."""

    sizes: tuple[float, ...]  # wide, batch, vertices, faces, height, width, standard, epsilon, z offset
    drawing: tuple[int, int]  # triangles of a warp, pixels of a large one
    mixing: tuple[int, ...]  # wide, count, stride, channels
    key_pairs: int
    clear_blocks: int
    draw_blocks: int
    pixel_blocks: int
    tile_blocks: int  # none: three launches are quicker
    tile_sizes: tuple[float, ...]  # draw_tiles: from counts to z offset
    tile_mixing: tuple[int, int]  # draw_tiles: count and channels, stride
    results: Results | None  # none: allocated one by one


@functools.lru_cache(maxsize=1024)
def plan_of(
    clusters: bool, double: bool, wide: bool, batch: int, vertices: int, faces: int, height: int, width: int,
    rule: Rule, z_offset: float, mixing: Mixing,
) -> Plan:  # fmt: skip
    """The plan for a problem on a GPU with or without clusters of blocks."""
    share = WARP
    while share > 1 and batch * faces < share * BUSY_WARPS:
        share //= 2
    large = min(max(height * width // LARGE_SHARE, LEAST_LARGE), MOST_LARGE)
    key_pairs = -(-batch * (height * width + LIST // 2) // 2)
    standard, epsilon = int(rule == "standard"), area_epsilon(rule, height, width)
    (tile_width, tile_height), tile_blocks = tiles_of(batch, height, width, clusters)
    return Plan(
        sizes=(int(wide), batch, vertices, faces, height, width, standard, epsilon, float(z_offset)),
        drawing=(share, large),
        mixing=(int(mixing.wide), mixing.rows, mixing.stride, mixing.channels),
        key_pairs=key_pairs,
        clear_blocks=-(-key_pairs // BLOCK),
        draw_blocks=batch * -(-faces // (share * (BLOCK // WARP))),
        pixel_blocks=blocks_of_pixels(batch, height, width),
        tile_blocks=tile_blocks if batch * height * width <= MOST_TILED else 0,
        tile_sizes=(
            _pair(vertices, faces), _pair(height, width), _pair(tile_width, tile_height),
            _pair(int(wide), int(mixing.wide)), standard, epsilon, float(z_offset),
        ),
        tile_mixing=(_pair(mixing.rows, mixing.channels), mixing.stride),
        results=_results(double, batch, height, width, mixing.channels),
    )  # fmt: skip


def blocks_of_pixels(batch: int, height: int, width: int) -> int:
    """Blocks of a kernel that runs over pixels."""
    return batch * -(-width // TILE_WIDTH) * -(-height // TILE_HEIGHT)


def tiles_of(batch: int, height: int, width: int, clusters: bool) -> tuple[tuple[int, int], int]:
    """Width and height of the tiles, and the blocks that draw_tiles needs: the largest tiles that keep a GPU busy."""
    across, down = CLUSTER if clusters else NO_CLUSTER
    for tile in TILES:
        regions = batch * -(-width // (across * tile[0])) * -(-height // (down * tile[1]))
        blocks = regions * across * down
        if blocks >= BUSY_BLOCKS:
            break
    return tile, blocks


def _pair(first: int, second: int) -> int:
    """Two numbers of 32 bits in one of 64; Pair in rasterize.cu."""
    return first | second << 32


def _results(double: bool, batch: int, height: int, width: int, channels: int) -> Results | None:
    """Places of the results in one allocation, each on a boundary of 128 bytes; none if that would be large."""
    pixels, number = batch * height * width, 8 if double else 4
    lengths = [3 * pixels, pixels, channels * pixels, -(-4 * pixels // number)]
    starts = [0]
    for length in lengths:
        starts.append(starts[-1] + -(-length // 32) * 32)
    if starts[-1] * number > MOST_SHARED:
        return None
    plane, row = height * width, width
    barycentrics = ((batch, height, width, 3), (3 * plane, 3 * row, 3, 1), starts[0])
    depth = ((batch, height, width), (plane, row, 1), starts[1])
    picture = ((batch, channels, height, width), (channels * plane, plane, row, 1), starts[2])
    triangle = ((batch, height, width), (plane, row, 1), starts[3] * number // 4)
    return Results(
        length=starts[-1],
        offsets=(starts[0] * number, starts[1] * number, starts[2] * number, starts[3] * number),
        parts=(barycentrics, depth, picture, triangle),
    )
