"""The numba kernel for gradients of barycentrics and depth to the vertices: `rasterize.cu`'s twin."""

# ruff: noqa: ANN001, ANN202 - numba infers the types of the kernels

import numpy as np
import torch
from torch import Tensor

from deca_cli.render.barycentrics import area_epsilon, to_pixels
from deca_cli.render.cpu import jit, run_tasks
from deca_cli.render.fragments import Rule
from deca_cli.render.indices import check_indices


def rasterize_backward(
    vertices: Tensor, faces: Tensor, triangle: Tensor, to_barycentrics: Tensor | None, to_depth: Tensor | None,
    rule: Rule, z_offset: float,
) -> Tensor:  # fmt: skip
    """The gradient to the vertices ``[B, V, 3]`` from those of barycentrics and depth (None: zero).

    Sums are in double precision and in a fixed order: the result does not depend on the number of threads.

    Args:
        vertices: as rasterised.
        faces: as rasterised.
        triangle: what was found.
        to_barycentrics: ``[B, H, W, 3]``; what stands at empty pixels is not looked at.
        to_depth: ``[B, H, W]``, likewise.
        rule: as rasterised.
        z_offset: as rasterised.

    Raises:
        ValueError: a face refers to a vertex that does not exist.
    """
    batch, height, width = triangle.shape
    points = to_pixels(vertices.detach().cpu(), height, width, z_offset).numpy()
    faces = faces.cpu()
    check_indices(faces, vertices.shape[1])
    corners = np.ascontiguousarray(faces.numpy(), dtype=np.int32)
    seen = np.ascontiguousarray(triangle.cpu().numpy())
    weights = np.zeros((batch, 0, 0, 3)) if to_barycentrics is None else _double(to_barycentrics)
    depths = np.zeros((batch, 0, 0)) if to_depth is None else _double(to_depth)
    sums = np.zeros(points.shape)
    epsilon = area_epsilon(rule, height, width)

    def add(item: int) -> None:
        _add_gradients(
            points[item],
            corners,
            seen[item],
            weights[item],
            depths[item],
            rule == "standard",
            epsilon,
            sums[item],
        )

    run_tasks(add, list(range(batch)), torch.get_num_threads())
    sums *= np.array([width / 2, height / 2, 1.0])  # pixels to NDC
    return torch.from_numpy(sums).to(device=vertices.device, dtype=vertices.dtype)


def _double(gradient: Tensor) -> np.ndarray:
    return np.ascontiguousarray(gradient.detach().cpu().double().numpy())


@jit
def _add_gradients(points, faces, triangle, weights, depths, standard, epsilon, sums):  # type: ignore[no-untyped-def]
    """Add what every pixel of one picture gives to the corners of its triangle, in pixels and z.

    With edge functions E_k (twice the areas of the parts), doubled area A and I = 1 / (A - epsilon): b_k = E_k I,
    so dE_k = g_k I and dA = -I sum(g_k b_k), where g includes the depth's share. The depth is 1 / sum(b w) with
    w = 1 / z for ``standard``, else sum(b z).
    """
    for row in range(triangle.shape[0]):
        for column in range(triangle.shape[1]):
            face = triangle[row, column]
            if face < 0:
                continue
            a, b, c = faces[face, 0], faces[face, 1], faces[face, 2]
            x0, x1, x2 = points[a, 0] - column, points[b, 0] - column, points[c, 0] - column
            y0, y1, y2 = points[a, 1] - row, points[b, 1] - row, points[c, 1] - row
            z0, z1, z2 = points[a, 2], points[b, 2], points[c, 2]
            inverse = 1.0 / ((x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0) - epsilon)
            b0 = (x1 * y2 - x2 * y1) * inverse
            b1 = (x2 * y0 - x0 * y2) * inverse
            b2 = (x0 * y1 - x1 * y0) * inverse
            g0, g1, g2 = 0.0, 0.0, 0.0
            if weights.shape[0] > 0:
                g0, g1, g2 = weights[row, column, 0], weights[row, column, 1], weights[row, column, 2]
            if depths.shape[0] > 0:
                h = depths[row, column]
                if standard:
                    z0, z1, z2 = 1.0 / z0, 1.0 / z1, 1.0 / z2
                    depth = 1.0 / (b0 * z0 + b1 * z1 + b2 * z2)
                    square = depth * depth * h
                    sums[a, 2] += square * b0 * z0 * z0
                    sums[b, 2] += square * b1 * z1 * z1
                    sums[c, 2] += square * b2 * z2 * z2
                    h = -square
                else:
                    sums[a, 2] += h * b0
                    sums[b, 2] += h * b1
                    sums[c, 2] += h * b2
                g0, g1, g2 = g0 + h * z0, g1 + h * z1, g2 + h * z2
            e0, e1, e2 = g0 * inverse, g1 * inverse, g2 * inverse
            area = -(g0 * b0 + g1 * b1 + g2 * b2) * inverse
            sums[a, 0] += e2 * y1 - e1 * y2 + area * (y1 - y2)
            sums[b, 0] += e0 * y2 - e2 * y0 + area * (y2 - y0)
            sums[c, 0] += e1 * y0 - e0 * y1 + area * (y0 - y1)
            sums[a, 1] += e1 * x2 - e2 * x1 + area * (x2 - x1)
            sums[b, 1] += e2 * x0 - e0 * x2 + area * (x0 - x2)
            sums[c, 1] += e0 * x1 - e1 * x0 + area * (x1 - x0)
