"""Colour every pixel of a head, in one walk over the fragments: the compiled twin of `shade_plain`.

Nothing is stored between the steps. Rows are cut into bands for threads, as in `render.cpu`.
"""

# ruff: noqa: ANN001, ANN202 - numba infers the types of the kernels

from __future__ import annotations

import collections
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numba
import numpy as np

from deca_cli.animate.looks import ALBEDO, DETAIL, GREY, NORMALS, SHAPE, TEXTURED
from deca_cli.render.passes import SHAPE_FACING

if TYPE_CHECKING:
    from collections.abc import Callable

    from deca_cli.animate.looks import Light

CLAY_MODE, TEXTURE_MODE, NORMAL_MODE = 0, 1, 2
MODES = {SHAPE: CLAY_MODE, DETAIL: CLAY_MODE, TEXTURED: TEXTURE_MODE, ALBEDO: TEXTURE_MODE, NORMALS: NORMAL_MODE}
RELIEF = (0.4, 1.6)  # how far wrinkles may darken and brighten a texture that keeps its photo's light
LEAST_SHADE = 0.05


def _jit(function: Callable[..., Any]) -> Any:  # noqa: ANN401 - numba's dispatcher has no public type
    """Compile without the interpreter lock; kept on disk where a folder can be written, as in `render.cpu`."""
    options: dict[str, Any] = {"nogil": True, "error_model": "numpy", "fastmath": False}
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
    flags = (MODES[kind], relit, kind in {DETAIL, TEXTURED, NORMALS} and skin.detail.size > 0, kind == ALBEDO)
    samples = triangle.shape[0] // max(out.shape[0], 1)

    def draw(rows: tuple[int, int]) -> None:
        _shade_band(
            triangle, barycentrics, skin.corners, skin.uv, skin.normals, skin.detail, skin.texture,
            skin.opacity, light.lights, light.ambient, flags, samples, rows[0], rows[1], out,
        )  # fmt: skip

    bands = 3 * threads if threads > 1 else 1
    edges = np.linspace(0, out.shape[0], bands + 1).astype(int).tolist()
    tasks = list(zip(edges[:-1], edges[1:], strict=True))
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
def _shade_band(  # type: ignore[no-untyped-def]
    triangle, barycentrics, corners, uv, normals, detail, texture, opacity, lights, ambient, flags, samples, first, last, out
):
    """Rows first ... last - 1 of `out`."""
    mode, relit, detailed, flat = flags
    for row in range(first, last):
        for column in range(out.shape[1]):
            red = green = blue = np.float32(0.0)
            seen = np.float32(0.0)
            for dy in range(samples):
                for dx in range(samples):
                    y, x = row * samples + dy, column * samples + dx
                    face = triangle[y, x]
                    if face < 0:
                        continue
                    b0, b1, b2 = barycentrics[y, x, 0], barycentrics[y, x, 1], barycentrics[y, x, 2]
                    i, j, k = corners[face, 0], corners[face, 1], corners[face, 2]
                    nz = b0 * normals[i, 2] + b1 * normals[j, 2] + b2 * normals[k, 2]
                    if -nz >= SHAPE_FACING:
                        continue
                    nx = b0 * normals[i, 0] + b1 * normals[j, 0] + b2 * normals[k, 0]
                    ny = b0 * normals[i, 1] + b1 * normals[j, 1] + b2 * normals[k, 1]
                    fx, fy, fz = nx, ny, nz
                    u = v = np.float32(0.0)
                    weight = np.float32(1.0)
                    if detailed or mode == TEXTURE_MODE or opacity.size > 0:
                        u = b0 * uv[face, 0, 0] + b1 * uv[face, 1, 0] + b2 * uv[face, 2, 0]
                        v = b0 * uv[face, 0, 1] + b1 * uv[face, 1, 1] + b2 * uv[face, 2, 1]
                    if opacity.size > 0:
                        weight = _bilinear(opacity, u, v)[0]
                    seen += weight
                    if detailed:
                        fx, fy, fz = _bilinear(detail, u, v)
                    if mode == CLAY_MODE:
                        grey = weight * np.float32(255.0 * GREY) * _brightness(fx, fy, fz, lights, ambient)
                        red += grey
                        green += grey
                        blue += grey
                    elif mode == NORMAL_MODE:
                        length = max(np.sqrt(fx * fx + fy * fy + fz * fz), np.float32(1e-6))
                        red += weight * np.float32(127.5) * (fx / length + np.float32(1.0))
                        green += weight * np.float32(127.5) * (fy / length + np.float32(1.0))
                        blue += weight * np.float32(127.5) * (fz / length + np.float32(1.0))
                    else:
                        factor = np.float32(1.0)
                        if relit:
                            factor = _brightness(fx, fy, fz, lights, ambient)
                        elif detailed and not flat:
                            fine = _brightness(fx, fy, fz, lights, ambient)
                            coarse = _brightness(nx, ny, nz, lights, ambient)
                            factor = fine / max(coarse, np.float32(LEAST_SHADE))
                            factor = min(max(factor, np.float32(RELIEF[0])), np.float32(RELIEF[1]))
                        r, g, h = _bilinear(texture, u, v)
                        red += weight * factor * r
                        green += weight * factor * g
                        blue += weight * factor * h
            if seen > 0:
                count = np.float32(samples * samples)
                rest = (count - seen) / count
                out[row, column, 0] = min(max(red / count + rest * out[row, column, 0] + np.float32(0.5), 0.0), 255.0)
                out[row, column, 1] = min(max(green / count + rest * out[row, column, 1] + np.float32(0.5), 0.0), 255.0)
                out[row, column, 2] = min(max(blue / count + rest * out[row, column, 2] + np.float32(0.5), 0.0), 255.0)
