"""What a transfer leaves behind: comparison picture, meshes with the source's texture, parameters."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import torch

from deca_cli import __version__
from deca_cli.animate.frame import CROP, DARK, Frame, Window, on_photo, square_in, whole_heads
from deca_cli.animate.looks import DETAIL, SHAPE, TEXTURED, studio
from deca_cli.animate.mapping import retarget
from deca_cli.animate.motion import Motion
from deca_cli.animate.params import FILE
from deca_cli.animate.render import Panel, Scene, render_clip
from deca_cli.animate.spaces import arkit_space, space_of
from deca_cli.export.atomic import make_folder, remove_file, write_arrays, write_text
from deca_cli.export.meshes import MATERIAL, TEXTURE, write_detail_obj
from deca_cli.export.names import PARAMS_JSON
from deca_cli.export.obj import write_mtl, write_obj
from deca_cli.export.params import write_params_json, write_params_npz
from deca_cli.export.pictures import PANEL_MAX_SIDE, shrink, write_picture
from deca_cli.heads.rotations import axis_angle_to_matrix, matrix_to_euler_degrees

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from deca_cli.animate.combine import TransferRule
    from deca_cli.animate.drivers import Driver
    from deca_cli.animate.source import Source
    from deca_cli.export.capture import Capture
    from deca_cli.networks.codes import Codes
    from deca_cli.packs.store import Pack

GAP = 4  # pixels between panels
COMPARISON_FRAMES = 5  # of a clip


def finest_shape(pack: Pack) -> str:
    """The grey rendering with the most detail that this model has."""
    return DETAIL if pack.has_detail else SHAPE


def cut_square(
    photo: np.ndarray, to_photo: np.ndarray, pack: Pack, side: int, window: Window = CROP
) -> np.ndarray:
    """A window around the square that the model looked at, from the photo's own pixels: uint8 [side, side, 3], dark outside."""
    size, offset = pack.deca.preprocessing.image_size, pack.deca.preprocessing.pixel_offset
    step = window.half * size / side
    # Centre of panel pixel p -> NDC -> crop index -> photo index.
    left, top = ((middle - window.half + 1) * size / 2 + 0.5 * step + offset for middle in window.centre)
    to_crop = np.array([[step, 0, left], [0, step, top], [0, 0, 1.0]])
    matrix = np.asarray(to_photo, np.float64) @ to_crop
    flags = cv2.WARP_INVERSE_MAP | (cv2.INTER_LINEAR if matrix[0, 0] < 1.5 else cv2.INTER_AREA)
    if matrix[0, 0] >= 1.5:  # warpAffine does not average: smooth first
        photo = cv2.GaussianBlur(photo, (0, 0), 0.4 * float(matrix[0, 0]))
        flags = cv2.WARP_INVERSE_MAP | cv2.INTER_LINEAR
    return np.asarray(cv2.warpAffine(photo, matrix[:2], (side, side), flags=flags, borderValue=DARK))


def pictures_of(
    source: Source, codes: Codes, kinds: Sequence[str], side: int, window: Window = CROP
) -> list[np.ndarray]:
    """Renderings of some heads as the source's camera sees them, one picture a head with the kinds side by side."""
    frame = square_in(side, side, window=window)
    panels = tuple(Panel(kind, frame, index * side) for index, kind in enumerate(kinds))
    return list(render_clip(Scene.of(source, panels, studio()), codes))


def beside(pictures: Sequence[np.ndarray]) -> np.ndarray:
    """Pictures of one height side by side with white gaps."""
    gap = np.full((pictures[0].shape[0], GAP, 3), 255, np.uint8)
    return np.concatenate([part for picture in pictures for part in (picture, gap)][:-1], axis=1)


def below(rows: Sequence[np.ndarray]) -> np.ndarray:
    """Rows of one width below each other with white gaps."""
    gap = np.full((GAP, rows[0].shape[1], 3), 255, np.uint8)
    return np.concatenate([part for row in rows for part in (row, gap)][:-1], axis=0)


def comparison(source: Source, driver: Driver, codes: Codes, side: int) -> np.ndarray:
    """Source photo, source shape, driver photo, transferred shape, transferred face; what does not exist is left out."""
    kinds = [finest_shape(source.pack)]
    if source.texture is not None:
        kinds.append(TEXTURED)
    window = whole_heads(source.pack.deca.head, source.codes, codes)
    parts = []
    if source.has_photo:
        parts.append(cut_square(source.photo.pixels, source.fit.crop.to_photo, source.pack, side, window))
    parts += pictures_of(source, source.codes, kinds[:1], side, window)
    if driver.photo is not None and driver.crop_to_photo is not None:
        parts.append(cut_square(driver.photo.pixels, driver.crop_to_photo, source.pack, side, window))
    parts += pictures_of(source, codes, kinds, side, window)
    return beside(parts)


