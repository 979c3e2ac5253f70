"""Colour every pixel of a head, in one walk over the fragments: the compiled twin of `shade_plain`.

Nothing is stored between the steps. Rows are cut into bands for threads, as in `render.cpu`.
"""

# ruff: noqa: ANN001, ANN202 - numba infers the types of the kernels

from __future__ import annotations

import collections
import itertools
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numba
import numpy as np

from deca_cli.animate.looks import ALBEDO, DETAIL, GREY, NORMALS, SHAPE, TEXTURED
from deca_cli.export.clay import LIFT
from deca_cli.render.passes import SHAPE_FACING

if TYPE_CHECKING:
    from collections.abc import Callable

    from deca_cli.animate.looks import Light

CLAY_MODE, TEXTURE_MODE, NORMAL_MODE = 0, 1, 2
MODES = {
    SHAPE: CLAY_MODE,
    DETAIL: CLAY_MODE,
    TEXTURED: TEXTURE_MODE,
    ALBEDO: TEXTURE_MODE,
    NORMALS: NORMAL_MODE,
}
RELIEF = (0.4, 1.6)  # how far wrinkles may darken and brighten a texture that keeps its photo's light
LEAST_SHADE = 0.05


def lifts_clay(light: Light) -> bool:
    """Whether what no light reaches is lifted, as `export.clay.lifted` does in pictures, which have the studio's light.

    Other lights come with one from everywhere.
    """
    return not light.on_texture


def _jit(function: Callable[..., Any], *, inlined: bool = True) -> Any:  # noqa: ANN401 - numba's dispatcher has no public type
    """Compile without the interpreter lock; kept on disk where a folder can be written, as in `render.cpu`.

    A call that is not inlined copies the description of every array, which takes longer than the arithmetic.
    """
    options: dict[str, Any] = {
        "nogil": True, "error_model": "numpy", "fastmath": False, "forceinline": inlined,
    }  # fmt: skip
    try:
        return numba.njit(cache=True, **options)(function)
    except RuntimeError:
        return numba.njit(cache=False, **options)(function)


@dataclass(frozen=True, eq=False)
class Skin:
    """What lies on the mesh in one frame."""

    corners: np.ndarray  # int32 [F, 3] vertices
    uv: np.ndarray  # float32 [F, 3, 2] u right, v down, 0..1
    normals: np.ndarray  # float32 [V, 3] head frame
    detail: np.ndarray  # float32 [u, u, 3] normals in UV space, head frame; [0, 0, 3] without detail
    texture: np.ndarray  # uint8 [U, U, 3]; [0, 0, 3] where none is needed
    opacity: np.ndarray  # float32 [u, u, 3], three times the same 0..1; [0, 0, 3] where all is opaque
    clay_light: np.ndarray  # float32 [V], share of the light that clay gets; [0] where it is all of it
    facing_limit: (
        np.ndarray
    )  # float32 [V], cosine from which surface facing away is not drawn; [0]: that of the release


def shade(
    triangle: np.ndarray,  # int32 [h n, w n]
    barycentrics: np.ndarray,  # float32 [h n, w n, 3]
    skin: Skin,
    light: Light,
    kind: str,
    out: np.ndarray,  # uint8 [h, w, 3], the background; written to
    threads: int,
) -> None:
    """Draw over `out`. A pixel is the mean of its n x n samples; samples without a head show the background."""
    relit = light.on_texture and kind == TEXTURED
    lifted = lifts_clay(light) and skin.clay_light.size > 0
    detailed = kind in {DETAIL, TEXTURED, NORMALS} and skin.detail.size > 0
    flags = (MODES[kind], relit, detailed, kind == ALBEDO, lifted)
    samples = triangle.shape[0] // max(out.shape[0], 1)

    def draw(rows: tuple[int, int]) -> None:
        _shade_band(
            triangle, barycentrics, skin.corners, skin.uv, skin.normals, skin.detail, skin.texture,
            skin.opacity, skin.clay_light, light.lights, light.ambient, skin.facing_limit, flags, samples, rows[0], rows[1], out,
        )  # fmt: skip

    bands = 3 * threads if threads > 1 else 1
    edges = np.linspace(0, out.shape[0], bands + 1).astype(int).tolist()
    tasks = list(itertools.pairwise(edges))
    if threads <= 1:
        draw(tasks[0])
        return
    with ThreadPoolExecutor(threads) as pool:
        collections.deque(pool.map(draw, tasks), maxlen=0)


