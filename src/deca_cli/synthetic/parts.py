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
from deca_cli.synthetic.skin_fields import SkinFields, measure_lashes, measure_skin

if TYPE_CHECKING:
    from deca_cli.heads.assets import HeadAssets
    from deca_cli.heads.model import HeadModel


PAINTED_SKIN = ("skin", "scalp", "neck", "lips", "brows")  # no ears: beards do not grow there
HOLLOWS = 1.5  # exponent: a coarse mesh smooths the corners of eyes and nose, where photos are darkest
MOUTH_ENTRANCE, MOUTH_DEPTH = 0.006, 0.016  # metres behind the lips from which, and over which, light fades
CAVITY_LIGHT = 0.75  # what cheeks, gums and tongue get at the entrance; teeth stand in the open
BARE = ("skin", "ears", "lips", "brows", "eye_sockets", "eyeball_left", "eyeball_right")
PAINTED = (PAINTED_SKIN, ("scalp",), ("mouth_cavity", "tongue", "gums"), ("teeth_upper", "teeth_lower"))


@dataclass(frozen=True)
class HeadParts:
    """What the generator knows about one head, on the device of that head."""

    skin_vertices: Tensor  # int64 [P] vertices of the skin (no eyeballs, teeth, tongue)
    face_vertices: Tensor  # int64, front of the face: what the encoder is asked to place
    ear_vertices: Tensor  # int64
    eye_centres: Tensor  # [2, 3] left, right, metres
    eye_directions: Tensor  # [V, 4] direction from the eyeball's centre at rest, and 1 on eyeballs
    neck_base: Tensor  # [3] centre of the neck's lower end
    bare: Tensor  # [V, 1] 1 on the face's own surface: skin, ears, lips, brows, eyes; 0 on scalp, neck, in the mouth
    reach: Tensor  # [V, 1] share of any light that gets as deep into the mouth, 1 outside
    ambient_occlusion: Tensor  # [V, 1] share of the surroundings each vertex of the template sees
    detail_mask: Tensor  # [D, D] 0..1 over the chart, where wrinkles belong
    fields: SkinFields
    lashes: Tensor  # [1, 1, L, L] distance from the roots of the lashes (skin_fields.measure_lashes)


LASH_SIZE = 512  # texels: lashes are finer than anything else that is painted


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


def _mouth_reach(template: Tensor, cavity: Tensor, teeth: Tensor, lips: Tensor) -> Tensor:
    """[V, 1] share of light that gets to each vertex: 1 outside the mouth, less the deeper it lies behind the lips.

    Args:
        template: [V, 3].
        cavity, teeth: [V] 1 on cheeks, gums and tongue, and on teeth.
        lips: [68, 3] landmarks.
    """
    behind = (lips[[61, 62, 63], 2].mean() - MOUTH_ENTRANCE - template[:, 2]).clamp_min(0)
    deep = torch.exp(-behind / MOUTH_DEPTH)
    reach = torch.where(cavity > 0, deep * CAVITY_LIGHT, torch.where(teeth > 0, deep, torch.ones_like(deep)))
    return reach[:, None]


def find_parts(head: HeadModel, assets: HeadAssets, texture_size: int) -> HeadParts:
    """Look up the parts of a head with named regions.

    Args:
        head: the model, on the device where everything is wanted.
        assets: its arrays.
        texture_size: side of the painted textures in pixels.

    Raises:
        ModelError: the head has no named regions (FLAME has none).
    """
    template = head.template_vertices

    def region(*names: str) -> Tensor:
        return torch.from_numpy(assets.region(*names)).to(template.device)

    landmarks = head.on_landmarks(template[None])[0]
    joints = head.joints(template[None])[0]
    centres = joints[[head.joint_names.index(name) for name in ("eye_left", "eye_right")]]
    masks = torch.zeros(len(template), len(PAINTED) + 1, device=template.device)
    for column, names in enumerate((*PAINTED, BARE)):
        masks[region(*names), column] = 1
    masks, bare = masks[:, :-1], masks[:, -1:]
    neck, face = region("neck"), region("skin", "lips", "brows")
    low = neck[template[neck, 1].argsort()[: max(8, len(neck) // 12)]]
    return HeadParts(
        skin_vertices=region(*PAINTED_SKIN, "ears"),
        face_vertices=face[template[face, 2] > landmarks[[1, 15], 2].mean() - 0.01],
        ear_vertices=region("ears"),
        eye_centres=centres,
        eye_directions=_eye_directions(template, [region("eyeball_left"), region("eyeball_right")], centres),
        neck_base=(template[low].amin(0) + template[low].amax(0)) / 2,
        bare=bare,
        reach=_mouth_reach(template, masks[:, 2], masks[:, 3], landmarks),
        ambient_occlusion=_open_mouth(
            ambient_occlusion(template, head.faces) ** HOLLOWS, masks[:, 2] + masks[:, 3]
        ),
        detail_mask=torch.from_numpy(assets.face_eye_mask).to(template.device),
        fields=_measure_chart(head, masks, landmarks, texture_size),
        lashes=_measure_lashes(head, landmarks),
    )


def _eye_directions(template: Tensor, eyeballs: list[Tensor], centres: Tensor) -> Tensor:
    """[V, 4]: direction from the centre of the eyeball, and 1 on eyeballs; zeros elsewhere."""
    directions = torch.zeros(len(template), 4, device=template.device)
    for vertices, centre in zip(eyeballs, centres, strict=True):
        directions[vertices, :3] = F.normalize(template[vertices] - centre, dim=1)
        directions[vertices, 3] = 1
    return directions


def _measure_lashes(head: HeadModel, landmarks: Tensor) -> Tensor:
    """[1, 1, L, L] distance from the roots of the lashes over the chart; texels outside it lie far away."""
    chart, covered = uv_values(head, head.template_vertices, LASH_SIZE)
    positions = torch.where(
        covered[..., None], chart.permute(1, 2, 0), torch.full_like(chart[0, ..., None], -1.0)
    )
    return measure_lashes(positions, landmarks)[None, None]


def _measure_chart(head: HeadModel, masks: Tensor, landmarks: Tensor, size: int) -> SkinFields:
    """The fields of the chart; texels outside it lie far from everything."""
    chart, covered = uv_values(head, torch.cat([head.template_vertices, masks], 1), size)
    positions = chart[:3].permute(1, 2, 0)
    positions = torch.where(covered[..., None], positions, torch.full_like(positions, -1.0))
    return measure_skin(positions, landmarks, *chart[3:])
