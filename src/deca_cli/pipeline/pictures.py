"""All pictures of a decoded batch at the size of the crop, as the official decode makes them, in few large operations.

The passes of `render.passes` are the plain form of the same formulas. Here every map that several pictures need is
read once for the whole batch: one gather for all UV maps, one rasterisation and one interpolation for the crop.
Nothing waits for the GPU and no tensor is made from numbers on the way, so the work can be recorded as a CUDA graph.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from deca_cli.render.interpolate import interpolate
from deca_cli.render.lighting import sh_shading
from deca_cli.render.normals import vertex_normals
from deca_cli.render.passes import SHAPE_FACING, SHAPE_GREY, SHAPE_LIGHTS
from deca_cli.render.rasterize import rasterize
from deca_cli.render.uv import displaced_normals, rasterize_uv, uv_to_ndc

if TYPE_CHECKING:
    from deca_cli.networks.codes import Codes
    from deca_cli.networks.deca import Deca, Head
    from deca_cli.render.fragments import Backend

EMPTY_GREY = 0.7  # of the texture where nothing is taken from the photo and there is no texture model


class DecodePictures(nn.Module):
    """From codes and crops to heads and pictures: all that the release's decode gives, in few operations.

    For programs that want tensors, and for measuring against the release; `deca` itself draws on the photo
    (`export/`).

    What depends on the model alone (the UV chart and where its texels lie on the mesh) is worked out once.

    Args:
        deca: the model; must have detail networks.
        backend: of the rasteriser.
    """

    vertex_ids: Tensor  # int64 [U U, 3], under every texel; 0 outside the chart
    weights: Tensor  # [U U, 3], 0 outside the chart
    lights: Tensor  # [5, 3] unit directions of the shape picture's lights
    corners: Tensor  # [T, 2] texture vertices in the frame of pictures

    def __init__(self, deca: Deca, backend: Backend = "auto") -> None:
        super().__init__()
        head = deca.head
        self.deca, self.backend = deca, backend
        self.uv_size = len(head.face_eye_mask)
        fragments = rasterize_uv(head.uv_coordinates, head.uv_faces, self.uv_size, backend=backend)
        triangle = fragments.triangle.flatten().long()
        covered = (triangle >= 0)[:, None]
        corners = head.faces[triangle.clamp(min=0)]
        self.register_buffer("vertex_ids", torch.where(covered, corners, 0), persistent=False)
        self.register_buffer("weights", fragments.barycentrics.reshape(-1, 3) * covered, persistent=False)
        directions = F.normalize(
            torch.tensor([light[:3] for light in SHAPE_LIGHTS], dtype=torch.float32), dim=1
        )
        self.register_buffer("lights", directions.to(head.faces.device), persistent=False)
        self.register_buffer("corners", uv_to_ndc(head.uv_coordinates), persistent=False)
        self.brightness = SHAPE_GREY * SHAPE_LIGHTS[0][3] / len(SHAPE_LIGHTS)

    def forward(self, codes: Codes, images: Tensor) -> dict[str, Tensor]:
        """Decode and draw.

        Args:
            codes: of B crops.
            images: [B, 3, S, S] the crops, RGB in 0..1.

        Returns:
            By name, [B, C, S, S] on black: ``alpha``, ``normals``, ``shape``, ``detail_normals``, ``detail_shape``,
            ``depth`` (nearest 1, farthest 0, of each head by itself), and with an albedo model ``albedo`` and
            ``rendered`` (lit); [B, C, U, U] ``uv_detail_normals``, ``uv_displacement``, ``uv_texture`` and
            ``uv_photo`` (the photo where it counts, else the texture); and ``vertices``, ``projected``,
            ``landmarks2d``, ``landmarks3d`` of `Head`.
        """
        head = self.deca.decode(codes)
        maps = self._uv_maps(head, codes, images)
        return {
            "vertices": head.vertices,
            "projected": head.projected,
            "landmarks2d": head.landmarks2d,
            "landmarks3d": head.landmarks3d,
            **self._draw(head, codes, maps, images.shape[-1]),
            **maps,
        }

    def _uv_maps(self, head: Head, codes: Codes, images: Tensor) -> dict[str, Tensor]:
        assert head.displacement is not None  # noqa: S101 - the class asks for detail networks
        model = self.deca.head
        values = torch.cat([head.vertices, head.normals, head.projected[..., :2]], dim=-1)  # [B, V, 8]
        batch, count, channels = values.shape
        rows = values.transpose(0, 1).reshape(count, batch * channels)
        mixed = F.embedding_bag(self.vertex_ids, rows, per_sample_weights=self.weights, mode="sum")
        mixed = mixed.view(self.uv_size, self.uv_size, batch, channels).permute(2, 3, 0, 1)  # [B, 8, U, U]
        mask, fixed = model.face_eye_mask, model.fixed_displacement
        fine = displaced_normals(mixed[:, :3], mixed[:, 3:6], head.displacement, fixed, mask)
        grid = mixed[:, 6:].permute(0, 2, 3, 1)
        photo = F.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
        maps = {"uv_detail_normals": fine, "uv_displacement": head.displacement + fixed}
        if self.deca.albedo is None:
            return maps | {"uv_photo": torch.lerp(photo.new_full((), EMPTY_GREY), photo, mask)}
        albedo = self.deca.albedo(codes.albedo)
        fitting = albedo
        if albedo.shape[-1] != self.uv_size:
            fitting = F.interpolate(albedo, self.uv_size, mode="bilinear", align_corners=False)
        texture = fitting * sh_shading(fine, codes.light)
        return maps | {
            "uv_albedo": albedo,
            "uv_texture": texture,
            "uv_photo": torch.lerp(texture, photo, mask),
        }

    def _draw(self, head: Head, codes: Codes, maps: dict[str, Tensor], size: int) -> dict[str, Tensor]:
        model = self.deca.head
        fragments = rasterize(head.projected, model.faces, size, size, backend=self.backend)
        z = head.projected[..., 2:]
        near, far = z.amin(1, keepdim=True), z.amax(1, keepdim=True)
        nearness = (far - z) / (far - near).clamp(min=1e-12)
        facing = vertex_normals(head.projected, model.faces)[..., 2:]
        drawn = interpolate(fragments, model.faces, torch.cat([head.normals, facing, nearness], dim=-1))
        normals = drawn[:, :3]
        alpha = fragments.covered[:, None].to(normals.dtype)
        seen = alpha * (drawn[:, 3:4] < SHAPE_FACING)
        grid = interpolate(fragments, model.uv_faces, self.corners).permute(0, 2, 3, 1)
        fine = _look_up(maps["uv_detail_normals"], grid) * seen
        pictures = {
            "alpha": alpha,
            "normals": normals,
            "depth": drawn[:, 4:],
            "detail_normals": fine,
            "shape": self._clay(normals) * seen,
            "detail_shape": self._clay(fine) * seen,
        }
        if "uv_albedo" not in maps:
            return pictures
        albedo = _look_up(maps["uv_albedo"], grid) * alpha
        return pictures | {"albedo": albedo, "rendered": albedo * sh_shading(normals, codes.light)}

    def _clay(self, normals: Tensor) -> Tensor:
        """[B, 3, H, W] -> [B, 1, H, W] grey under the five lights; red, green and blue are equal."""
        cosines = F.linear(normals.permute(0, 2, 3, 1), self.lights).clamp_(0, 1)
        return self.brightness * cosines.sum(-1)[:, None]


def _look_up(texture: Tensor, grid: Tensor) -> Tensor:
    return F.grid_sample(texture, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
