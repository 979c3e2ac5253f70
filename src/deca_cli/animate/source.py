"""Who is animated: a face with its model, codes, photo and texture."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch

from deca_cli.animate.mouth import paint_inside
from deca_cli.animate.params import Params, is_params, read_params
from deca_cli.errors import InputError
from deca_cli.export.texture import texture_of
from deca_cli.packs.folders import best_installed
from deca_cli.packs.store import Pack, load_pack
from deca_cli.photo.crop import Crop
from deca_cli.photo.face import Face
from deca_cli.photo.inputs import expand_home
from deca_cli.photo.read import Photo, read_photo
from deca_cli.pipeline.captures import Decoder
from deca_cli.pipeline.clock import Clock
from deca_cli.pipeline.fit import Fit, fit_faces

if TYPE_CHECKING:
    from pathlib import Path

    from deca_cli.export.capture import Capture
    from deca_cli.networks.codes import Codes
    from deca_cli.pipeline.settings import Settings

TEXTURE_FILE = "texture.png"


@dataclass(frozen=True, eq=False)
class Source:
    """One face."""

    decoder: Decoder
    fit: Fit
    photo: Photo  # black, of the right size, if the real one is gone
    has_photo: bool
    kept_texture: Path | None = None  # of the result folder, used if the photo is gone

    @property
    def pack(self) -> Pack:
        """Its model."""
        return self.decoder.pack

    @property
    def codes(self) -> Codes:
        """Batch of one, on the pack's device."""
        return self.fit.codes

    @property
    def name(self) -> str:
        """For file names."""
        return self.photo.name

    def capture(self, codes: Codes | None = None) -> Capture:
        """The face as plain arrays, with its own codes or with others."""
        fit = self.fit if codes is None else replace(self.fit, batch=codes, row=0)
        return self.decoder.decode(self.photo, [fit])[0]

    @cached_property
    def texture(self) -> np.ndarray | None:
        """uint8 [U, U, 3] from the photo as it is, not as it is animated; None if the photo is gone and none was kept."""
        if self.has_photo:
            picture = texture_of(self.capture())
        elif self.kept_texture is not None:
            stored = cv2.imread(str(self.kept_texture), cv2.IMREAD_COLOR)
            if stored is None:
                raise InputError(f"{self.kept_texture} is damaged. Reconstruct the photo again.")
            picture = cv2.cvtColor(stored, cv2.COLOR_BGR2RGB)
        else:
            return None
        return paint_inside(self.pack.assets, np.asarray(picture))

    @cached_property
    def albedo(self) -> np.ndarray | None:
        """uint8 [A, A, 3] of the model's skin colour code; None if it has none."""
        model = self.pack.deca.albedo
        if model is None or self.codes.albedo.shape[1] == 0:
            return None
        with torch.inference_mode():
            picture = model(self.codes.albedo)[0].clamp(0, 1).permute(1, 2, 0).cpu().numpy()
        return np.ascontiguousarray(np.rint(255 * picture).astype(np.uint8))


def read_source(text: str, model: str | None, device: torch.device, settings: Settings) -> Source:
    """Find the largest face of a photo, or take up an earlier result.

    Args:
        text: photo, result folder or `params.npz`.
        model: name or path of the pack; left out, the best that is installed, or the one that made the result.
        device: where the networks run.
        settings: how faces are found.

    Raises:
        DecaError: it cannot be read, shows no face, or belongs to another model.
    """
    path = expand_home(text)
    if is_params(path):
        params = read_params(path)
        return source_of_params(params, load_pack(model or params.model, device))
    if path.is_dir():
        raise InputError(
            f"{path} is a folder without params.npz. Name one photo, or the folder of one face that "
            "`deca reconstruct` wrote."
        )
    return source_of_photo(read_photo(path), load_pack(model or best_installed(), device), settings)


def source_of_photo(photo: Photo, pack: Pack, settings: Settings) -> Source:
    """The largest face of a photo.

    Raises:
        InputError: there is none.
    """
    fits = fit_faces(photo, pack, replace(settings, max_faces=1), Clock())
    if not fits:
        raise InputError(
            f"{photo.path} shows no face that was found. If there is one, turn the photo upright if the face lies or is "
            "upside down; else say where: --bbox x0,y0,x1,y1."
        )
    return Source(Decoder.of(pack), fits[0], photo, has_photo=True)


def source_of_params(params: Params, pack: Pack) -> Source:
    """The face of an earlier result; its photo is read again if it is still there.

    Raises:
        InputError: the result belongs to another model, or lacks what places it in its photo.
    """
    if params.model != pack.manifest.name:
        raise InputError(
            f"{params.path} was made with the model `{params.model}`, not `{pack.manifest.name}`. Leave --model out, "
            "or reconstruct the photo with the model that you want."
        )
    arrays = params.arrays
    lacking = [name for name in ("photo_size", "crop_to_photo", "face_box_px") if name not in arrays]
    if lacking:
        raise InputError(f"{params.path} lacks {', '.join(lacking)}. Write it again with `deca reconstruct`.")
    width, height = (int(value) for value in arrays["photo_size"])
    photo = _photo(params, width, height)
    device = pack.deca.head.template_vertices.device
    box = tuple(float(value) for value in arrays["face_box_px"])
    face = Face(box, float(arrays.get("detection_score", 1.0)), None, str(arrays.get("found_by", "given")))  # type: ignore[arg-type]
    score = float(arrays.get("face_score", np.nan))
    size = pack.deca.preprocessing.image_size
    crop = Crop(np.zeros((3, size, size), np.float32), np.asarray(arrays["crop_to_photo"], np.float64), box)  # type: ignore[arg-type]
    codes = params.codes(pack.manifest.sizes).to(device)
    fit = Fit(face, crop, codes, None if np.isnan(score) else score, box, box)  # type: ignore[arg-type]
    beside = params.path.with_name(TEXTURE_FILE)
    kept = beside if beside.is_file() else None
    black = Photo(np.zeros((height, width, 3), np.uint8), params.path, params.path.parent.name or "source")
    return Source(Decoder.of(pack), fit, photo or black, photo is not None, kept)


def _photo(params: Params, width: int, height: int) -> Photo | None:
    """The photo of a result, unless it is gone or was replaced by one of another size."""
    if params.photo is None:
        return None
    try:
        photo = read_photo(params.photo)
    except InputError:
        return None
    return photo if (photo.width, photo.height) == (width, height) else None
