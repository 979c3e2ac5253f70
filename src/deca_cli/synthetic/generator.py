"""Synthetic photos of the open head: drawn, dressed, lit, photographed and spoilt, on the fly and in batches.

The order of events is the order of ``FaceGenerator.batch``; each effect lives in a module of its own.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from deca_cli.synthetic import degrade, light
from deca_cli.synthetic.ageing import age_colours
from deca_cli.synthetic.draws import Draws
from deca_cli.synthetic.expressions import ExpressionSampler
from deca_cli.synthetic.fusing import fuser
from deca_cli.synthetic.lip_heights import LipHeights
from deca_cli.synthetic.parts import uv_values
from deca_cli.synthetic.recording import Recording
from deca_cli.synthetic.sampling import (
    FaceParameters,
    Framing,
    perspective_points,
    rotation_from_degrees,
    sample_framing,
    sample_parameters,
)
from deca_cli.synthetic.scene import Scene
from deca_cli.synthetic.shading import draw_albedo
from deca_cli.synthetic.skin import SkinPainter, to_display
from deca_cli.synthetic.skin_style import repeated, sample_skin
from deca_cli.synthetic.studio import Studio
from deca_cli.synthetic.wrinkles import Wrinkles

if TYPE_CHECKING:
    from deca_cli.heads.model import HeadModel
    from deca_cli.synthetic.parts import HeadParts
    from deca_cli.synthetic.settings import GeneratorSettings
    from deca_cli.synthetic.wrinkles import WrinkleStyle

PAINTED_WRINKLES = 0.2  # how much of the painted lines remains where wrinkles have a relief
AWAY, BESIDE, GONE = range(3)  # why a picture has no face


@dataclass(frozen=True)
class SyntheticBatch:
    """Pictures with their truth (N faces)."""

    images: Tensor  # [N, 3, S, S] display values in [0, 1]
    shape: Tensor  # [N, identity]
    expression: Tensor  # [N, 52]
    rotation: Tensor  # [N, 3, 3]
    vertices: Tensor  # [N, V, 3] camera-aligned, metres
    projected: Tensor  # [N, V, 2] NDC of the vertices, in perspective
    landmarks: Tensor  # [N, 68, 2] NDC
    is_face: Tensor  # [N] 1 where the picture shows the face, 0 for the pictures without one
    skin_mask: (
        Tensor  # [N, S, S] 1 where the picture shows the face's own bare surface (skin, eyes, brows, lips)
    )
    albedo: Tensor  # [N, 3, U, U] display values of the head's surface over the chart, eyes included
    light: Tensor  # [N, 9, 3] harmonics of the displayed shade before the picture is spoilt (light.shading_harmonics)
    person: Tensor  # [N] int64: equal numbers share identity code and skin
    displacement: Tensor | None = None  # [N, 1, D, D] metres over the chart (wrinkles.py), if asked for
    other_expression: Tensor | None = None  # [N, 52] another expression, which no picture shows
    other_displacement: Tensor | None = None  # [N, 1, D, D] the same skins under it


class FaceGenerator:
    """Draws batches of synthetic faces on one device.

    Args:
        head: the head model, on the device.
        parts: named parts of that head (eyes, mouth, scalp) and the fields of its chart.
        settings: what to draw.
        seed: seed of everything random.
    """

    def __init__(self, head: HeadModel, parts: HeadParts, settings: GeneratorSettings, seed: int) -> None:
        self.head, self.settings = head, settings
        device = head.template_vertices.device
        self.draws = Draws(seed, device)
        self.expressions = ExpressionSampler(head.expression_names, device)
        self.lip_heights = LipHeights(head)
        self.painter = SkinPainter(parts.fields, self.draws)
        self.studio = Studio(head, parts, settings, self.draws)
        fuse = fuser(fused=settings.fused)
        self.paint = fuse(self.painter.paint)
        self.draw_albedo = fuse(draw_albedo)
        self.chains = degrade.PixelChains().through(fuse)
        wrinkled = settings.wrinkle_share > 0 or settings.detail
        self.wrinkles = Wrinkles(head, parts, self.draws) if wrinkled else None
        self.recordings: dict[tuple[int, int], Recording[SyntheticBatch]] = {}
        self.eyes_at_rest, _ = uv_values(head, parts.eye_directions, settings.texture_size)

    @torch.no_grad()
    def batch(self, count: int, per_person: int = 1) -> SyntheticBatch:
        """Draw ``count`` pictures.

        Args:
            count: how many.
            per_person: so many pictures in a row show the same person (identity code, skin, brows, beard, make-up)
                with other expressions, poses, hair, light, camera and background.

        Raises:
            ValueError: ``count`` is not a multiple of ``per_person``.
            DeviceError: the settings ask for a CUDA graph, and there is no CUDA device or it cannot be recorded.
        """
        if per_person < 1 or count % per_person:
            raise ValueError(f"{count} pictures cannot be divided into persons of {per_person} pictures each")
        if not self.settings.graph:
            return self._draw(count, per_person)
        size = (count, per_person)
        if size not in self.recordings:
            lasting = [self.studio.crowd.faces, self.studio.crowd.known]
            self.recordings[size] = Recording(lambda: self._draw(*size), self.draws, lasting)
        return self.recordings[size].replay()

    def _draw(self, count: int, per_person: int) -> SyntheticBatch:
        """One batch. Nothing here may wait for the device or copy from the host, so that a CUDA graph can record it."""
        scene = self._compose(count, per_person)
        picture = self.studio.photograph(scene)
        images, bare = self._develop(picture, light.illuminant(scene.lights))
        projected = scene.to_screen(scene.vertices)
        people = torch.arange(count // per_person, device=self.draws.device)
        return SyntheticBatch(
            images=images,
            shape=scene.parameters.shape,
            expression=scene.parameters.expression,
            rotation=scene.parameters.rotation,
            vertices=scene.vertices,
            projected=projected[..., :2],
            landmarks=self.head.on_landmarks(projected)[..., :2],
            is_face=(~scene.absent).float(),
            skin_mask=(bare > 0.5).float(),
            albedo=self.draw_albedo(scene.painted, self.eyes_at_rest, scene.skin),
            light=light.shading_harmonics(scene.lights),
            person=people.repeat_interleave(per_person),
            **self._detail(scene),
        )

    def _detail(self, scene: Scene) -> dict[str, Tensor | None]:
        """The truth of the wrinkles, for the expressions of the pictures and for others."""
        if not self.settings.detail or self.wrinkles is None or scene.wrinkles is None:
            return {}
        other = self.expressions.sample(self.draws, len(scene.vertices))
        return {
            "displacement": scene.displacement,
            "other_expression": other,
            "other_displacement": self.wrinkles.displacement(scene.wrinkles, other),
        }

    def _develop(self, picture: Tensor, illuminant: Tensor) -> tuple[Tensor, Tensor]:
        """[N, 4, S, S] linear light and bareness -> display values [N, 3, S, S], bareness [N, S, S]."""
        linear, bare = picture[:, :3], picture[:, 3]
        if not self.settings.degrade:
            return to_display(linear), bare
        return degrade.degrade(self.draws, linear, bare, illuminant, self.settings.camera, self.chains)

    def use(self, settings: GeneratorSettings) -> None:
        """Draw by other settings from now on; a recorded batch is recorded anew.

        Poses, shares of the pictures and everything else that is drawn may differ; sizes, textures and what is compiled
        stay as the generator was made with.
        """
        if settings != self.settings:
            self.settings = self.studio.settings = settings
            self.recordings.clear()

    def renew(self) -> None:
        """Paint new background textures."""
        self.studio.backgrounds.renew(self.draws)

    def _compose(self, count: int, per_person: int) -> Scene:
        """Draw heads, pose them, put the camera in front of them, paint their skin."""
        s, draws = self.settings, self.draws
        parameters = sample_parameters(
            draws, count, self.head.shape_size, self.expressions, s.pose, per_person
        )
        thinned = self.lip_heights.thin(
            draws, parameters.shape[::per_person], s.thin_lips_share
        ).repeat_interleave(per_person, 0)
        parameters = replace(parameters, shape=thinned)
        absent = draws.chance(s.no_face_share, count)
        kind = draws.integers(3, count)
        parameters = self._turn_away(parameters, absent & (kind == AWAY))
        unposed = self.head.unposed(parameters.shape, parameters.expression)
        pivot = self.head.joints(unposed)[:, :1]
        vertices = (unposed - pivot) @ parameters.rotation.mT + pivot
        flat = perspective_points(vertices, parameters.perspective)
        framing = sample_framing(draws, self.head.on_landmarks(flat), s.crop)
        people = count // per_person
        style = self._style(count, per_person)
        skin = sample_skin(draws, people, s.skin)
        if style is not None:
            skin = age_colours(draws, skin, style.age[::per_person], s.ageing_share)
        skin = repeated(skin, per_person)
        if self.wrinkles is not None:
            skin = replace(skin, wrinkles=PAINTED_WRINKLES * skin.wrinkles)
        pattern = draws.integers(self.painter.variants, 4, people).repeat_interleave(per_person, 1)
        return Scene(
            parameters=parameters,
            unposed=unposed,
            pivot=pivot,
            vertices=vertices,
            framing=self._misplace(framing, absent & (kind == BESIDE), absent & (kind == GONE)),
            lights=light.sample_lights(draws, count, s.light),
            skin=skin,
            painted=self.paint(skin, pattern),
            **self._wrinkle(parameters.expression, style),
            absent=absent,
        )

    def _style(self, count: int, per_person: int) -> WrinkleStyle | None:
        """Everybody's age and wrinkles, whatever the face does."""
        if self.wrinkles is None:
            return None
        return self.wrinkles.sample(count, per_person, self.settings.wrinkle_share)

    def _wrinkle(self, expression: Tensor, style: WrinkleStyle | None) -> dict[str, Any]:
        """Everybody's wrinkles under their expressions."""
        if self.wrinkles is None or style is None:
            return {"wrinkles": None, "displacement": None, "relief": None}
        displacement = self.wrinkles.displacement(style, expression)
        relief = displacement + self.wrinkles.grain(style)
        return {"wrinkles": style, "displacement": displacement, "relief": relief}

    def _turn_away(self, parameters: FaceParameters, away: Tensor) -> FaceParameters:
        """Heads seen from behind."""
        draws, count = self.draws, len(away)
        yaw = draws.uniform(count, low=130, high=230)
        behind = rotation_from_degrees(yaw, draws.normal(count, std=12), draws.normal(count, std=12))
        rotation = torch.where(away[:, None, None], behind, parameters.rotation)
        return replace(parameters, rotation=rotation)

    def _misplace(self, framing: Framing, beside: Tensor, gone: Tensor) -> Framing:
        """Heads that lie mostly beside the crop or fill it many times over, and heads that are not there at all."""
        draws, count = self.draws, len(beside)
        turn = draws.uniform(count, low=0, high=2 * math.pi)
        aside = torch.stack([turn.cos(), turn.sin()], 1) * draws.uniform(count, 1, low=1.1, high=2.2)
        grow = draws.log_uniform(count, low=0.8, high=4.0)
        moved = (framing.shift + aside) * grow[:, None]
        shift = torch.where(beside[:, None], moved, framing.shift)
        return Framing(
            torch.where(beside, framing.scale * grow, framing.scale),
            torch.where(gone[:, None], shift + 20, shift),
        )
