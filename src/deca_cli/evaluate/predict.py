"""Predict the heads that NoW measures: neutral, in metres, with their seven landmarks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from deca_cli.errors import InputError, ModelError
from deca_cli.evaluate.files import read_text
from deca_cli.evaluate.landmark_rows import SEVEN_OF_68
from deca_cli.evaluate.meshes import write_obj
from deca_cli.export.atomic import make_folder, write_array, write_text
from deca_cli.packs.fingerprint import pack_fingerprint

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np

    from deca_cli.evaluate.now_data import NowData, NowImage
    from deca_cli.packs.store import Pack

PHOTO_FOLDERS = ("final_release_version/iphone_pictures", "iphone_pictures", ".")
BOX_FOLDERS = ("final_release_version/detected_face", "detected_face")
MADE_BY = "predicted_by.txt"


@dataclass(frozen=True)
class Predicted:
    """What became of one photo."""

    image: NowImage
    note: str  # empty when a head was written


def predict_now(
    folder: Path,
    data: NowData,
    pack: Pack,
    output: Path,
    progress: Callable[[Predicted], None] = lambda _: None,
) -> list[Predicted]:
    """Write SUBJECT/CHALLENGE/STEM.obj and .npy into `output` for every listed photo below the data set `folder`.

    The head is without expression and jaw pose, since NoW's scans are neutral. The data set's own face boxes are used
    where it has them. Photos that have their files already are left alone. Raises InputError when `output` holds
    predictions of another model, or of another state of this one.
    """
    make_folder(output)
    _claim(output, pack)
    done = []
    for image in data.images:
        target = output / image.subject / image.challenge / image.stem
        note = ""
        if not (
            target.with_name(target.name + ".obj").is_file()
            and target.with_name(target.name + ".npy").is_file()
        ):
            note = _predict_one(folder, image, pack, target)
        done.append(Predicted(image, note))
        progress(done[-1])
    return done


def _claim(output: Path, pack: Pack) -> None:
    """Say in the folder whose predictions it holds; raises InputError when this pack, as it is now, did not make them."""
    note = output / MADE_BY
    mine = f"{pack.manifest.name} {pack_fingerprint(pack.folder)}\n"
    if note.is_file() and read_text(note) == mine:
        return
    if note.is_file() or any(output.rglob("*.obj")):
        raise InputError(
            f"{output} holds predictions that the model '{pack.manifest.name}', as it is now, did not make. Give "
            "another folder, or delete this one."
        )
    write_text(note, mine)


def _predict_one(folder: Path, image: NowImage, pack: Pack, target: Path) -> str:
    from deca_cli.photo.read import read_photo
    from deca_cli.pipeline.clock import Clock
    from deca_cli.pipeline.fit import fit_faces
    from deca_cli.pipeline.settings import Settings

    path = find_photo(folder, image)
    if path is None:
        return "the photo is not in the data set"
    try:
        photo = read_photo(path)
        box = find_box(folder, image)
        fits = fit_faces(photo, pack, Settings(max_faces=1, box_px=box), Clock())
        if not fits and box is not None:
            fits = fit_faces(photo, pack, Settings(max_faces=1), Clock())
    except InputError as error:
        return str(error)
    if not fits:
        return "no face found"
    vertices, landmarks = neutral_head(pack, fits[0].codes.shape)
    make_folder(target.parent)
    write_obj(target.with_name(target.name + ".obj"), vertices, pack.assets.faces)
    write_array(target.with_name(target.name + ".npy"), landmarks)  # last: both there means both whole
    return ""


@torch.inference_mode()
def neutral_head(pack: Pack, shape: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Vertices [V, 3] and seven landmarks [7, 3] of a shape code [1, S] without expression or pose, metres."""
    head = pack.deca.head
    pose = torch.zeros(1, 6, device=shape.device)
    vertices = head(shape, torch.zeros(1, len(pack.assets.expression_basis[0, 0]), device=shape.device), pose)
    landmarks = head.landmarks(vertices, pose).contour[0, list(SEVEN_OF_68)]
    return vertices[0].double().cpu().numpy(), landmarks.double().cpu().numpy()


def find_photo(folder: Path, image: NowImage) -> Path | None:
    """The photo of a line of the image list, wherever the download was unpacked."""
    names = (image.line, image.name)
    candidates = (folder / below / name for below in PHOTO_FOLDERS for name in names)
    return next((path for path in candidates if path.is_file()), None)


def find_box(folder: Path, image: NowImage) -> tuple[float, float, float, float] | None:
    """The data set's own face box in photo pixels, x0, y0, x1, y1, or None."""
    from deca_cli.assets.pickles import read_npy

    name = Path(image.name).with_suffix(".npy")
    path = next((p for p in (folder / below / name for below in BOX_FOLDERS) if p.is_file()), None)
    if path is None:
        return None
    try:
        box = read_npy(path)
        return tuple(float(box[side]) for side in ("left", "top", "right", "bottom"))  # type: ignore[return-value]
    except (ModelError, KeyError, TypeError, IndexError) as error:
        raise InputError(f"{path}: no face box in it ({error}). Download the data set again.") from None
