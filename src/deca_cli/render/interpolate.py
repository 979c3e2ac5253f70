"""Spread values given at corners over the pixels that a rasteriser found."""

import torch
from torch import Tensor
from torch.nn import functional as F

from deca_cli.render.fragments import Fragments


def interpolate(fragments: Fragments, faces: Tensor, attributes: Tensor) -> Tensor:
    """Mix the values at the corners of the triangle seen at every pixel, sum_k b_k value_k.

    The weights are screen-space, not perspective-corrected: exact for the weak perspective camera used here.

    Args:
        fragments: of B meshes of F triangles, H x W pixels.
        faces: int ``[F, 3]``, for every triangle the rows of ``attributes`` at its corners. The mesh's own
            faces for values per vertex; the texture faces for values per texture vertex, such as UV
            coordinates.
        attributes: ``[N, D]``, shared by the batch, or ``[B, N, D]``.

    Returns:
        ``[B, D, H, W]``, 0 where nothing is seen; channels-last in memory. Differentiable to the attributes and,
        through the barycentrics, to the vertices.

    Raises:
        ValueError: shapes that do not fit together.
    """
    batch, height, width = fragments.triangle.shape
    if attributes.ndim not in (2, 3) or (attributes.ndim == 3 and len(attributes) != batch):
        raise ValueError(f"attributes must be [N, D] or [{batch}, N, D], got {list(attributes.shape)}")
    channels = attributes.shape[-1]
    if len(faces) == 0:
        return attributes.new_zeros((batch, channels, height, width))
    rows = faces.long()[fragments.triangle.flatten().clamp(min=0).long()]  # [B H W, 3]
    if attributes.ndim == 3:
        item = torch.arange(batch, device=rows.device).repeat_interleave(height * width)
        rows = rows + (attributes.shape[1] * item)[:, None]
    weights = fragments.barycentrics.reshape(-1, 3).to(attributes.dtype)
    mixed = _mix(rows, weights, attributes.reshape(-1, channels)).view(batch, height, width, channels)
    # Not left to the zero weights: a NaN or an infinity at triangle 0 would reach the background.
    mixed = torch.where(fragments.covered[..., None], mixed, 0.0)
    return mixed.permute(0, 3, 1, 2)


def _mix(rows: Tensor, weights: Tensor, values: Tensor) -> Tensor:
    """Weighted sums of three rows each: [P, 3] and [P, 3] of [N, D] -> [P, D]."""
    if values.is_cuda:
        # embedding_bag is several times slower than three gathers on a GPU when rows are this short.
        corners = (values[rows[:, k]] * weights[:, k, None] for k in range(3))
        return sum(corners, start=values.new_zeros(()))
    return F.embedding_bag(rows, values, per_sample_weights=weights, mode="sum")
