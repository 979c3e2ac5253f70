"""The official release's numbers, and the same pictures made by this package's public path from an official pack."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch

from deca_cli.heads.camera import ndc_to_photo
from deca_cli.networks.codes import Codes
from deca_cli.networks.deca import VISIBLE_BELOW
from deca_cli.photo.read import read_photo
from deca_cli.render import passes, uv
from deca_cli.render.lighting import sh_shading
from deca_cli.render.normals import vertex_normals
from deca_cli.render.rasterize import rasterize

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from deca_cli.networks.deca import Head
    from deca_cli.packs.store import Pack
    from deca_cli.photo.read import Photo
    from deca_cli.render.fragments import Fragments, Rule

CODE_NAMES = {
    "shape": "shape",
    "tex": "albedo",
    "exp": "expression",
    "pose": "pose",
    "cam": "camera",
    "light": "light",
    "detail": "detail",
}  # theirs -> ours
EMPTY_GREY = 0.7  # of the texture where nothing is taken from the photo and there is no texture model


@dataclass(frozen=True)
class Pictures:
    """One head drawn, before it is turned into the official outputs."""

    fragments: Fragments
    surface: passes.Surface
    points: Tensor  # [B, V, 3] NDC of the picture


class Release:
    """A parity set and the pack made of its weights."""

    def __init__(self, folder: Path, weights: Path, pack: Pack) -> None:
        self.folder = folder
        self.weights = weights
        self.pack = pack
        self.deca = pack.deca
        self.head = pack.deca.head
        self._arrays: dict[str, dict[str, np.ndarray]] = {}

    def arrays(self, name: str, prefix: str = "") -> dict[str, np.ndarray]:
        """The arrays of a file whose names begin with a prefix, without it."""
        if name not in self._arrays:
            with np.load(self.folder / f"{name}.npz") as archive:
                self._arrays[name] = dict(archive)
        return {
            key.removeprefix(prefix): value
            for key, value in self._arrays[name].items()
            if key.startswith(prefix)
        }

    @cached_property
    def photo_cases(self) -> list[dict]:
        return json.loads((self.folder / "preprocess.json").read_text())

    def photo(self, index: int) -> Photo:
        name = self.photo_cases[index]["photo"]
        inside = self.folder / "photos" / name
        return read_photo(inside if inside.exists() else self.folder / name)

    @cached_property
    def images(self) -> Tensor:
        return torch.from_numpy(self.arrays("codes")["images_u8"]).float() / 255

    @cached_property
    def codes(self) -> Codes:
        """Our codes of all photos."""
        with torch.inference_mode():
            encoding = self.deca.encode(self.images)
        return encoding.codes

    @cached_property
    def official_codes(self) -> Codes:
        """Theirs, so that a comparison stands on its own."""
        stored = self.arrays("codes")
        return Codes(**{ours: torch.from_numpy(stored[theirs]) for theirs, ours in CODE_NAMES.items()})

    @cached_property
    def chart(self) -> uv.UvChart:
        return uv.make_chart(self.head.uv_coordinates, self.head.uv_faces, self.head.faces, 256)

    def draw(
        self, vertices: Tensor, normals: Tensor, points: Tensor, size: tuple[int, int], rule: Rule
    ) -> Pictures:
        fragments = rasterize(points, self.head.faces, *size, rule=rule)
        surface = passes.read_surface(
            fragments,
            self.head.faces,
            self.head.uv_coordinates,
            self.head.uv_faces,
            vertices,
            normals,
            points,
        )
        return Pictures(fragments, surface, points)

    @torch.inference_mode()
    def decode(
        self,
        codes: Codes,
        image: Tensor,
        *,
        texture: bool,
        extract: bool = True,
        rule: Rule = "standard",
        into: tuple[Tensor, Tensor] | None = None,
        detail_of: Codes | None = None,
    ) -> dict[str, Tensor]:
        """Everything of the official decode and visualisation, by its official names.

        Args:
            codes: Of one or more photos.
            image: [B, 3, 224, 224] crops.
            texture: With the texture model.
            extract: Take the texture from the photo where it is seen.
            rule: Of the rasteriser.
            into: Draw into the original photo: [B, 3, H, W] and `to_photo` [B, 3, 3].
            detail_of: Codes whose expression and jaw drive the wrinkles.
        """
        head = self.deca.decode(codes)
        chart = self.chart if rule == "standard" else uv.make_chart(
            self.head.uv_coordinates, self.head.uv_faces, self.head.faces, 256, rule
        )  # fmt: skip
        displacement = head.displacement
        if detail_of is not None:
            mixed = replace(codes, pose=detail_of.pose, expression=detail_of.expression)
            displacement = self.deca.displacement(mixed)
        mask, fixed = self.head.face_eye_mask, self.head.fixed_displacement
        positions, normals = uv.world2uv(chart, head.vertices), uv.world2uv(chart, head.normals)
        fine = uv.displaced_normals(positions, normals, displacement, fixed, mask)
        points, background, size = head.projected, None, (224, 224)
        landmarks3d = head.landmarks3d
        if into is not None:
            background, to_photo = into
            size = (background.shape[2], background.shape[3])
            points = ndc_to_photo(points, to_photo, 224, 0.0, size)
            landmarks3d = ndc_to_photo(landmarks3d, to_photo, 224, 0.0, size)
        drawn = self.draw(head.vertices, head.normals, points, size, rule)
        surface = drawn.surface
        albedo = self.deca.albedo(codes.albedo) if texture else torch.zeros_like(fine)
        uv_texture = albedo * sh_shading(fine, codes.light)
        taken = uv.photo_to_uv(chart, image if background is None else background, points)
        rest = uv_texture if texture else torch.full_like(taken, EMPTY_GREY)
        result = {
            "op_verts": head.vertices,
            "op_trans_verts": head.projected,
            "op_landmarks2d": head.landmarks2d[..., :2],
            "op_landmarks3d": torch.cat(
                [landmarks3d, self.visible(head, points)[..., None].to(landmarks3d)], 2
            ),
            "op_landmarks3d_world": head.landmarks3d_world,
            "op_normals": head.normals,
            "op_displacement_map": displacement + fixed,
            "op_uv_detail_normals": fine,
            "op_grid": surface.grid,
            "op_alpha_images": surface.alpha,
            "op_normal_images": surface.normals,
            "op_rendered_images": passes.texture_pass(surface, albedo, None, background),
            "op_uv_texture": uv_texture,
            "op_uv_texture_gt": taken * mask + rest * (1 - mask) if extract else uv_texture,
            "vis_shape_images": passes.shape_pass(surface, None, background),
            "vis_shape_detail_images": passes.shape_pass(
                surface, passes.detail_normal_pass(surface, fine), background
            ),
            "depth_image": passes.depth_pass(drawn.fragments, self.head.faces, points),
        }
        return result | ({"op_albedo": albedo} if texture else {})

    def visible(self, head: Head, points: Tensor) -> Tensor:
        """[B, 68], which landmarks face the viewer. In the photo the release scales x and y and not z, and asks after that."""
        if points is head.projected:
            return head.landmarks_visible
        return self.head.on_landmarks(vertex_normals(points, self.head.faces))[..., 2] < VISIBLE_BELOW


def thinned(whole: np.ndarray, height: int, *, rows: int, given: int | None = None) -> np.ndarray:
    """The part that is stored: every N-th pixel from pixel 1 on (README); axes `rows` and `rows` + 1."""
    size = whole.shape[rows]
    if size == height:
        return whole
    step = given or next(step for step in range(2, size) if len(range(1, size, step)) == height)
    index: list[slice] = [slice(None)] * whole.ndim
    index[rows] = index[rows + 1] = slice(1, None, step)
    return whole[tuple(index)]