@_jit
def _bilinear(picture, u, v):  # type: ignore[no-untyped-def]
    """Value at u, v in 0..1 (v down); texel centres at halves, the border repeats."""
    height, width = picture.shape[0], picture.shape[1]
    x = min(max(u * width - 0.5, 0.0), width - 1.0)
    y = min(max(v * height - 0.5, 0.0), height - 1.0)
    x0, y0 = int(x), int(y)
    x1, y1 = min(x0 + 1, width - 1), min(y0 + 1, height - 1)
    fx, fy = np.float32(x - x0), np.float32(y - y0)
    one = np.float32(1.0)
    a, b, c, d = (one - fx) * (one - fy), fx * (one - fy), (one - fx) * fy, fx * fy
    r = a * picture[y0, x0, 0] + b * picture[y0, x1, 0] + c * picture[y1, x0, 0] + d * picture[y1, x1, 0]
    g = a * picture[y0, x0, 1] + b * picture[y0, x1, 1] + c * picture[y1, x0, 1] + d * picture[y1, x1, 1]
    h = a * picture[y0, x0, 2] + b * picture[y0, x1, 2] + c * picture[y1, x0, 2] + d * picture[y1, x1, 2]
    return r, g, h


@_jit
def _brightness(x, y, z, lights, ambient):  # type: ignore[no-untyped-def]
    """Light that falls on a surface with that normal."""
    total = np.float32(ambient)
    for index in range(lights.shape[0]):
        cosine = x * lights[index, 0] + y * lights[index, 1] + z * lights[index, 2]
        total += min(max(cosine, np.float32(0.0)), np.float32(1.0)) * lights[index, 3]
    return total


@_jit
def _mix(weights, values, i, j, k):  # type: ignore[no-untyped-def]
    """Three rows of three values each, weighted."""
    b0, b1, b2 = weights[0], weights[1], weights[2]
    x = b0 * values[i, 0] + b1 * values[j, 0] + b2 * values[k, 0]
    y = b0 * values[i, 1] + b1 * values[j, 1] + b2 * values[k, 1]
    z = b0 * values[i, 2] + b1 * values[j, 2] + b2 * values[k, 2]
    return x, y, z


@_jit
def _factor(coarse, fine, lights, ambient, relit, detailed):  # type: ignore[no-untyped-def]
    """What a texture's colour is multiplied by: the light, or what wrinkles change in it."""
    if relit:
        return _brightness(fine[0], fine[1], fine[2], lights, ambient)
    if not detailed:
        return np.float32(1.0)
    smooth = _brightness(coarse[0], coarse[1], coarse[2], lights, ambient)
    relief = _brightness(fine[0], fine[1], fine[2], lights, ambient) / max(smooth, np.float32(LEAST_SHADE))
    return min(max(relief, np.float32(RELIEF[0])), np.float32(RELIEF[1]))


@_jit
def _colour(coarse, fine, texture, u, v, lights, ambient, flags):  # type: ignore[no-untyped-def]
    """Red, green, blue in 0..255 of one sample."""
    mode, relit, detailed, flat, _ = flags
    if mode == CLAY_MODE:
        grey = np.float32(255.0 * GREY) * _brightness(fine[0], fine[1], fine[2], lights, ambient)
        return grey, grey, grey
    if mode == NORMAL_MODE:
        length = max(np.sqrt(fine[0] ** 2 + fine[1] ** 2 + fine[2] ** 2), np.float32(1e-6))
        half, one = np.float32(127.5), np.float32(1.0)
        return (
            half * (fine[0] / length + one),
            half * (fine[1] / length + one),
            half * (fine[2] / length + one),
        )
    red, green, blue = _bilinear(texture, u, v)
    factor = _factor(coarse, fine, lights, ambient, relit, detailed and not flat)
    return factor * red, factor * green, factor * blue


