"""The photographer: background, body, glasses, hair and things in front, all in linear light, on one device."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from deca_cli.render.interpolate import interpolate
from deca_cli.render.normals import vertex_normals
from deca_cli.render.rasterize import rasterize
from deca_cli.synthetic import accessories, hair, light, occluders
from deca_cli.synthetic.background import Backgrounds, Crowd
from deca_cli.synthetic.constants import constant
from deca_cli.synthetic.fusing import fuser
from deca_cli.synthetic.scene import Scene, Surface, covering
from deca_cli.synthetic.shading import BodyPixels, facing, shade_body, shade_glasses
from deca_cli.synthetic.wrinkle_shading import SurfaceFrames, slopes

if TYPE_CHECKING:
    from deca_cli.heads.model import HeadModel
    from deca_cli.synthetic.draws import Draws
    from deca_cli.synthetic.parts import HeadParts
    from deca_cli.synthetic.settings import GeneratorSettings

CROWD = 64  # faces of one batch that may stand in the background of the next
BUST_VALUES = (0.9, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0)  # of a clothed point, in the order of Studio.body_values
SHADOW_BIAS = 0.006  # metres behind the lit surface from which a point lies in shadow


class Studio:
    """Everything that stands around a head, and the light on it.

    Args:
        head: the head model, on the device.
        parts: named parts of that head.
        settings: what to draw.
        draws: source of randomness.
    """

    def __init__(self, head: HeadModel, parts: HeadParts, settings: GeneratorSettings, draws: Draws) -> None:
        self.head, self.parts, self.settings, self.draws = head, parts, settings, draws
        device = draws.device
        self.backgrounds = Backgrounds(draws, count=settings.background_textures)
        eye_height = float(parts.eye_centres[:, 1].mean())
        self.hair = hair.HairShell(head.template_vertices[parts.skin_vertices], eye_height, draws)
        self.bust = accessories.Bust(parts.neck_base)
        self.glasses_faces, self.glasses_parts = (t.to(device) for t in accessories.glasses_faces())
        self.body_faces = torch.cat([head.faces, self.bust.faces + head.vertex_count])
        uv = torch.cat([head.uv_coordinates * 2 - 1, self.bust.pattern_position])
        self.body_uv = uv * constant((1.0, -1.0), device)  # rows of textures run downwards
        self.body_uv_faces = torch.cat([head.uv_faces, self.bust.faces + len(head.uv_coordinates)])
        of_head = torch.cat([parts.ambient_occlusion, parts.eye_directions, parts.bare, parts.reach], 1)
        of_bust = torch.zeros_like(of_head[: len(self.bust.template)]) + constant(BUST_VALUES, device)
        self.body_values = torch.cat(
            [of_head, of_bust]
        )  # [P, 7] ambient occlusion, eye directions, bare, reach
        # Fusing these chains of small operations saves a tenth of a batch's time on a GPU.
        fuse = fuser(fused=settings.fused)
        self.illuminate = fuse(light.illuminate)
        self.facing, self.slopes, self.shade_body = fuse(facing), fuse(slopes), fuse(shade_body)
        self.lay_patch, self.shade_glasses = fuse(occluders.lay_patch), fuse(shade_glasses)
        self.lay_capsules, self.shade_hair = fuse(occluders.lay_capsules), fuse(self.hair.shade)
        self.frames = SurfaceFrames(head, parts.detail_mask) if settings.wrinkle_share > 0 else None
        self.crowd = Crowd(CROWD, self.backgrounds.size, device)

    def photograph(self, scene: Scene) -> Tensor:
        """Everything that light does: [N, 4, S, S] linear RGB, and how much of the pixel is the face's bare surface."""
        s, draws, count = self.settings, self.draws, len(scene.vertices)
        # A face in the background of a picture without a face would make the answer wrong.
        crowded = draws.chance(s.crowd_share, count) & ~scene.absent
        behind = self.backgrounds.sample(draws, count, s.image_size, self.crowd, crowded)
        picture = covering(behind * scene.lights.behind[:, None, None, None])
        picture, body_depth = self._draw_body(picture, scene)
        picture = self._draw_glasses(picture, body_depth, scene)
        picture = self._draw_hair(picture, body_depth, scene)
        picture = self.lay_capsules(picture, occluders.sample_objects(draws, count, s.object_share))
        patch = self.backgrounds.sample(draws, count, s.image_size)
        picture = self.lay_patch(picture, patch, occluders.sample_patch(draws, count, s.patch_share))
        picture = self.lay_capsules(picture, occluders.sample_hands(draws, count, s.hand_share))
        self.crowd.remember(picture[:CROWD, :3])
        return picture

    def _surface(
        self, points: Tensor, hidden: Tensor, scene: Scene, faces: Tensor, extra: Tensor | None = None
    ) -> Surface:
        """Rasterise points [N, P, 3] (camera-aligned, metres); triangles with a hidden point [N, P] are left out.

        ``extra`` [P, D] are further values per point, wanted at the pixels.
        """
        placed = scene.to_screen(points).masked_fill(hidden[..., None], math.nan)
        fragments = rasterize(placed, faces, self.settings.image_size, self.settings.image_size)
        normals = vertex_normals(points, faces)
        values = [normals, points] if extra is None else [normals, points, extra.expand(len(points), -1, -1)]
        pixels = interpolate(fragments, faces, torch.cat(values, -1)).contiguous()
        return Surface(fragments, self.facing(pixels[:, :3]), pixels[:, 3:6], pixels[:, 6:])

    def _draw_body(self, picture: Tensor, scene: Scene) -> tuple[Tensor, Tensor]:
        """Head and clothed shoulders over the background; returns the picture and the depth [N, S, S]."""
        s, draws, count = self.settings, self.draws, len(picture)
        bust = self.bust.vertices(draws, scene.parameters.rotation)
        no_bust = ~draws.chance(s.bust_share, count, 1).expand(-1, bust.shape[1])
        hidden = torch.cat([torch.zeros_like(scene.vertices[..., 0], dtype=torch.bool), no_bust], 1)
        body = torch.cat([scene.vertices, bust], 1)
        values = self.body_values
        if self.frames is not None:
            tangents = F.pad(self.frames.tangents(scene.vertices), (0, 0, 0, bust.shape[1]))
            values = torch.cat([values.expand(count, -1, -1), tangents], 2)
        surface = self._surface(body, hidden, scene, self.body_faces, values)
        fragments = surface.fragments
        uv = interpolate(fragments, self.body_uv_faces, self.body_uv).permute(0, 2, 3, 1)
        on_head = (fragments.covered & (fragments.triangle < len(self.head.faces)))[:, None]
        cloth = self.backgrounds.sample(draws, count, s.image_size)
        seen = BodyPixels(
            covered=fragments.covered[:, None],
            on_head=on_head,
            skin=F.grid_sample(scene.painted, uv, padding_mode="border", align_corners=False),
            cloth=F.grid_sample(cloth, uv, padding_mode="border", align_corners=False),
            to_lash=F.grid_sample(
                self.parts.lashes.expand(count, -1, -1, -1), uv, padding_mode="border", align_corners=False
            ),
            normals=surface.normals,
            values=surface.extra,
            relief=self._relief(scene, uv),
            lit=self._lit_share(scene, surface.positions),
        )
        return self.shade_body(picture, seen, scene.skin, scene.lights), fragments.depth

    def _relief(self, scene: Scene, uv: Tensor) -> Tensor | None:
        """Slopes and height [N, 3, S, S] of the wrinkles at the pixels, if the skin has any."""
        if self.frames is None or scene.relief is None:
            return None
        return F.grid_sample(self.slopes(scene.relief), uv, align_corners=False)

    def _lit_share(self, scene: Scene, positions: Tensor) -> Tensor:
        """Share of the key light that reaches each pixel [N, 1, S, S], by a depth map seen from the light."""
        size, vertices, forward = self.settings.shadow_size, scene.vertices, scene.lights.key_direction
        upright = constant(((0.0, 1.0, 0.0),), forward.device)
        sideways = constant(((1.0, 0.0, 0.0),), forward.device)
        helper = torch.where(forward[:, 1:2].abs() > 0.9, sideways, upright)
        right = F.normalize(torch.linalg.cross(helper, forward), dim=-1)
        rows = torch.stack([right, torch.linalg.cross(forward, right), forward], 1)  # x, y, towards the light
        centre = vertices.mean(1, keepdim=True)
        scale = 1 / (vertices - centre).norm(dim=-1).amax(1)[:, None, None]
        flip = constant((1.0, -1.0, -1.0), vertices.device)

        def seen_from_light(points: Tensor) -> Tensor:
            return ((points - centre) @ rows.mT) * scale * flip

        depth = rasterize(seen_from_light(vertices), self.head.faces, size, size).depth
        depth = torch.where(depth.isfinite(), depth, torch.full_like(depth, 9.0))
        pixels = seen_from_light(positions.permute(0, 2, 3, 1).flatten(1, 2))
        grid = pixels[..., :2].unflatten(1, positions.shape[2:])
        nearest = F.grid_sample(depth[:, None], grid, padding_mode="border", align_corners=False)
        bias = SHADOW_BIAS * scale[..., None]
        shaded = ((pixels[..., 2].reshape(nearest.shape) - nearest - bias) / bias).clamp(0, 1)
        return 1 - shaded * scene.lights.shadow[:, None, None, None]

    def _draw_glasses(self, picture: Tensor, body_depth: Tensor, scene: Scene) -> Tensor:
        """Frames cover, lenses tint and reflect."""
        style = accessories.sample_glasses(
            self.draws, len(picture), self.settings.glasses_share, self.settings.glare_share
        )
        marks = self.head.on_landmarks(scene.unposed)
        ears = scene.unposed[:, self.parts.ear_vertices, 2].mean(1)
        worn = accessories.glasses_vertices(style, marks[:, 42:48].mean(1), marks[:, 36:42].mean(1), ears)
        without = ~style.worn[:, None].expand(-1, worn.shape[1])
        surface = self._surface(scene.to_camera(worn), without, scene, self.glasses_faces)
        fragments, lights = surface.fragments, scene.lights
        lens = (self.glasses_parts[fragments.triangle.clamp_min(0).long()] != accessories.FRAME)[:, None]
        in_front = (fragments.covered & (fragments.depth < body_depth + 1e-4))[:, None]
        return self.shade_glasses(picture, in_front, lens, surface.normals, surface.positions, style, lights)

    def _draw_hair(self, picture: Tensor, body_depth: Tensor, scene: Scene) -> Tensor:
        """The shell with soft edges over everything it lies in front of."""
        draws, count, shape = self.draws, len(picture), self.hair
        fringes = self.settings.fringe_share
        style = hair.sample_hair(draws, count, scene.skin.scalp_colour, len(shape.patterns), fringes)
        shell, bare = shape.vertices(style, scene.unposed[:, self.parts.skin_vertices])
        bare = bare | ~draws.chance(self.settings.hair_share, count, 1)
        surface = self._surface(scene.to_camera(shell), bare, scene, shape.faces)
        shell_coordinates = torch.stack([shape.azimuth, shape.height], -1)
        coordinates = interpolate(surface.fragments, shape.faces, shell_coordinates)
        colour, alpha, gloss = self.shade_hair(style, coordinates[:, 0], coordinates[:, 1])
        ones = torch.ones_like(alpha)
        shaded = self.illuminate(colour, surface.normals, scene.lights, ones * 0.9, ones, gloss)
        shown = surface.fragments.covered & (surface.fragments.depth < body_depth)
        return torch.lerp(picture, covering(shaded), alpha * shown[:, None])
