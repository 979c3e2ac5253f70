"""From what is asked for to frames: the three ways to fill a clip, and how it is looked at."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from deca_cli.animate.combine import Pose, TransferRule, transfer
from deca_cli.animate.composite import composite_clip
from deca_cli.animate.frame import CROP, portrait_camera, square_in, whole_heads
from deca_cli.animate.looks import DETAIL, RENDERINGS, TEXTURED, Light
from deca_cli.animate.mapping import retarget
from deca_cli.animate.motion import join, resample
from deca_cli.animate.named import named_motion
from deca_cli.animate.presets import OWN_EXPRESSION, PRESETS, SHOWN, SPEAKING
from deca_cli.animate.render import Panel, Scene, render_clip
from deca_cli.animate.results import cut_square, finest_shape
from deca_cli.animate.spaces import space_of
from deca_cli.animate.speech import speak
from deca_cli.animate.teaser import OFFICIAL_CAMERA, Columns, official_columns, smooth_columns
from deca_cli.animate.timeline import play
from deca_cli.errors import UsageError
from deca_cli.heads.rotations import axis_angle_to_matrix, matrix_to_axis_angle

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from torch import Tensor

    from deca_cli.animate.drivers import Driver
    from deca_cli.animate.frame import Window
    from deca_cli.animate.motion import Motion
    from deca_cli.animate.source import Source
    from deca_cli.animate.timeline import Keyframe
    from deca_cli.networks.codes import Codes

USUAL_FPS = 25.0
TEASER_FPS, TEASER_SIDE = 10.0, 360
PANEL_SIDE = 512
HOLD_S = 1.0  # that a driver of one picture is shown


@dataclass(frozen=True, eq=False)
class Style:
    """How a clip looks."""

    kinds: tuple[str, ...]  # of looks.RENDERINGS; empty = the finest shape beside the textured head
    size: tuple[int, int] | None
    fps: float | None
    light: Light
    camera: str = "portrait"
    zoom: float = 1.0
    pose: Pose | None = None
    relative: bool = False
    neutral: str = "calmest"
    intensity: float = 1.0
    keep: tuple[str, ...] = ()
    composite: bool = False
    seconds: float | None = None


@dataclass(frozen=True, eq=False)
class Show:
    """A clip that is ready to be drawn."""

    length: int
    fps: float
    frames: Callable[[], Iterator[np.ndarray]]
    codes: Codes | None = None  # of every frame; None for the teaser
    notes: tuple[str, ...] = ()


def keyed(
    source: Source,
    keyframes: Sequence[Keyframe] | None,
    preset: str,
    named: Sequence[Mapping[str, float]],
    style: Style,
) -> Show:
    """Keyframes of a script, or of a preset where there are none."""
    fps = style.fps or USUAL_FPS
    clip = play(keyframes or PRESETS[preset](named or None), fps, style.seconds)
    motion = retarget(clip.motion, space_of(source.pack))
    if keyframes is None and preset in OWN_EXPRESSION:
        # Changes of the source's own expression, if any.
        style = replace(style, relative=True, neutral="first")
    base = style.pose or ("source" if style.camera == "source" or style.composite else "frontal")
    if base == "driver":
        raise UsageError("--pose driver needs a driver: presets and scripts turn the head from --pose.")
    rule = replace(_rule(style), pose=base)
    if keyframes is None and preset in SPEAKING:
        codes = speak(source.codes, motion, rule, fps)
    else:
        codes = transfer(source.codes, motion, rule)
    swaying = keyframes is None and style.composite  # a photo's head does not turn, only its face moves
    if motion.head is not None and not swaying:
        turned = axis_angle_to_matrix(motion.head.to(codes.pose)) @ axis_angle_to_matrix(codes.pose[:, :3])
        codes = replace(codes, pose=torch.cat([matrix_to_axis_angle(turned), codes.pose[:, 3:]], dim=1))
    return _drawn(source, codes, fps, style, clip.zoom)


def driven(source: Source, drivers: Sequence[Driver], style: Style) -> Show:
    """A driver's clip; pictures are shown for a second each.

    Raises:
        UsageError: several clips.
    """
    if len(drivers) > 1:
        raise UsageError("One clip at a time: these drivers are several. Run `deca animate` once for each.")
    motion = drivers[0].motion
    notes = motion.notes
    fps = style.fps or motion.fps or USUAL_FPS
    motion = resample(motion, fps) if motion.fps is not None else _held(motion, fps)
    motion = retarget(motion, space_of(source.pack))
    usual = "source" if style.composite or style.camera == "source" or motion.head is None else "driver"
    codes = transfer(source.codes, motion, replace(_rule(style), pose=style.pose or usual))
    return replace(_drawn(source, codes, fps, style), notes=notes)


def _held(motion: Motion, fps: float) -> Motion:
    """Each picture of a motion for HOLD_S."""
    index = torch.arange(motion.length).repeat_interleave(max(1, round(HOLD_S * fps)))
    head = None if motion.head is None else motion.head[index]
    return replace(
        motion, expression=motion.expression[index], jaw=motion.jaw[index], head=head, fps=fps, labels=()
    )


def _rule(style: Style) -> TransferRule:
    return TransferRule(style.relative, style.neutral, style.intensity, style.keep)


def _drawn(source: Source, codes: Codes, fps: float, style: Style, zoom: Tensor | None = None) -> Show:
    """Put the head before a camera."""
    if style.composite:
        kind = style.kinds[0] if style.kinds else TEXTURED
        most = max(style.size) if style.size else 1080
        return Show(
            codes.batch_size, fps, lambda: composite_clip(source, codes, kind, style.light, most), codes
        )
    kinds = style.kinds or _beside(source)
    width, height = style.size or (PANEL_SIDE * len(kinds), PANEL_SIDE)
    panel_width = width // len(kinds)
    frame = square_in(panel_width, height)
    factor = torch.full((codes.batch_size,), style.zoom) if zoom is None else style.zoom * zoom
    if style.camera == "portrait":
        codes_seen = portrait_camera(codes, neutral_head(source), panel_width, height)
    else:
        codes_seen = codes
    camera = codes_seen.camera.clone()
    camera[:, 0] *= factor.to(camera)
    codes_seen = replace(codes_seen, camera=camera)
    panels = tuple(Panel(kind, frame, index * panel_width) for index, kind in enumerate(kinds))
    scene = Scene.of(source, panels, style.light)
    return Show(
        codes.batch_size, fps, lambda: render_clip(scene, codes_seen), codes_seen, _detail_note(source, kinds)
    )


def _detail_note(source: Source, kinds: Sequence[str]) -> tuple[str, ...]:
    if DETAIL in kinds and not source.pack.has_detail:
        return (
            f"The model {source.pack.manifest.name} has no detail networks: `detail` shows the coarse shape.",
        )
    return ()


def _beside(source: Source) -> tuple[str, ...]:
    """Side by side: the finest shape and, where there is a texture, the textured head."""
    shape = finest_shape(source.pack)
    return (shape, TEXTURED) if source.texture is not None else (shape,)


@torch.inference_mode()
def neutral_head(source: Source) -> Tensor:
    """[V, 3] the source without expression, not turned; metres."""
    codes = source.codes
    still = torch.zeros_like(codes.expression), torch.zeros_like(codes.pose)
    head: Tensor = source.pack.deca.head(codes.shape, *still)[0]
    return head


def teaser(
    source: Source,
    drivers: Sequence[Driver],
    named: Sequence[Mapping[str, float]],
    style: Style,
    *,
    official: bool,
) -> Show:
    """The official teaser: the photo, its shape, views of it, and its expressions side by side."""
    space = space_of(source.pack)
    parts = [driver.motion for driver in drivers]
    if named or not parts:
        wanted = named or [{name: 1.0} for name in SHOWN]
        parts.append(named_motion(wanted, [""] * len(wanted)))
    motion = join([retarget(part, space) for part in parts])
    motion = replace(motion, expression=style.intensity * motion.expression, jaw=style.intensity * motion.jaw)
    side = style.size[1] if style.size else TEASER_SIDE
    camera = _teaser_camera(source, side)
    if official:
        columns = official_columns(source.codes, motion, camera)
    else:
        names = space.names
        jaw_index = names.index("jawOpen") if "jawOpen" in names else None
        columns = smooth_columns(source.codes, motion, camera, jaw_index=jaw_index)
    kind = style.kinds[0] if style.kinds else finest_shape(source.pack)
    fps = style.fps or (TEASER_FPS if official else USUAL_FPS)
    window = CROP if official else whole_heads(source.pack.deca.head, source.codes)
    return Show(
        columns.views.batch_size,
        fps,
        lambda: _teaser_frames(source, columns, kind, side, style.light, window),
    )


def _teaser_camera(source: Source, side: int) -> tuple[float, ...]:
    """The official camera for the official pack; for other heads the one that shows the whole head."""
    if source.pack.deca.preprocessing.pixel_offset == 0 and not space_of(source.pack).names:
        return OFFICIAL_CAMERA
    codes = portrait_camera(source.codes, neutral_head(source), side, side)
    return tuple(codes.camera[0].tolist())


def _teaser_frames(
    source: Source, columns: Columns, kind: str, side: int, light: Light, window: Window
) -> Iterator[np.ndarray]:
    if kind not in RENDERINGS:
        raise UsageError(f"--rendering {kind} is not one of {', '.join(RENDERINGS)}.")

    def column(codes: Codes, shown: str, window: Window = CROP) -> Iterator[np.ndarray]:
        panels = (Panel(shown, square_in(side, side, window=window)),)
        return render_clip(Scene.of(source, panels, light), codes)

    still = [next(column(source.codes, kind, window))]
    if source.has_photo:
        photo = cut_square(source.photo.pixels, source.fit.crop.to_photo, source.pack, side, window)
        still.insert(0, photo)
    for view, face in zip(column(columns.views, kind), column(columns.expressions, kind), strict=True):
        yield np.concatenate([*still, view, face], axis=1)
