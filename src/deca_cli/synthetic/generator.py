"""Synthetic photos of the open head: drawn, dressed, lit, photographed and spoilt, on the fly and in batches.

The order of events is the order of ``FaceGenerator.batch``; each effect lives in a module of its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from deca_cli.render.interpolate import interpolate
from deca_cli.render.normals import vertex_normals
from deca_cli.render.rasterize import rasterize
from deca_cli.synthetic import accessories, degrade, hair, light, occluders
from deca_cli.synthetic.background import Backgrounds
from deca_cli.synthetic.draws import Draws
from deca_cli.synthetic.expressions import ExpressionSampler
from deca_cli.synthetic.sampling import (
    CropRange,
    FaceParameters,
    Framing,
    PoseRange,
    perspective_points,
    rotation_from_degrees,
    sample_framing,
    sample_parameters,
)
from deca_cli.synthetic.skin import SkinPainter, SkinStyle, eye_colour, sample_skin

if TYPE_CHECKING:
    from deca_cli.heads.model import HeadModel
    from deca_cli.render.fragments import Fragments
    from deca_cli.synthetic.parts import HeadParts

ToScreen = Callable[[Tensor], Tensor]  # [N, P, 3] -> [N, P, 3]


@dataclass(frozen=True)
class GeneratorSettings:
    """What is drawn and how often; every share can be set to 0 to switch the effect off."""

    image_size: int = 160
    texture_size: int = 256
    pose: PoseRange = PoseRange()
    crop: CropRange = CropRange()
    hair_share: float = 1.0
    glasses_share: float = 0.22
    hand_share: float = 0.10
    object_share: float = 0.10
    patch_share: float = 0.10
    bust_share: float = 0.88
    shadow_size: int = 128
    no_face_share: float = 0.08
    crowd_share: float = 0.15
    degrade: bool = True


@dataclass(frozen=True)
class SyntheticBatch:
    """Pictures with their truth (N faces)."""

    images: Tensor  # [N, 3, S, S] display values in [0, 1]
    shape: Tensor  # [N, identity]
    expression: Tensor  # [N, 52]
    rotation: Tensor  # [N, 3, 3]
    unposed: Tensor  # [N, V, 3] head frame before rotation, metres
    vertices: Tensor  # [N, V, 3] camera-aligned, metres
    projected: Tensor  # [N, V, 2] NDC of the vertices, in perspective
    landmarks: Tensor  # [N, 68, 2] NDC
    is_face: Tensor  # [N] 1 where the picture shows the face, 0 for the pictures without one
    albedo: Tensor  # [N, 3, U, U] linear


@dataclass(frozen=True)
class _Surface:
    """One raster layer in the picture: which pixels, their normals and positions (camera-aligned)."""

    fragments: Fragments
    normals: Tensor  # [N, 3, S, S]
    positions: Tensor  # [N, 3, S, S] metres


class FaceGenerator:
    """Draws batches of synthetic faces on one device.

    Args:
        head: the head model, on the device.
        parts: named parts of that head (eyes, mouth, scalp) and the fields of its chart.
        settings: what to draw.
        seed: seed of everything random.
    """

    def __init__(self, head: HeadModel, parts: HeadParts, settings: GeneratorSettings, seed: int) -> None:
        self.head, self.parts, self.settings = head, parts, settings
        device = head.template_vertices.device
        self.draws = Draws(seed, device)
        self.expressions = ExpressionSampler(head.expression_names, device)
        self.painter = SkinPainter(parts.fields, self.draws)
        self.backgrounds = Backgrounds(self.draws)
        eye_height = float(parts.eye_centres[:, 1].mean())
        self.hair = hair.HairShell(head.template_vertices[parts.skin_vertices], eye_height, self.draws)
        self.bust = accessories.Bust(parts.neck_base)
        self.glasses_faces, self.glasses_parts = (t.to(device) for t in accessories.glasses_faces())
        self.body_faces = torch.cat([head.faces, self.bust.faces + head.vertex_count])
        uv = torch.cat([head.uv_coordinates * 2 - 1, self.bust.pattern_position])
        self.body_uv = uv * torch.tensor([1.0, -1.0], device=device)  # rows of textures run downwards
        self.body_uv_faces = torch.cat([head.uv_faces, self.bust.faces + len(head.uv_coordinates)])
        self.crowd: Tensor | None = None

    @torch.no_grad()
    def batch(self, count: int) -> SyntheticBatch:
        """Draw ``count`` pictures."""
        s, draws = self.settings, self.draws
        parameters = sample_parameters(draws, count, self.head.shape_size, self.expressions, s.pose)
        absent = draws.chance(s.no_face_share, count)
        parameters = self._turn_away(parameters, absent)
        unposed = self.head.unposed(parameters.shape, parameters.expression)
        pivot = self.head.joints(unposed)[:, :1]
        vertices = (unposed - pivot) @ parameters.rotation.mT + pivot
        flat = perspective_points(vertices, parameters.perspective)
        framing = sample_framing(draws, self.head.on_landmarks(flat), s.crop)
        framing = self._misplace(framing, absent)
        skin = sample_skin(draws, count)
        painted = self.painter.paint(skin, draws)
        linear = self._photograph(parameters, unposed, pivot, vertices, framing, skin, painted)
        projected = framing.apply(flat)
        images = degrade.degrade(draws, linear) if s.degrade else degrade.to_display(linear)
        self.crowd = linear[: min(count, 64)]
        return SyntheticBatch(
            images=images,
            shape=parameters.shape,
            expression=parameters.expression,
            rotation=parameters.rotation,
            unposed=unposed,
            vertices=vertices,
            projected=projected[..., :2],
            landmarks=self.head.on_landmarks(projected)[..., :2],
            is_face=(~absent).float(),
            albedo=painted,
        )

    def _turn_away(self, parameters: FaceParameters, absent: Tensor) -> FaceParameters:
        """Pictures without a face: seen from behind."""
        count = len(absent)
        yaw = self.draws.uniform(count, low=130, high=230)
        behind = rotation_from_degrees(
            yaw, self.draws.normal(count, std=12), self.draws.normal(count, std=12)
        )
        rotation = torch.where(absent[:, None, None], behind, parameters.rotation)
        return FaceParameters(parameters.shape, parameters.expression, rotation, parameters.perspective)

    def _misplace(self, framing: Framing, absent: Tensor) -> Framing:
        """Two thirds of the pictures without a face lose the head altogether: pushed out of the picture."""
        gone = absent & self.draws.chance(0.67, len(absent))
        shift = torch.where(gone[:, None], framing.shift + 20, framing.shift)
        return Framing(framing.scale, shift)

    def _photograph(
        self,
        parameters: FaceParameters,
        unposed: Tensor,
        pivot: Tensor,
        vertices: Tensor,
        framing: Framing,
        skin: SkinStyle,
        painted: Tensor,
    ) -> Tensor:
        """Everything that light does: linear RGB [N, 3, S, S]."""
        s, draws, count = self.settings, self.draws, len(vertices)
        lights = light.sample_lights(draws, count)

        def to_camera(points: Tensor) -> Tensor:
            return (points - pivot) @ parameters.rotation.mT + pivot

        def to_screen(points: Tensor) -> Tensor:
            return framing.apply(perspective_points(points, parameters.perspective))

        picture = self.backgrounds.sample(draws, count, s.image_size, self.crowd, s.crowd_share)
        style = hair.sample_hair(draws, count, skin.scalp_colour, len(self.hair.patterns))
        shell, bare = self.hair.vertices(style, unposed[:, self.parts.skin_vertices])
        cloth = self.backgrounds.sample(draws, count, s.image_size)
        picture, body_depth = self._draw_body(
            picture, parameters, vertices, to_screen, lights, skin, painted, cloth
        )
        picture = self._draw_glasses(picture, body_depth, unposed, to_camera, to_screen, lights)
        bare = bare | ~draws.chance(s.hair_share, count, 1)
        picture = self._draw_hair(picture, body_depth, style, to_camera(shell), bare, to_screen, lights)
        picture = occluders.add_objects(draws, picture, s.object_share)
        picture = occluders.add_patch(
            draws, picture, self.backgrounds.sample(draws, count, s.image_size), s.patch_share
        )
        return occluders.add_hands(draws, picture, s.hand_share)

    def _surface(self, points: Tensor, hidden: Tensor, to_screen: ToScreen, faces: Tensor) -> _Surface:
        """Rasterise points [N, P, 3] (camera-aligned, metres); triangles with a hidden point [N, P] are left out."""
        placed = to_screen(points).masked_fill(hidden[..., None], math.nan)
        fragments = rasterize(placed, faces, self.settings.image_size, self.settings.image_size)
        normals = vertex_normals(points, faces)
        pixels = interpolate(fragments, faces, torch.cat([normals, points], -1))
        facing = F.normalize(pixels[:, :3], dim=1)
        facing = facing * torch.where(facing[:, 2:3] < 0, -1.0, 1.0)  # both sides of thin sheets are lit
        return _Surface(fragments, facing, pixels[:, 3:6])

    def _draw_body(
        self,
        picture: Tensor,
        parameters: FaceParameters,
        vertices: Tensor,
        to_screen: ToScreen,
        lights: light.Lights,
        skin: SkinStyle,
        painted: Tensor,
        cloth: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Head and clothed shoulders over the background; returns the picture and the depth [N, S, S]."""
        draws, count = self.draws, len(vertices)
        bust = self.bust.vertices(draws, parameters.rotation)
        no_bust = ~draws.chance(self.settings.bust_share, count, 1).expand(-1, bust.shape[1])
        hidden = torch.cat([torch.zeros_like(vertices[..., 0], dtype=torch.bool), no_bust], 1)
        surface = self._surface(torch.cat([vertices, bust], 1), hidden, to_screen, self.body_faces)
        fragments = surface.fragments
        uv = interpolate(fragments, self.body_uv_faces, self.body_uv).permute(0, 2, 3, 1)
        on_head = (fragments.triangle >= 0) & (fragments.triangle < len(self.head.faces))
        skin_rgb = F.grid_sample(painted, uv, padding_mode="border", align_corners=False)
        cloth_rgb = F.grid_sample(cloth, uv, padding_mode="border", align_corners=False)
        albedo = torch.where(on_head[:, None], skin_rgb, cloth_rgb * 0.8)
        albedo, eyes = self._draw_eyes(albedo, fragments, skin)
        occlusion = self._per_vertex(fragments, self.parts.ambient_occlusion)
        occlusion = torch.where(on_head[:, None], occlusion, torch.ones_like(occlusion) * 0.9)
        gloss = torch.where(
            on_head[:, None], torch.ones_like(occlusion), torch.full_like(occlusion, 0.15)
        ) * (1 + 5 * eyes)
        lit = self._cast_shadow(vertices, surface.positions, lights)
        shaded = light.illuminate(albedo, surface.normals, lights, occlusion, lit, gloss)
        shown = fragments.covered[:, None]
        return torch.where(shown, shaded, picture), fragments.depth

    def _per_vertex(self, fragments: Fragments, head_values: Tensor) -> Tensor:
        """[V, D] values of the head at the pixels, 0 on the bust: [N, D, S, S]."""
        padded = F.pad(head_values, (0, 0, 0, len(self.bust.template)))
        return interpolate(fragments, self.body_faces, padded)

    def _draw_eyes(self, albedo: Tensor, fragments: Fragments, skin: SkinStyle) -> tuple[Tensor, Tensor]:
        """Iris, pupil and white, from the direction of each eyeball point in the eye at rest."""
        rest = self._per_vertex(
            fragments, self.parts.eye_directions
        )  # [N, 4, S, S]: direction, on an eyeball
        direction = F.normalize(rest[:, :3], dim=1)
        eyes = (rest[:, 3:] > 0.99).float()
        angle = torch.acos(direction[:, 2].clamp(-0.9999, 0.9999))
        around = torch.atan2(direction[:, 1], direction[:, 0])
        spoke = torch.sin(around * 23 + 3 * torch.sin(around * 7)) * 0.6
        return torch.lerp(albedo, eye_colour(angle, spoke, skin), eyes), eyes

    def _cast_shadow(self, vertices: Tensor, positions: Tensor, lights: light.Lights) -> Tensor:
        """Share of the key light that reaches each pixel [N, 1, S, S], by a depth map seen from the light."""
        size = self.settings.shadow_size
        forward = lights.key_direction
        helper = torch.where(
            forward[:, 1:2].abs() > 0.9,
            forward.new_tensor([[1.0, 0.0, 0.0]]),
            forward.new_tensor([[0.0, 1.0, 0.0]]),
        )
        right = F.normalize(torch.linalg.cross(helper, forward), dim=-1)
        frame = torch.stack(
            [right, torch.linalg.cross(forward, right), forward], 1
        )  # rows: x, y, towards the light
        centre = vertices.mean(1, keepdim=True)
        scale = 1 / (vertices - centre).norm(dim=-1).amax(1)[:, None, None]
        flip = vertices.new_tensor([1.0, -1.0, -1.0])
        seen = ((vertices - centre) @ frame.mT) * scale * flip
        depth = rasterize(seen, self.head.faces, size, size).depth
        depth = torch.where(depth.isfinite(), depth, torch.full_like(depth, 9.0))
        pixels = positions.permute(0, 2, 3, 1).reshape(len(vertices), -1, 3)
        pixels = ((pixels - centre) @ frame.mT) * scale * flip
        grid = pixels[..., :2].reshape(len(vertices), *positions.shape[2:], 2)
        nearest = F.grid_sample(depth[:, None], grid, padding_mode="border", align_corners=False)
        behind = pixels[..., 2].reshape(nearest.shape) - nearest - 0.006 * scale[..., None]
        shaded = (behind / (0.006 * scale[..., None])).clamp(0, 1)
        return 1 - shaded * lights.shadow[:, None, None, None]

    def _draw_glasses(
        self,
        picture: Tensor,
        body_depth: Tensor,
        unposed: Tensor,
        to_camera: ToScreen,
        to_screen: ToScreen,
        lights: light.Lights,
    ) -> Tensor:
        """Frames cover, lenses tint and reflect."""
        count = len(picture)
        style = accessories.sample_glasses(self.draws, count, self.settings.glasses_share)
        marks = self.head.on_landmarks(unposed)
        ears = unposed[:, self.parts.ear_vertices, 2].mean(1)
        points = to_camera(
            accessories.glasses_vertices(style, marks[:, 42:48].mean(1), marks[:, 36:42].mean(1), ears)
        )
        without = ~style.worn[:, None].expand(-1, points.shape[1])
        surface = self._surface(points, without, to_screen, self.glasses_faces)
        part = self.glasses_parts[surface.fragments.triangle.clamp_min(0).long()]
        in_front = (surface.fragments.covered & (surface.fragments.depth < body_depth + 1e-4))[:, None]
        lens = (part != accessories.FRAME)[:, None]
        n = (slice(None), slice(None), None, None)
        white = torch.ones_like(picture)
        ones = torch.ones_like(picture[:, :1])
        frame = light.illuminate(style.colour[n] * white, surface.normals, lights, ones, ones, ones * 2)
        sweep = surface.positions[:, 0] * 40 + surface.positions[:, 1] * 60
        glare = torch.sigmoid(torch.sin(sweep) * 6 - 4)[:, None] * style.glare[:, None, None, None]
        glass = torch.lerp(
            picture, style.lens_colour[n] * lights.ambient[n] * white, style.lens_alpha[:, None, None, None]
        )
        glass = glass + glare * (lights.ambient + 0.3 * lights.key)[n]
        return torch.where(in_front, torch.where(lens, glass, frame), picture)

    def _draw_hair(
        self,
        picture: Tensor,
        body_depth: Tensor,
        style: hair.HairStyle,
        shell: Tensor,
        bare: Tensor,
        to_screen: ToScreen,
        lights: light.Lights,
    ) -> Tensor:
        """The shell with soft edges over everything it lies in front of."""
        surface = self._surface(shell, bare, to_screen, self.hair.faces)
        coordinates = interpolate(
            surface.fragments, self.hair.faces, torch.stack([self.hair.azimuth, self.hair.height], -1)
        )
        colour, alpha, gloss = self.hair.shade(style, coordinates[:, 0], coordinates[:, 1])
        ones = torch.ones_like(alpha)
        shaded = light.illuminate(colour, surface.normals, lights, ones * 0.9, ones, gloss)
        shown = surface.fragments.covered & (surface.fragments.depth < body_depth)
        return torch.lerp(picture, shaded, alpha * shown[:, None])
