"""Other rasterisers on the same problem as ours: plain torch, and more as far as they are installed."""

# ruff: noqa: SLF001 - torch's loader of extensions has no public place to step in

import importlib.util
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor

from deca_cli.render import plain
from deca_cli.render.barycentrics import depth_of, doubled_area, surface_at_pixels, to_pixels, weights_at

Call = Callable[[], object]


class Peer(NamedTuple):
    """A rasteriser: (vertices, faces, attributes, size) -> calls that rasterise alone, and with channels."""

    name: str
    calls: Callable[[Tensor, Tensor, Tensor, int], tuple[Call, Call]]


# Pixels whose samples the plain version holds at a time.
PLAIN_PIXELS = 1 << 22
Z_OFFSET = 10.0


def available() -> list[Peer]:
    """Plain torch, and those that this machine has."""
    known = (Peer("nvdiffrast", _nvdiffrast), Peer("pytorch3d", _pytorch3d))
    return [Peer("plain torch", _plain)] + [peer for peer in known if importlib.util.find_spec(peer.name)]


def _plain(vertices: Tensor, faces: Tensor, attributes: Tensor, size: int) -> tuple[Call, Call]:
    """What can be done with torch alone: all samples of all bounding boxes at once, then a scattered minimum."""
    items = max(1, PLAIN_PIXELS // size**2)

    def alone() -> tuple[Tensor, Tensor, Tensor]:
        triangle = torch.cat([plain_triangles(part, faces, size) for part in vertices.split(items)])
        return triangle, *surface_at_pixels(vertices, faces, triangle, "standard", Z_OFFSET)

    def with_channels() -> Tensor:
        triangle, barycentrics, _ = alone()
        return plain.interpolate(triangle, barycentrics, faces, attributes)

    return alone, with_channels


def plain_triangles(vertices: Tensor, faces: Tensor, size: int) -> Tensor:
    """Triangle seen at every pixel, int32 [B, size, size]; rule `standard`, the same arithmetic and ties as ours."""
    corners = to_pixels(vertices, size, size, Z_OFFSET)[:, faces.long()].flatten(0, 1)  # [B F, 3, 3]
    area, solid = doubled_area(corners)
    low = corners[..., :2].amin(1).clamp(0, size).ceil().long()
    extent = (corners[..., :2].amax(1).clamp(-1, size - 1).floor().long() - low + 1).clamp(min=0)
    samples = extent.prod(-1) * (solid & corners.flatten(1).isfinite().all(1))
    owner = torch.arange(len(samples), device=samples.device).repeat_interleave(samples)
    number = torch.arange(len(owner), device=owner.device) - (samples.cumsum(0) - samples)[owner]
    column = number % extent[owner, 0] + low[owner, 0]
    row = number.div(extent[owner, 0], rounding_mode="floor") + low[owner, 1]
    weights = weights_at(corners[owner], column, row, 1.0 / area[owner])
    depth = depth_of(weights, corners[owner, :, 2], "standard").float()
    seen = (weights[0] > 0) & (weights[1] >= 0) & (weights[2] >= 0) & (depth > 0)
    keys = depth.view(torch.int32).long() << 32 | owner % len(faces)
    places = (owner.div(len(faces), rounding_mode="floor") * size + row) * size + column
    nothing = torch.iinfo(torch.int64).max
    best = torch.full((len(vertices) * size**2,), nothing, device=keys.device)
    best.scatter_reduce_(0, places, torch.where(seen, keys, nothing), "amin")
    return torch.where(best < nothing, best & 0xFFFFFFFF, -1).int().view(-1, size, size)


@contextmanager
def extensions_in_sys_modules() -> Iterator[None]:
    """What torch's loader of extensions loads can be imported by its name.

    nvdiffrast has its plug-in built and loaded by torch, then imports it by name, which newer versions of torch do not
    provide for.
    """
    from torch.utils import cpp_extension

    plain = cpp_extension._import_module_from_library

    def loaded(name: str, path: str, is_python_module: bool) -> object:
        module = plain(name, path, is_python_module)
        if is_python_module:
            sys.modules[name] = module
        return module

    cpp_extension._import_module_from_library = loaded
    try:
        yield
    finally:
        cpp_extension._import_module_from_library = plain


def _nvdiffrast(vertices: Tensor, faces: Tensor, attributes: Tensor, size: int) -> tuple[Call, Call]:
    import nvdiffrast.torch as dr

    with extensions_in_sys_modules():
        context = dr.RasterizeCudaContext()
    clip = torch.nn.functional.pad(vertices, (0, 1), value=1.0)

    def alone() -> Tensor:
        return dr.rasterize(context, clip, faces, (size, size))[0]

    def with_channels() -> Tensor:
        return dr.interpolate(attributes, alone(), faces)[0]

    return alone, with_channels


def _pytorch3d(vertices: Tensor, faces: Tensor, attributes: Tensor, size: int) -> tuple[Call, Call]:
    from pytorch3d.ops import interpolate_face_attributes
    from pytorch3d.renderer.mesh import rasterize_meshes
    from pytorch3d.structures import Meshes

    points = vertices * vertices.new_tensor([-1.0, -1.0, 1.0]) + vertices.new_tensor([0.0, 0.0, 10.0])
    meshes = Meshes(points, faces.long()[None].expand(len(points), -1, -1))
    corners = attributes[:, faces.long()].flatten(0, 1)  # [B F, 3, D]

    def alone() -> tuple[Tensor, ...]:
        return rasterize_meshes(
            meshes, (size, size), blur_radius=0.0, faces_per_pixel=1, perspective_correct=False
        )

    def with_channels() -> Tensor:
        found, _, barycentrics, _ = alone()
        return interpolate_face_attributes(found, barycentrics, corners)

    return alone, with_channels
