"""Codes in, frames out: decode a batch, rasterise each head once, colour only where it is, give the frames away.

Frames leave one by one as soon as they are drawn, so memory does not grow with the clip.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from deca_cli.animate.looks import ALBEDO, DETAIL, NORMALS, TEXTURED
from deca_cli.animate.posing import Poser
from deca_cli.animate.shade import Skin, shade
from deca_cli.animate.shade_plain import shade_plain
from deca_cli.errors import UsageError
from deca_cli.render.rasterize import rasterize

if TYPE_CHECKING:
    from collections.abc import Iterator

    from deca_cli.animate.frame import Frame
    from deca_cli.animate.looks import Light
    from deca_cli.animate.posing import Posed
    from deca_cli.animate.source import Source
    from deca_cli.networks.codes import Codes
    from deca_cli.pipeline.captures import Decoder

CPU_BATCH, GPU_BATCH = 2, 32  # on a CPU more would not fit its caches
GPU_SAMPLES = (
    GPU_BATCH * 1024**2
)  # drawn at once on a GPU at most, about 5 GB: 32 frames of 512 with four samples a pixel
# Pixels of a panel up to which edges are smoothed by four samples a pixel, unless asked for.
SMOOTH_UP_TO = 1_000_000


@dataclass(frozen=True, eq=False)
class Panel:
    """One rendering and where it goes in the frame."""

    kind: str
    frame: Frame
    left: int = 0  # first column in the whole frame


@dataclass(frozen=True, eq=False)
class Scene:
    """Everything but the codes."""

    decoder: Decoder
    panels: tuple[Panel, ...]  # all of one size
    light: Light
    texture: np.ndarray | None = None  # uint8 [U, U, 3]
    albedo: np.ndarray | None = None  # uint8 [A, A, 3]
    opacity: np.ndarray | None = None  # float32 [u, u] in 0..1, how much of the background each texel covers
    samples: int | None = None  # per pixel and axis; None = 2 where that is cheap, else 1

    @property
    def width(self) -> int:
        """Of the whole frame."""
        return sum(panel.frame.width for panel in self.panels)

    @property
    def height(self) -> int:
        """Of the whole frame."""
        return self.panels[0].frame.height

    @property
    def samples_per_axis(self) -> int:
        """Samples per pixel along each axis."""
        if self.samples is not None:
            return self.samples
        return 2 if self.panels[0].frame.width * self.height <= SMOOTH_UP_TO else 1

    @staticmethod
    def of(
        source: Source, panels: tuple[Panel, ...], light: Light, opacity: np.ndarray | None = None
    ) -> Scene:
        """The scene of a source with what its panels need.

        Raises:
            UsageError: a panel needs a texture or albedo that this source does not have.
        """
        kinds = {panel.kind for panel in panels}
        texture = source.texture if TEXTURED in kinds else None
        albedo = source.albedo if ALBEDO in kinds else None
        scene = Scene(source.decoder, panels, light, texture, albedo, opacity)
        for kind in kinds:
            scene.picture_for(kind)
        return scene

    def needs_detail(self) -> bool:
        """Whether any panel shows wrinkles that this pack can make."""
        shown = {panel.kind for panel in self.panels}
        return self.decoder.chart is not None and bool(shown & {DETAIL, TEXTURED, NORMALS})

    def picture_for(self, kind: str) -> np.ndarray | None:
        """What lies on the skin in that rendering."""
        picture = {TEXTURED: self.texture, ALBEDO: self.albedo}.get(kind)
        if picture is None and kind in {TEXTURED, ALBEDO}:
            raise UsageError(missing_picture(kind))
        return picture


def missing_picture(kind: str) -> str:
    """Why a rendering cannot be made."""
    if kind == ALBEDO:
        return "--rendering albedo needs a model with a skin colour model, which this one does not have. Use textured."
    return (
        "--rendering textured needs the source's photo, and it is no longer where it was. "
        "Give the photo itself as source, or use shape or detail."
    )


def render_clip(scene: Scene, codes: Codes, batch: int | None = None) -> Iterator[np.ndarray]:
    """Frames uint8 [H, W, 3] RGB, one for each of the codes, in order.

    Args:
        scene: what is drawn.
        codes: of N frames, on the pack's device.
        batch: frames decoded together; a usual number if left out.
    """
    on_gpu = codes.pose.is_cuda
    size = batch or (_gpu_batch(scene) if on_gpu else CPU_BATCH)
    draw = _GpuPainter(scene) if on_gpu else _CpuPainter(scene)
    poser = Poser(scene.decoder, detail=scene.needs_detail())
    for start in range(0, codes.batch_size, size):
        part = codes.select(slice(start, start + size))
        yield from draw.frames(poser.pose(part))


def _gpu_batch(scene: Scene) -> int:
    """As many frames as the memory of a small GPU holds."""
    frame = scene.panels[0].frame
    return max(1, min(GPU_BATCH, GPU_SAMPLES // (frame.width * frame.height * scene.samples_per_axis**2)))


class _CpuPainter:
    """Draws head after head within its bounding box."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        topology = scene.decoder.topology
        self.faces = torch.from_numpy(topology.faces).int()
        self.corners = topology.faces.astype(np.int32)
        uv = topology.uv_coordinates[topology.uv_faces].astype(np.float32)
        self.uv = np.ascontiguousarray(np.stack([uv[..., 0], 1 - uv[..., 1]], axis=-1))
        self.pictures = {panel.kind: scene.picture_for(panel.kind) for panel in scene.panels}
        opacity = np.zeros((0, 0), np.float32) if scene.opacity is None else scene.opacity
        self.opacity = np.ascontiguousarray(np.repeat(opacity[..., None], 3, axis=2))
        light = topology.clay_light
        self.clay_light = np.zeros(0, np.float32) if light is None else light

    def frames(self, posed: Posed) -> Iterator[np.ndarray]:
        detail = None if posed.detail is None else posed.detail.permute(0, 2, 3, 1).contiguous().numpy()
        nothing = np.zeros((0, 0, 3), np.float32)
        for item in range(len(posed.normals)):
            frame = np.empty((self.scene.height, self.scene.width, 3), np.uint8)
            normals = posed.normals[item].numpy()
            fine = nothing if detail is None else detail[item]
            limit = (
                np.zeros(0, np.float32) if posed.facing_limit is None else posed.facing_limit[item].numpy()
            )
            known: tuple[Frame, tuple[slice, slice], np.ndarray, np.ndarray] | None = None
            for panel in self.scene.panels:
                out = frame[:, panel.left : panel.left + panel.frame.width]
                out[:] = panel.frame.background
                if known is None or not _same_place(known[0], panel.frame):
                    known = (panel.frame, *self._fragments(posed.projected[item], panel.frame))
                picture = self.pictures[panel.kind]
                texture = np.zeros((0, 0, 3), np.uint8) if picture is None else picture
                skin = Skin(
                    self.corners,
                    self.uv,
                    normals,
                    fine,
                    texture,
                    self.opacity,
                    self.clay_light,
                    limit,
                )
                _, region, triangle, weights = known
                if triangle.size:
                    shade(
                        triangle,
                        weights,
                        skin,
                        self.scene.light,
                        panel.kind,
                        out[region],
                        torch.get_num_threads(),
                    )
            yield frame

    def _fragments(
        self, projected: Tensor, frame: Frame
    ) -> tuple[tuple[slice, slice], np.ndarray, np.ndarray]:
        """The head's bounding box in the frame, and the samples in it."""
        placed = frame.place(projected)
        (left, top), (right, bottom) = placed[:, :2].amin(0).tolist(), placed[:, :2].amax(0).tolist()
        x0, x1 = _pixels(left, right, frame.width)
        y0, y1 = _pixels(top, bottom, frame.height)
        region = (slice(y0, y1), slice(x0, x1))
        if x0 >= x1 or y0 >= y1:
            return region, np.zeros((0, 0), np.int32), np.zeros((0, 0, 3), np.float32)
        # NDC of the frame -> NDC of the box.
        size = placed.new_tensor([frame.width / (x1 - x0), frame.height / (y1 - y0)])
        corner = placed.new_tensor([2 * x0 / frame.width - 1, 2 * y0 / frame.height - 1])
        boxed = torch.cat([(placed[:, :2] - corner) * size - 1, placed[:, 2:]], dim=1)
        factor = self.scene.samples_per_axis
        fragments = rasterize(boxed[None], self.faces, factor * (y1 - y0), factor * (x1 - x0), backend="cpu")
        return region, fragments.triangle[0].numpy(), fragments.barycentrics[0].numpy()