@_jit
def _sample(  # type: ignore[no-untyped-def]
    face,
    weights,
    corners,
    uv,
    normals,
    detail,
    texture,
    opacity,
    clay_light,
    lights,
    ambient,
    facing_limit,
    flags,
):
    """Colour of one sample times its opacity, and the opacity; 0 where the surface faces away."""
    nothing = np.float32(0.0)
    i, j, k = corners[face, 0], corners[face, 1], corners[face, 2]
    coarse = _mix(weights, normals, i, j, k)
    b0, b1, b2 = weights[0], weights[1], weights[2]
    limit = np.float32(SHAPE_FACING)
    if facing_limit.size > 0:
        limit = b0 * facing_limit[i] + b1 * facing_limit[j] + b2 * facing_limit[k]
    if -coarse[2] >= limit:
        return nothing, nothing, nothing, nothing
    u = b0 * uv[face, 0, 0] + b1 * uv[face, 1, 0] + b2 * uv[face, 2, 0]
    v = b0 * uv[face, 0, 1] + b1 * uv[face, 1, 1] + b2 * uv[face, 2, 1]
    fine = _bilinear(detail, u, v) if flags[2] else coarse
    opaque = _bilinear(opacity, u, v)[0] if opacity.size > 0 else np.float32(1.0)
    red, green, blue = _colour(coarse, fine, texture, u, v, lights, ambient, flags)
    if flags[0] == CLAY_MODE and clay_light.size > 0:
        share = b0 * clay_light[i] + b1 * clay_light[j] + b2 * clay_light[k]
        grey = share * red
        if flags[4]:
            dark = max(np.float32(1.0) - grey / np.float32(255.0), np.float32(0.0))
            grey += np.float32(255.0 * LIFT) * dark * dark * dark
        red = green = blue = grey
    return opaque * red, opaque * green, opaque * blue, opaque


@_jit
def _lay_over(pixel, red, green, blue, rest):  # type: ignore[no-untyped-def]
    """Colour over what of the background is still seen."""
    pixel[0] = min(max(red + rest * pixel[0] + np.float32(0.5), 0.0), 255.0)
    pixel[1] = min(max(green + rest * pixel[1] + np.float32(0.5), 0.0), 255.0)
    pixel[2] = min(max(blue + rest * pixel[2] + np.float32(0.5), 0.0), 255.0)


@partial(_jit, inlined=False)
def _shade_band(  # type: ignore[no-untyped-def]
    triangle,
    barycentrics,
    corners,
    uv,
    normals,
    detail,
    texture,
    opacity,
    clay_light,
    lights,
    ambient,
    facing_limit,
    flags,
    samples,
    first,
    last,
    out,
):
    """Rows first ... last - 1 of `out`."""
    count = np.float32(samples * samples)
    for row in range(first, last):
        for column in range(out.shape[1]):
            red = green = blue = seen = np.float32(0.0)
            for y in range(row * samples, (row + 1) * samples):
                for x in range(column * samples, (column + 1) * samples):
                    if triangle[y, x] < 0:
                        continue
                    r, g, b, opaque = _sample(
                        triangle[y, x], barycentrics[y, x], corners, uv, normals, detail, texture, opacity,
                        clay_light, lights, ambient, facing_limit, flags,
                    )  # fmt: skip
                    red += r
                    green += g
                    blue += b
                    seen += opaque
            if seen > 0:
                _lay_over(out[row, column], red / count, green / count, blue / count, (count - seen) / count)
