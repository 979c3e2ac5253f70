"""What moves: photos, folders, videos, parameters and ARKit files become motions."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from deca_cli.animate.arkit_csv import read_arkit_csv
from deca_cli.animate.motion import Motion, fill_gaps, join
from deca_cli.animate.params import Params, is_params, read_params
from deca_cli.animate.spaces import ExpressionSpace, arkit_space, named_space, space_of
from deca_cli.animate.video import VIDEO_SUFFIXES, read_video, video_fps
from deca_cli.errors import InputError
from deca_cli.packs.folders import is_installed
from deca_cli.photo.inputs import expand_home, list_inputs
from deca_cli.photo.read import Photo, read_photo
from deca_cli.pipeline.clock import Clock
from deca_cli.pipeline.fit import fit_faces

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    import numpy as np

    from deca_cli.packs.store import Pack
    from deca_cli.pipeline.fit import Fit
    from deca_cli.pipeline.settings import Settings

MAX_GAP_S = 0.5


@dataclass(frozen=True, eq=False)
class Driver:
    """A motion, and the picture of a driver that is a single photo."""

    name: str  # for file names
    motion: Motion
    photo: Photo | None = None
    crop_to_photo: np.ndarray | None = None  # float64 [3, 3], where its face is in the photo


@dataclass(frozen=True)
class DriverSettings:
    """How drivers are read."""

    settings: Settings  # how faces are found
    as_clip: bool = False  # photos, in order, are the frames of one clip
    fps: float = 25.0  # of such a clip
    max_gap_s: float = MAX_GAP_S  # longest gap without a face that is interpolated


def read_drivers(
    paths: Sequence[str],
    pack: Pack,
    wanted: DriverSettings,
    watch: Callable[[str], None] = lambda _: None,
) -> list[Driver]:
    """Every driver in order: a clip is one driver, every photo is one.

    Args:
        paths: photos, folders, videos, parameters, CSV files.
        pack: fits the faces of photos and videos.
        wanted: how.
        watch: told now and then how far a video is.

    Raises:
        DecaError: a driver cannot be used; the message says why and what to do.
    """
    drivers = [driver for text in paths for driver in _read(text, pack, wanted, watch)]
    stills = [driver for driver in drivers if driver.motion.fps is None]
    if wanted.as_clip and len(stills) > 1:
        clip = replace(join([driver.motion for driver in stills]), fps=wanted.fps, labels=())
        return [Driver("clip", clip), *(driver for driver in drivers if driver.motion.fps is not None)]
    return drivers


def _read(text: str, pack: Pack, wanted: DriverSettings, watch: Callable[[str], None]) -> Iterator[Driver]:
    """The drivers behind one path, by its kind."""
    path = expand_home(text)
    suffix = path.suffix.lower()
    if is_params(path):
        params = read_params(path)
        place = params.arrays.get("crop_to_photo")
        photo = None if place is None or params.model != pack.manifest.name else _photo_of(params)
        yield Driver(_name(path), motion_of_params(params, pack), photo, place)
    elif suffix == ".csv":
        if not path.is_file():
            raise InputError(f"{path} does not exist. Check the spelling of the path.")
        yield Driver(path.stem, read_arkit_csv(path))
    elif suffix in VIDEO_SUFFIXES:
        yield Driver(path.stem, motion_of_video(path, pack, wanted, watch))
    else:
        for file in list_inputs([text]):
            if file.suffix.lower() in VIDEO_SUFFIXES:
                yield Driver(file.stem, motion_of_video(file, pack, wanted, watch))
            else:
                yield driver_of_photo(file, pack, wanted.settings)


def driver_of_photo(path: Path, pack: Pack, settings: Settings) -> Driver:
    """The largest face of a photo.

    Raises:
        InputError: there is none.
    """
    photo = read_photo(path)
    fits = fit_faces(photo, pack, replace(settings, max_faces=1, box_px=None), Clock())
    if not fits:
        raise InputError(f"the driver {path} shows no face that was found. Choose a clearer or larger face.")
    motion = motion_of_fits(fits[:1], space_of(pack))
    return Driver(photo.name, replace(motion, labels=(photo.name,)), photo, fits[0].crop.to_photo)


def motion_of_fits(fits: Sequence[Fit], space: ExpressionSpace) -> Motion:
    """The expressions and poses of fitted faces, as separate pictures."""
    expression = torch.cat([fit.codes.expression for fit in fits]).cpu()
    pose = torch.cat([fit.codes.pose for fit in fits]).cpu()
    return Motion(space, expression, pose[:, 3:], pose[:, :3], None)


def motion_of_params(params: Params, pack: Pack) -> Motion:
    """The expression and pose in a parameter file, whichever model made it.

    Raises:
        ModelError: the model that made it is not installed, so that nobody knows what the numbers mean.
        InputError: sizes that the model does not have.
    """
    expression, pose = torch.from_numpy(params.rows("expression")), torch.from_numpy(params.rows("pose"))
    names = tuple(str(name) for name in params.arrays.get("arkit_names", ()))
    if params.model == pack.manifest.name:
        space = space_of(pack)
    elif names == arkit_space().names and not is_installed(params.model):
        space = arkit_space()
    else:
        space = named_space(params.model)
    if expression.shape[1] != space.size or pose.shape[1] != 6:
        raise InputError(
            f"{params.path}: {expression.shape[1]} expression codes, but the model `{params.model}` has {space.size}. "
            "It was written with another version of the model: reconstruct the photo again."
        )
    label = (_name(params.path),) if params.frames == 1 else ()
    fps = params.fps or (25.0 if params.frames > 1 else None)
    return Motion(space, expression, pose[:, 3:], pose[:, :3], fps, label)


def motion_of_video(path: Path, pack: Pack, wanted: DriverSettings, watch: Callable[[str], None]) -> Motion:
    """Follow the largest face through a video; only its numbers are kept of each frame.

    A face is looked for where it was in the frame before; it is searched for anew where the model says that there is
    none, or in every frame with a model that cannot say so.

    Raises:
        InputError: the video cannot be read or shows no face for too long.
    """
    fps = video_fps(path)
    fits: list[Fit | None] = []
    last: Fit | None = None
    lost = 0
    for index, pixels in enumerate(read_video(path)):
        last = _follow(Photo(pixels, path, path.stem), last, pack, wanted.settings)
        fits.append(None if last is None else _numbers_only(last))
        watch(f"{path.name}: frame {index + 1}")
        lost = lost + 1 if last is None else 0
        if lost / fps > wanted.max_gap_s + 1 / fps:
            break  # it is too long already, and looking everywhere for nothing takes time
    known = [fit is not None for fit in fits]
    found = [fit for fit in fits if fit is not None]
    if not found:
        raise InputError(
            f"{path}: no face was found in its first {len(fits)} frames ({len(fits) / fps:.2f} s). Choose a driver that "
            "shows a face from the start, or allow more with --max-gap."
        )
    spare = found[0]
    motion = motion_of_fits([fit or spare for fit in fits], space_of(pack))
    if len(fits) == 1:
        return replace(
            motion, labels=(path.stem,), notes=(f"{path.name} has one frame: taken as a picture.",)
        )
    return fill_gaps(replace(motion, fps=fps), known, wanted.max_gap_s, path.name)


def _follow(photo: Photo, last: Fit | None, pack: Pack, settings: Settings) -> Fit | None:
    """The face of a frame, near where it was or anywhere."""
    clock = Clock()
    if last is not None and last.face_score is not None:
        near = fit_faces(photo, pack, replace(settings, max_faces=1, box_px=last.box_px), clock)
        if near and (near[0].face_score or 0.0) >= pack.manifest.least_face_score:
            return near[0]
    found = fit_faces(photo, pack, replace(settings, box_px=None, max_faces=None), clock)
    return found[0] if found else None


def _numbers_only(fit: Fit) -> Fit:
    """Without the crop, so that a long video does not fill the memory."""
    return replace(fit, crop=replace(fit.crop, image=fit.crop.image[:, :0, :0].copy()))


def _photo_of(params: Params) -> Photo | None:
    try:
        return None if params.photo is None else read_photo(params.photo)
    except InputError:
        return None


def _name(path: Path) -> str:
    """A folder's own name, or for `anna/params.npz` that of the folder it lies in."""
    return path.resolve().parent.name if path.name == "params.npz" else path.stem
