"""Interpolation and the gradients in plain torch, on any device: the twins of the CUDA kernels."""

import torch
from torch import Tensor
from torch.nn import functional as F

from deca_cli.render.barycentrics import area_epsilon, doubled_area, to_pixels, weights_at
from deca_cli.render.fragments import Rule
from deca_cli.render.indices import check_indices


def interpolate(triangle: Tensor, barycentrics: Tensor, faces: Tensor, attributes: Tensor) -> Tensor:
    """The picture ``[B, D, H, W]`` of attributes over known triangles, channels-last in memory.

    Raises:
        ValueError: a face refers to a row of the attributes that does not exist.
    """
    check_indices(faces, attributes.shape[-2], "rows of the attributes")
    batch, height, width = triangle.shape
    channels = attributes.shape[-1]
    if len(faces) == 0:
        return attributes.new_zeros((batch, height, width, channels)).permute(0, 3, 1, 2)
    rows = _rows(triangle.flatten().clamp(min=0), faces, attributes, height * width)
    mixed = _mix(rows, barycentrics.reshape(-1, 3), attributes.flatten(0, -2))
    # Not left to the zero weights: a NaN or an infinity at triangle 0 would reach the background.
    seen = (triangle >= 0).contiguous()  # or the picture would be laid out as the triangles are
    mixed = torch.where(seen[..., None], mixed.view(batch, height, width, channels), 0.0)
    return mixed.permute(0, 3, 1, 2)


def interpolate_backward(
    gradient: Tensor, triangle: Tensor, barycentrics: Tensor, faces: Tensor, attributes: Tensor,
    wanted: tuple[bool, bool],
) -> tuple[Tensor | None, Tensor | None]:  # fmt: skip
    """Gradients to attributes and barycentrics from that of the picture, None for what is not ``wanted``."""
    values = attributes.flatten(0, -2)
    pixels = (triangle.flatten() >= 0).nonzero().flatten()
    rows = _rows(triangle.flatten()[pixels], faces, attributes, triangle.shape[1] * triangle.shape[2], pixels)
    given = gradient.permute(0, 2, 3, 1).flatten(0, 2)[pixels]
    weights = barycentrics.reshape(-1, 3)[pixels]
    to_attributes = to_barycentrics = None
    # Contiguous whatever the inputs are, as the operator's shape function says: not zeros_like.
    if wanted[0]:
        to_attributes = attributes.new_zeros(attributes.shape)
        for corner in range(3):
            shares = weights[:, corner, None] * given
            to_attributes.view(values.shape).index_add_(0, rows[:, corner], shares)
    if wanted[1]:
        to_barycentrics = barycentrics.new_zeros(barycentrics.shape)
        shares = torch.stack([(given * values[rows[:, corner]]).sum(-1) for corner in range(3)], -1)
        to_barycentrics.view(-1, 3)[pixels] = shares
    return to_attributes, to_barycentrics


def rasterize_backward(
    vertices: Tensor, faces: Tensor, triangle: Tensor, to_barycentrics: Tensor | None, to_depth: Tensor | None,
    rule: Rule, z_offset: float,
) -> Tensor:  # fmt: skip
    """The gradient to the vertices from those of barycentrics and depth; the formulas are in `cpu_gradients`."""
    _, height, width = triangle.shape
    pixels = (triangle.flatten() >= 0).nonzero().flatten()
    points = to_pixels(vertices.detach(), height, width, z_offset)
    rows = _rows(triangle.flatten()[pixels], faces, points, height * width, pixels)
    corners = points.reshape(-1, 3)[rows]  # [P, 3, 3]
    row = pixels.div(width, rounding_mode="floor") % height
    corners[..., :2] -= torch.stack([pixels % width, row], -1)[:, None]
    area, _ = doubled_area(corners)
    inverse = 1.0 / (area - area_epsilon(rule, height, width))
    weights = torch.stack(weights_at(corners, row.new_zeros(()), row.new_zeros(()), inverse), -1)  # [P, 3]
    to_weights = torch.zeros_like(weights)
    if to_barycentrics is not None:
        to_weights += to_barycentrics.reshape(-1, 3)[pixels]
    to_corners = torch.zeros_like(corners)
    if to_depth is not None:
        by_weight, to_corners[..., 2] = _depth_gradients(
            weights, corners[..., 2], rule, to_depth.flatten()[pixels]
        )
        to_weights += by_weight
    edges = to_weights * inverse[:, None]
    to_area = -(to_weights * weights).sum(-1, keepdim=True) * inverse[:, None]
    for axis, other in ((0, 1), (1, 0)):
        sign = 1.0 - 2.0 * axis
        before, after = corners[..., other].roll(1, -1), corners[..., other].roll(-1, -1)
        slope = edges.roll(1, -1) * after - edges.roll(-1, -1) * before + to_area * (after - before)
        to_corners[..., axis] = sign * slope
    to_corners *= to_corners.new_tensor([width / 2, height / 2, 1.0])  # pixels to NDC
    sums = torch.zeros_like(points).reshape(-1, 3).index_add_(0, rows.flatten(), to_corners.reshape(-1, 3))
    return sums.view(vertices.shape).to(vertices.dtype)


def _depth_gradients(weights: Tensor, z: Tensor, rule: Rule, given: Tensor) -> tuple[Tensor, Tensor]:
    """From the depth to the weights and to z of the corners, [P, 3] each."""
    given = given.double()[:, None]
    if rule == "pytorch3d":
        return given * z, given * weights
    inverse = 1.0 / z
    square = given / (weights * inverse).sum(-1, keepdim=True).square()
    return -square * inverse, square * weights * inverse.square()


def _rows(
    seen: Tensor, faces: Tensor, attributes: Tensor, pixels: int, places: Tensor | None = None
) -> Tensor:
    """Rows of the flattened attributes at the corners of the triangle ``seen [P]`` at all (or given) places: [P, 3]."""
    rows = faces.long()[seen.long()]
    if attributes.ndim == 3:
        places = torch.arange(len(seen), device=seen.device) if places is None else places
        rows = rows + attributes.shape[1] * places.div(pixels, rounding_mode="floor")[:, None]
    return rows


def _mix(rows: Tensor, weights: Tensor, values: Tensor) -> Tensor:
    """Weighted sums of three rows each: [P, 3] and [P, 3] of [N, D] -> [P, D]."""
    if values.is_cuda:
        # embedding_bag is several times slower than three gathers on a GPU when rows are this short.
        corners = (values[rows[:, k]] * weights[:, k, None] for k in range(3))
        return sum(corners, start=values.new_zeros(()))
    return F.embedding_bag(rows, values, per_sample_weights=weights, mode="sum")
