"""Between the mesh and its UV map: computed once per head, then applied to any pose."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import Tensor
from torch.nn import functional as F

from deca_cli.render.fragments import Backend, Fragments, Rule
from deca_cli.render.interpolate import interpolate
from deca_cli.render.normals import grid_normals, unit
from deca_cli.render.rasterize import rasterize

# Columns and rows at the border of the UV map that the dense normals leave out (specification 6.1).
MARGIN_X, MARGIN_Y = 2, 5
# Texels by which normals for pictures reach beyond the chart.
BORDER = 2


@dataclass(frozen=True)
class UvChart:
    """Which point of the mesh lies under every texel, and the mesh of those texels (specification 1.3, 6.8).

    Attributes:
        size: U, the map has U x U texels; row 0 is v = 1.
        texels: int64 ``[P]``, the covered texels as row-major indices, ascending.
        vertex_ids: int64 ``[P, 3]``, mesh vertices of the triangle under each of them.
        weights: float32 ``[P, 3]``, their barycentrics.
        faces: int64 ``[M, 3]``, triangles over the covered texels (indices 0 ... P-1), facing outwards.
    """

    size: int
    texels: Tensor
    vertex_ids: Tensor
    weights: Tensor
    faces: Tensor

    def to(self, device: torch.device | str) -> "UvChart":
        """The same chart on another device."""
        tensors = (self.texels, self.vertex_ids, self.weights, self.faces)
        return UvChart(self.size, *(tensor.to(device) for tensor in tensors))


def uv_to_ndc(uv_coordinates: Tensor) -> Tensor:
    """UV (u right, v up, 0 ... 1) to the picture frame (x right, y down, -1 ... 1).

    Points ``[T, 2]`` to ``[T, 2]``, maps ``[B, 2, H, W]`` to a grid to look up at, ``[B, H, W, 2]``.
    """
    return torch.stack((2 * uv_coordinates[:, 0] - 1, 1 - 2 * uv_coordinates[:, 1]), -1)


def rasterize_uv(
    uv_coordinates: Tensor, uv_faces: Tensor, size: int, rule: Rule = "standard", backend: Backend = "auto"
) -> Fragments:
    """Rasterise the UV map itself: for every texel its texture triangle; a batch of one."""
    flat = F.pad(uv_to_ndc(uv_coordinates), (0, 1), value=1.0)
    return rasterize(flat[None], uv_faces, size, size, rule=rule, backend=backend)


def make_chart(
    uv_coordinates: Tensor, uv_faces: Tensor, faces: Tensor, size: int, rule: Rule = "standard"
) -> UvChart:
    """Find the mesh point under every texel.

    Args:
        uv_coordinates: ``[T, 2]``, u right, v up.
        uv_faces: int ``[F, 3]`` into the texture vertices.
        faces: int ``[F, 3]`` into the mesh vertices, in the same order of triangles and corners.
        size: U.
        rule: of the rasteriser; ``pytorch3d`` shifts the weights on small triangles by up to 6e-3.
    """
    fragments = rasterize_uv(uv_coordinates, uv_faces, size, rule)
    triangle = fragments.triangle.flatten()
    texels = (triangle >= 0).nonzero().flatten()
    return UvChart(
        size=size,
        texels=texels,
        vertex_ids=faces.long()[triangle[texels].long()],
        weights=fragments.barycentrics.reshape(-1, 3)[texels],
        faces=_texel_faces(texels, size),
    )


def _texel_faces(texels: Tensor, size: int) -> Tensor:
    """Per 2 x 2 block of texels (TL, BL, TR) and (TR, BL, BR), where all three corners are covered."""
    number = torch.full((size * size,), -1, dtype=torch.int64, device=texels.device)
    number[texels] = torch.arange(len(texels), device=texels.device)
    grid = number.view(size, size)
    top_left, top_right, bottom_left, bottom_right = (
        grid[:-1, :-1],
        grid[:-1, 1:],
        grid[1:, :-1],
        grid[1:, 1:],
    )
    upper = torch.stack([top_left, bottom_left, top_right], -1)
    lower = torch.stack([top_right, bottom_left, bottom_right], -1)
    triangles = torch.stack([upper, lower], 2).reshape(-1, 3)
    return triangles[(triangles >= 0).all(1)]


def sample_mesh(chart: UvChart, values: Tensor) -> Tensor:
    """Values per vertex ``[B, V, D]`` at the covered texels: ``[B, P, D]``, differentiable."""
    batch, count, channels = values.shape
    side_by_side = values.transpose(0, 1).reshape(count, batch * channels)
    mixed = F.embedding_bag(
        chart.vertex_ids, side_by_side, per_sample_weights=chart.weights.to(values.dtype), mode="sum"
    )
    return mixed.view(-1, batch, channels).transpose(0, 1)


def world2uv(chart: UvChart, values: Tensor) -> Tensor:
    """Values per vertex ``[B, V, D]`` as UV maps ``[B, D, U, U]``, 0 outside the chart, differentiable."""
    sampled = sample_mesh(chart, values).transpose(1, 2)  # [B, D, P]
    flat = sampled.new_zeros((*sampled.shape[:2], chart.size**2)).index_copy(2, chart.texels, sampled)
    return flat.view(*sampled.shape[:2], chart.size, chart.size)


def displaced_normals(
    positions: Tensor, normals: Tensor, displacement: Tensor, fixed_displacement: Tensor, mask: Tensor
) -> Tensor:
    """Normals of the displaced surface in UV space (specification 7.1).

    The point of every texel moves along its (not renormalised) normal by ``mask * displacement + fixed``, the
    fixed part everywhere [K8]; the normals of the texel grid are then blended by the mask with the coarse ones.
    Texels outside the chart have position 0; the triangles that reach them are part of the released numbers.

    Args:
        positions: ``[B, 3, U, U]``, head frame, metres, of `world2uv`. Take gradients off them as DECA does.
        normals: ``[B, 3, U, U]``, of `world2uv`.
        displacement: ``[B, 1, U, U]``, metres.
        fixed_displacement: ``[U, U]``, metres.
        mask: ``[U, U]``, 0 ... 1, where the detail counts (the head's ``face_eye_mask``).

    Returns:
        ``[B, 3, U, U]``, head frame.
    """
    moved = positions + (mask * displacement) * normals + fixed_displacement * normals
    return grid_normals(moved, MARGIN_X, MARGIN_Y) * mask + normals * (1 - mask)


def bent_normals(
    positions: Tensor, normals: Tensor, displacement: Tensor, fixed_displacement: Tensor, mask: Tensor
) -> Tensor:
    """Normals of the displaced surface in UV space for pictures: smooth ones, turned by the displacement alone.

    The texels of a coarse triangle lie in one plane, so `displaced_normals` shows every triangle of a coarse mesh as
    a facet. Here only the change that the displacement makes to the normals of the texel grid is added to the
    interpolated normals, which to first order is the normal of the smooth surface displaced.

    Args and returns: as `displaced_normals`; unit length where there is a surface, and on the `BORDER` texels around it.
    """
    along = (mask * displacement + fixed_displacement) * normals
    change = grid_normals(positions + along, MARGIN_X, MARGIN_Y) - grid_normals(positions, MARGIN_X, MARGIN_Y)
    return _grown(unit(unit(normals, dim=1) + mask * change, dim=1))


def _grown(normals: Tensor) -> Tensor:
    """Empty texels beside filled ones take over their mean: looked up between texels, a seam would else go dark."""
    for _ in range(BORDER):
        around = unit(F.avg_pool2d(normals, 3, stride=1, padding=1), dim=1)
        normals = torch.where((normals != 0).any(dim=1, keepdim=True), normals, around)
    return normals


DETAIL_NORMALS: Mapping[str, Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]] = MappingProxyType(
    {"faceted": displaced_normals, "smooth": bent_normals}
)


def detail_vertices(chart: UvChart, vertices: Tensor, normals: Tensor, displacement: Tensor) -> Tensor:
    """Vertices of the detail mesh, one per covered texel (specification 7.4); triangles: ``chart.faces``.

    Args:
        chart: of the head.
        vertices: ``[B, V, 3]``, head frame, metres.
        normals: ``[B, V, 3]``.
        displacement: ``[B, 1, U, U]``, metres along the renormalised interpolated normal: the decoder's output
            plus the fixed displacement, not masked [K8].

    Returns:
        ``[B, P, 3]``, head frame, metres.
    """
    along = at_texels(chart, displacement)
    return sample_mesh(chart, vertices) + along * unit(sample_mesh(chart, normals), dim=-1)


def at_texels(chart: UvChart, picture: Tensor) -> Tensor:
    """Values of UV maps ``[B, D, U, U]`` at the covered texels: ``[B, P, D]``, such as colours of detail vertices."""
    return picture.flatten(2)[:, :, chart.texels].transpose(1, 2)


def photo_to_uv(chart: UvChart, image: Tensor, projected: Tensor) -> Tensor:
    """The photo's colours pulled into the UV map, bilinear, without a visibility test (specification 7.2).

    The plain twin of what `pipeline.pictures` does in few operations. Textures of meshes are made with more care, in
    `export.texture`.

    Args:
        chart: of the head.
        image: ``[B, 3, H, W]``.
        projected: vertices in NDC of that image, ``[B, V, 2 or 3]``.

    Returns:
        ``[B, 3, U, U]``. Texels outside the chart take the centre of the image: mask them.
    """
    grid = world2uv(chart, projected[..., :2]).permute(0, 2, 3, 1)
    return F.grid_sample(image, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def texture_grid(fragments: Fragments, uv_coordinates: Tensor, uv_faces: Tensor) -> Tensor:
    """Where every rendered pixel looks into the UV map: ``[B, H, W, 2]`` for ``grid_sample``.

    The background is (0, 0), the middle of the map: multiply whatever is sampled there by the coverage.
    """
    return interpolate(fragments, uv_faces, uv_to_ndc(uv_coordinates)).permute(0, 2, 3, 1)
