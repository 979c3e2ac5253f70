"""Named parts of a head that the generator dresses and lights: eyes, mouth, scalp, ears, neck, and its shading."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from deca_cli.render.interpolate import interpolate
from deca_cli.render.normals import vertex_normals
from deca_cli.render.rasterize import rasterize
from deca_cli.synthetic.skin_fields import SkinFields, measure_skin

if TYPE_CHECKING:
    from deca_cli.heads.assets import HeadAssets
    from deca_cli.heads.model import HeadModel


@dataclass(frozen=True)
class HeadParts:
    """What the generator knows about one head, on the device of that head."""

    skin_vertices: Tensor  # int64 [P] vertices of the skin (no eyeballs, teeth, tongue)
    face_vertices: Tensor  # int64, front of the face: what the encoder is asked to place
    ear_vertices: Tensor  # int64
    eye_centres: Tensor  # [2, 3] left, right, metres
    eye_directions: Tensor  # [V, 4] direction from the eyeball's centre at rest, and 1 on eyeballs
    neck_base: Tensor  # [3] centre of the neck's lower end
    ambient_occlusion: Tensor  # [V, 1] share of the surroundings each vertex of the template sees
    fields: SkinFields


def uv_values(head: HeadModel, values: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Vertex values [V, D] on the chart: [D, size, size] and which texels are covered [size, size]."""
    corners = head.uv_coordinates * 2 - 1
    flat = torch.stack([corners[:, 0], -corners[:, 1], torch.ones_like(corners[:, 0])], -1)[None]
    fragments = rasterize(flat, head.uv_faces, size, size)
    return interpolate(fragments, head.faces, values)[0], fragments.covered[0]


def ambient_occlusion(vertices: Tensor, faces: Tensor, views: int = 96, size: int = 192) -> Tensor:
    """[V, 1] cosine-weighted share of evenly spread directions from which each vertex is seen."""
    index = torch.arange(views, device=vertices.device, dtype=torch.float32) + 0.5
    y = 1 - 2 * index / views
    turn = index * 2.399963  # golden angle
    radius = (1 - y * y).clamp_min(0).sqrt()
    directions = torch.stack([radius * turn.cos(), y, radius * turn.sin()], -1)
    helper = F.normalize(torch.tensor([0.31, 0.87, 0.38], device=vertices.device), dim=0).expand_as(
        directions
    )
    right = F.normalize(torch.linalg.cross(helper, directions), dim=-1)
    frames = torch.stack([right, torch.linalg.cross(directions, right), directions], 1)
    centred = vertices - vertices.mean(0)
    centred = centred / centred.norm(dim=1).max()
    seen = (centred @ frames.mT) * torch.tensor([1.0, -1.0, -1.0], device=vertices.device)
    depth = torch.cat([rasterize(view[None], faces, size, size).depth for view in seen])
    nearest = F.grid_sample(depth[:, None].nan_to_num(posinf=9.0), seen[:, None, :, :2], align_corners=False)[
        :, 0, 0
    ]
    visible = (seen[..., 2] < nearest + 0.02).float()
    normals = vertex_normals(vertices[None], faces)[0]
    weight = (directions @ normals.T).clamp_min(0)
    return ((visible * weight).sum(0) / weight.sum(0).clamp_min(1e-6))[:, None]


def _open_mouth(occlusion: Tensor, in_mouth: Tensor) -> Tensor:
    """The template's mouth is closed; what is in it is only seen when it is open, and then gets some light."""
    return torch.where(in_mouth[:, None] > 0, occlusion.clamp_min(0.4), occlusion)


def find_parts(head: HeadModel, assets: HeadAssets, texture_size: int) -> HeadParts:
    """Look up the parts of a head with named regions.

    Args:
        head: the model, on the device where everything is wanted.
        assets: its arrays.
        texture_size: side of the painted textures in pixels.

    Raises:
        ModelError: the head has no named regions (FLAME has none).
    """
    device = head.template_vertices.device

    def region(*names: str) -> Tensor:
        return torch.from_numpy(assets.region(*names)).to(device)

    template = head.template_vertices
    landmarks = head.on_landmarks(template[None])[0]
    eyes = [region("eyeball_left"), region("eyeball_right")]
    joints = head.joints(template[None])[0]
    centres = joints[[head.joint_names.index(name) for name in ("eye_left", "eye_right")]]
    directions = torch.zeros(len(template), 4, device=device)
    for vertices, centre in zip(eyes, centres, strict=True):
        directions[vertices, :3] = F.normalize(template[vertices] - centre, dim=1)
        directions[vertices, 3] = 1
    masks = torch.zeros(len(template), 4, device=device)
    skin_names = ("skin", "scalp", "neck", "ears", "lips", "brows")
    for column, names in enumerate(
        (
            tuple(n for n in skin_names if n != "ears"),
            ("scalp",),
            ("mouth_cavity", "tongue", "gums"),
            ("teeth_upper", "teeth_lower"),
        )
    ):
        masks[region(*names), column] = 1
    chart, covered = uv_values(head, torch.cat([template, masks], 1), texture_size)
    positions = torch.where(
        covered[..., None], chart[:3].permute(1, 2, 0), torch.full_like(chart[:3].permute(1, 2, 0), -1.0)
    )
    skin = region(*skin_names)
    neck = region("neck")
    low = neck[template[neck, 1].argsort()[: max(8, len(neck) // 12)]]
    face = region("skin", "lips", "brows")
    return HeadParts(
        skin_vertices=skin,
        face_vertices=face[template[face, 2] > landmarks[[1, 15], 2].mean() - 0.01],
        ear_vertices=region("ears"),
        eye_centres=centres,
        eye_directions=directions,
        neck_base=(template[low].amin(0) + template[low].amax(0)) / 2,
        ambient_occlusion=_open_mouth(ambient_occlusion(template, head.faces), masks[:, 2] + masks[:, 3]),
        fields=measure_skin(positions, landmarks, chart[3], chart[4], chart[5], chart[6]),
    )