def clip_comparison(source: Source, codes: Codes, side: int) -> np.ndarray:
    """Some frames of a clip, spread over it: shapes above, faces below."""
    count = min(COMPARISON_FRAMES, codes.batch_size)
    chosen = torch.linspace(0, codes.batch_size - 1, count).round().long().to(codes.pose.device)
    some = codes.select(chosen)
    window = whole_heads(source.pack.deca.head, some)
    rows = [beside(pictures_of(source, some, [finest_shape(source.pack)], side, window))]
    if source.texture is not None:
        rows.append(beside(pictures_of(source, some, [TEXTURED], side, window)))
    return below(rows)


def composite_frame(source: Source, most: int = PANEL_MAX_SIDE) -> Frame:
    """A frame over the source's photo, at most so large."""
    place = on_photo(source.fit.crop.to_photo, source.pack.deca.preprocessing, source.photo.pixels)
    photo = shrink(source.photo.pixels, most)
    return replace(place, width=photo.shape[1], height=photo.shape[0], background=photo)


def save_transfer(
    source: Source, driver: Driver, codes: Codes, folder: Path, request: dict[str, Any], side: int
) -> list[Path]:
    """Write one transferred face; `params.json` is the last file, as with `deca reconstruct`.

    Raises:
        OutputError: a file cannot be written.
    """
    make_folder(folder)
    remove_file(folder / PARAMS_JSON)
    capture = source.capture(codes)
    files = [write_picture(folder / "comparison.jpg", comparison(source, driver, codes, side))]
    files += write_moved_meshes(capture, source.texture, folder, driver.name)
    files.append(write_params_npz(capture, folder))
    files.append(write_params_json(capture, folder, formats=("obj",), request=request, files=files))
    return files


def write_moved_meshes(capture: Capture, texture: np.ndarray | None, folder: Path, driver: str) -> list[Path]:
    """`head.obj` and, with detail networks, `head_detail.obj`, with the texture of the source as it was photographed."""
    comments = [
        f"{capture.photo.path.name} with the expression of {driver}, made by deca-cli {__version__}",
        f"model {capture.model}, {capture.model_licence}",
        "metres (the scale is a guess from one photo), y up, z out of the face, x to the subject's left",
    ]
    material = None
    files = []
    if texture is not None:
        material = MATERIAL
        files = [
            write_picture(folder / TEXTURE, texture),
            write_mtl(folder / f"{MATERIAL}.mtl", texture=TEXTURE),
        ]
    topology = capture.topology
    coarse = (capture.vertices, topology.faces, topology.uv_coordinates, topology.uv_faces)
    files.append(write_obj(folder / "head.obj", *coarse, material=material, comments=comments))
    if capture.detail is not None:
        files.append(write_detail_obj(folder, capture.detail, material, comments))
    return files


def save_clip_params(source: Source, codes: Codes, fps: float, folder: Path) -> list[Path]:
    """`params.npz` with the codes of every frame, and `expressions.csv` with ARKit coefficients and head angles."""
    make_folder(folder)
    arrays = {name: value.flatten(1).cpu().numpy() for name, value in codes.items()}
    fixed = [name for name, value in arrays.items() if (value == value[:1]).all()]
    arrays |= {name: arrays[name][:1] for name in fixed if name not in {"expression", "pose"}}
    names = source.pack.assets.expression_names
    arrays |= {
        "fps": np.array(fps),
        "model": np.array(source.pack.manifest.name),
        "model_licence": np.array(source.pack.manifest.licence),
        "version": np.array(__version__),
        "photo": np.array(str(source.photo.path.resolve())),
        "photo_size": np.array([source.photo.width, source.photo.height]),
        "crop_to_photo": np.asarray(source.fit.crop.to_photo),
        "face_box_px": np.asarray(source.fit.box_px, np.float64),
        "arkit_names": np.array(names, dtype=np.str_),
    }
    files = [write_arrays(folder / FILE, arrays)]
    files.append(write_text(folder / "expressions.csv", arkit_csv(source.pack, codes, fps)))
    return files


def arkit_csv(pack: Pack, codes: Codes, fps: float) -> str:
    """Frames as rows: time in seconds, ARKit coefficients, head angles in radians; `--driver` reads it again."""
    pose = codes.pose.cpu()
    motion = retarget(
        Motion(space_of(pack), codes.expression.cpu(), pose[:, 3:], pose[:, :3], fps), arkit_space()
    )
    angles = torch.deg2rad(matrix_to_euler_degrees(axis_angle_to_matrix(pose[:, :3].double())))
    table = np.column_stack([np.arange(motion.length) / fps, motion.expression.numpy(), angles.numpy()])
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["time", *arkit_space().names, "headYaw", "headPitch", "headRoll"])
    writer.writerows([f"{value:.5f}" for value in row] for row in table.tolist())
    return text.getvalue()


def request_of(rule: TransferRule, drivers: Sequence[str]) -> dict[str, Any]:
    """What was asked for, as kept in `params.json`."""
    pose = list(rule.pose) if isinstance(rule.pose, tuple) else rule.pose
    return {
        "drivers": list(drivers),
        "relative": rule.relative,
        "neutral": rule.neutral,
        "intensity": rule.intensity,
        "keep": list(rule.keep),
        "pose": pose,
    }
