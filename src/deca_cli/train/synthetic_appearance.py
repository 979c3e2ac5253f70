"""Skin colour and light of synthetic faces, judged at a few hundred points spread over the face.

The albedo is compared with what was painted. Of the light only the shape is known, because the camera's exposure and
colour cast belong to it: albedo times shading (spec section 6.5) must give the finished picture.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from deca_cli.render.lighting import sh_basis
from deca_cli.render.normals import vertex_normals
from deca_cli.render.uv import uv_to_ndc

if TYPE_CHECKING:
    from deca_cli.heads.albedo import Albedo
    from deca_cli.heads.model import HeadModel
    from deca_cli.synthetic.generator import SyntheticBatch
    from deca_cli.train.settings import LossWeights

POINTS = 512
BARE = 0.9  # of a pixel's surroundings must be the head's own skin
FACING = 0.3  # cosine between normal and view from which on a point is surely seen
LEAST_LIGHT = 0.5  # first harmonic: shades a face with 0.14


def spread_points(positions: Tensor, count: int) -> Tensor:
    """Indices int64 of points [P, 3] that lie evenly: each next one is farthest from those before."""
    chosen = [int((positions - positions.mean(0)).norm(dim=1).argmin())]
    distance = torch.full_like(positions[:, 0], torch.inf)
    for _ in range(min(count, len(positions)) - 1):
        distance = torch.minimum(distance, (positions - positions[chosen[-1]]).norm(dim=1))
        chosen.append(int(distance.argmax()))
    return torch.tensor(chosen, device=positions.device)


def sample_chart(maps: Tensor, places: Tensor) -> Tensor:
    """Values of maps [N, C, U, U] at places [P, 2] of the chart (x right, y down, -1..1): [N, C, P], bilinear."""
    grid = places[None, :, None].expand(len(maps), -1, -1, -1)
    return F.grid_sample(maps, grid, padding_mode="border", align_corners=False)[..., 0]


class FaceColours:
    """An albedo model at points of the face.

    Args:
        head: the head model.
        albedo: its skin colours, on the same device.
        face_vertices: int64, vertices to choose from.
    """

    def __init__(self, head: HeadModel, albedo: Albedo, face_vertices: Tensor) -> None:
        spread = spread_points(head.template_vertices[face_vertices].cpu(), POINTS)
        self.vertices = face_vertices[spread.to(face_vertices.device)]
        corner = torch.zeros(head.vertex_count, dtype=torch.int64, device=face_vertices.device)
        corner[head.faces.flatten()] = head.uv_faces.flatten()  # one of the texture vertices of each vertex
        self.places = uv_to_ndc(head.uv_coordinates)[corner[self.vertices]]
        self.mean = sample_chart(albedo.mean[None], self.places)[0]
        maps = albedo.basis.unflatten(1, albedo.mean.shape)
        self.basis = sample_chart(maps, self.places).flatten(1)  # [components, 3 P]

    def of(self, codes: Tensor) -> Tensor:
        """[N, components] -> [N, 3, P] display values."""
        return self.mean + (codes @ self.basis).unflatten(1, self.mean.shape)

    def of_maps(self, maps: Tensor) -> Tensor:
        """[N, 3, U, U] colours over the chart -> [N, 3, P]."""
        return sample_chart(maps, self.places)


def _shape(light: Tensor) -> Tensor:
    """Light [N, 9, 3] without its strength in each colour."""
    return light / light[:, :1].clamp_min(LEAST_LIGHT)


class AppearanceObjective:
    """Judges albedo and light codes.

    Args:
        head: the head model.
        colours: its albedo model at points of the face.
        weights: of the terms.
    """

    def __init__(self, head: HeadModel, colours: FaceColours, weights: LossWeights) -> None:
        self.head, self.colours, self.weights = head, colours, weights

    def __call__(
        self, parts: dict[str, Tensor], batch: SyntheticBatch
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Weighted terms, and values to look at; one value per face each."""
        w = self.weights
        light = parts["light"].unflatten(1, (9, 3))
        albedo, truth = self.colours.of(parts["albedo"]), self.colours.of_maps(batch.albedo)
        tone = (albedo.mean(2) - truth.mean(2)).abs().mean(1)
        picture, normals, seen = self.seen_points(batch)
        # The light explains the picture with the albedo as it is: exposure must not leak into the skin colour.
        shaded = albedo.detach() * torch.einsum("nkc,nkp->ncp", light, sh_basis(normals))
        off = ((shaded - picture).abs().mean(1) * seen).sum(1) / seen.sum(1).clamp_min(POINTS / 16)
        terms = {
            "albedo": w.albedo * (albedo - truth).abs().mean((1, 2)),
            "tone": w.tone * tone,
            "albedo_code": w.albedo_code * parts["albedo"].square().mean(1),
            "photometric": w.photometric * off,
            "light_colour": w.light_colour * (light - light.mean(2, keepdim=True)).square().mean((1, 2)),
            "light_shape": w.light_shape * (_shape(light) - _shape(batch.light)).abs().mean((1, 2)),
        }
        return terms, {"tone_off": tone, "picture_off": off}

    def seen_points(self, batch: SyntheticBatch) -> tuple[Tensor, Tensor, Tensor]:
        """The finished picture [N, 3, P] at the points, their normals [N, 3, P], and 1 where they are seen [N, P]."""
        chosen = self.colours.vertices
        grid = batch.projected[:, chosen, None]
        values = torch.cat([batch.images, batch.skin_mask[:, None]], 1)
        found = F.grid_sample(values, grid, padding_mode="zeros", align_corners=False)[..., 0]
        normals = vertex_normals(batch.vertices, self.head.faces)[:, chosen].mT
        seen = (found[:, 3] > BARE) & (normals[:, 2] > FACING)
        return found[:, :3], normals, seen.to(found.dtype)