class _GpuPainter:
    """Draws a whole batch at once, panels of the same place from one rasterisation."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        head = scene.decoder.pack.deca.head
        self.head = head
        device = head.template_vertices.device
        self.pictures = {
            panel.kind: None
            if picture is None
            else torch.from_numpy(picture).to(device).permute(2, 0, 1) / 255
            for panel in scene.panels
            for picture in [scene.picture_for(panel.kind)]
        }
        self.opacity = None if scene.opacity is None else torch.from_numpy(scene.opacity).to(device)[None]
        light = scene.decoder.topology.clay_light
        self.clay_light = None if light is None else torch.from_numpy(light).to(device)
        self.backgrounds = [
            torch.from_numpy(
                np.broadcast_to(np.asarray(panel.frame.background, np.uint8), (panel.frame.height, panel.frame.width, 3)).copy()
            ).to(device).permute(2, 0, 1)[None]
            for panel in scene.panels
        ]  # fmt: skip

    @torch.inference_mode()
    def frames(self, posed: Posed) -> Iterator[np.ndarray]:
        drawn = []
        fragments = None
        for panel, background in zip(self.scene.panels, self.backgrounds, strict=True):
            frame, factor = panel.frame, self.scene.samples_per_axis
            if fragments is None or not _same_place(self.scene.panels[0].frame, frame):
                placed = frame.place(posed.projected)
                fragments = rasterize(placed, self.head.faces, factor * frame.height, factor * frame.width)
            colour, mask = shade_plain(
                fragments, self.head.faces, self.head.uv_coordinates, self.head.uv_faces, posed.normals, posed.detail,
                self.pictures[panel.kind], self.scene.light, panel.kind, self.opacity, posed.facing_limit, self.clay_light,
            )  # fmt: skip
            if factor > 1:
                colour, mask = (torch.nn.functional.avg_pool2d(values, factor) for values in (colour, mask))
            mixed = 255 * colour + (1 - mask) * background + 0.5
            drawn.append(mixed.clamp(0, 255).to(torch.uint8))
        pictures = torch.cat(drawn, dim=3).permute(0, 2, 3, 1).contiguous().cpu().numpy()
        yield from pictures


def _same_place(one: Frame, other: Frame) -> bool:
    """Whether the head falls on the same pixels of both."""
    return one is other or (one.width, one.height, one.scale, one.shift) == (
        other.width,
        other.height,
        other.scale,
        other.shift,
    )


def _pixels(low: float, high: float, count: int) -> tuple[int, int]:
    """Pixels that NDC from low to high can touch; an empty range if it lies outside or is not finite."""
    if not (math.isfinite(low) and math.isfinite(high)):
        return 0, 0
    first, last = math.floor((low + 1) / 2 * count), math.ceil((high + 1) / 2 * count)
    return min(max(first, 0), count), min(max(last, 0), count)
