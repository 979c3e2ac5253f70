"""Tell what a file is by its content, whatever its name; and if it is nothing usable, why, and the cure."""

from __future__ import annotations

import hashlib
import re
import zipfile
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from deca_cli.assets import catalogue
from deca_cli.assets.albedo_file import KINDS
from deca_cli.assets.checkpoints import load_checkpoint
from deca_cli.assets.flame_year import USED, flame_year, why_other_year
from deca_cli.assets.official import UV_SIZE, read_mask, read_template
from deca_cli.assets.pickles import plain_loads, read_npy
from deca_cli.assets.wrong_files import HEAD_BYTES, UNPACKED_CHECKPOINT, ZIP_START, why_wrong
from deca_cli.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from deca_cli.assets.catalogue import Asset

NPY_START = b"\x93NUMPY"
PNG_START = b"\x89PNG"
PICKLE_STARTS = (b"\x80", b"(", b"}", b"]", b"ccopy_reg", b"ccollections")
OLD_CHECKPOINT_START = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # torch's magic number before its zip form
LARGEST_PICKLE_BYTES = 2**30
FULL_MASK_TEXELS, EMPTY_MASK_TEXELS = 20_252, 39_758  # of the face-eye mask (spec section 1.1)
HEAD_TRIANGLES, HEAD_VERTICES = 9976, 5023
# A name in a state dict that only this network has.
NETWORK_MARKS: Mapping[str, Asset] = {
    "E_flame": catalogue.CHECKPOINT,
    "conv3_3_norm.weight": catalogue.S3FD,
    "features.34.weight": catalogue.VGG19,
}


@dataclass(frozen=True)
class Finding:
    """What a file turned out to be.

    Attributes:
        path: the file.
        asset: what it is; None if it is nothing we use.
        problem: why it cannot be used, with the cure; None if it can.
        note: something worth saying about a usable file.
        archive: whether it is a zip to look into.
        name: the file as the user knows it, through the archives it was in.
    """

    path: Path
    asset: Asset | None = None
    problem: str | None = None
    note: str | None = None
    archive: bool = False
    name: str = ""


def recognise(path: Path, names: Sequence[str] = (), *, from_2020_archive: bool = False) -> Finding:
    """Look at a file's content.

    Args:
        path: The file.
        names: Names of the archive and folders around it, which may tell the year of a FLAME.
        from_2020_archive: Whether FLAME 2020's readme lies beside it.

    Returns:
        What it is. Damaged and wrong files come back with a `problem`; nothing in them is run.
    """
    try:
        problem = why_wrong(path)
        if problem is not None:
            return Finding(path, problem=problem)
        with path.open("rb") as stream:
            start = stream.read(HEAD_BYTES)
        for mark, look in (
            (ZIP_START, _in_zip),
            (NPY_START, _of_arrays),
            (PNG_START, _of_picture),
            (OLD_CHECKPOINT_START, _of_checkpoint),
        ):
            if start.startswith(mark):
                return look(path)
        if start.startswith(PICKLE_STARTS) and path.stat().st_size <= LARGEST_PICKLE_BYTES:
            return _of_pickle(path, (path.name, *names), from_2020_archive=from_2020_archive)
        return Finding(path, catalogue.TEMPLATE if _is_template(path, start) else _by_sum(path))
    except ModelError as error:
        return Finding(path, problem=str(error).rstrip("."))
    except OSError as error:
        return Finding(path, problem=f"it cannot be read ({error.strerror or error})")


def sha256_of(path: Path) -> str:
    """Hexadecimal sha256 of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(2**20):
            digest.update(block)
    return digest.hexdigest()


def _by_sum(path: Path) -> Asset | None:
    size = path.stat().st_size
    candidates = [asset for asset in catalogue.ASSETS if asset.exact and asset.size == size and asset.sha256]
    digest = sha256_of(path) if candidates else ""
    return next((asset for asset in candidates if asset.sha256 == digest), None)


def _in_zip(path: Path) -> Finding:
    """A torch checkpoint, a numpy archive, or an archive of files."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        return Finding(path, problem=f"it is a damaged archive ({error}): get it again")
    if any(name.endswith("/data.pkl") and name.count("/") == 1 for name in members):
        return _of_checkpoint(path)
    arrays = {name.removesuffix(".npy") for name in members if name.endswith(".npy") and "/" not in name}
    for (names, _), asset in zip(KINDS, (catalogue.ALBEDO, catalogue.FLAME_TEXTURE), strict=True):
        if arrays.issuperset(names):
            return Finding(path, asset)
    return Finding(path, archive=len(arrays) < len(members))


def _of_checkpoint(path: Path) -> Finding:
    content = load_checkpoint(path, "the checkpoint")
    names = content if isinstance(content, dict) else {}
    return Finding(path, next((asset for mark, asset in NETWORK_MARKS.items() if mark in names), None))


def _of_arrays(path: Path) -> Finding:
    content = read_npy(path)
    if isinstance(content, dict):
        marks = {
            "static_lmk_faces_idx": catalogue.LANDMARKS,
            "valid_pixel_3d_faces": catalogue.DENSE_TEMPLATE,
        }
        return Finding(path, next((asset for mark, asset in marks.items() if mark in content), None))
    if isinstance(content, np.ndarray) and content.shape == (UV_SIZE, UV_SIZE) and content.dtype.kind == "f":
        largest = np.abs(content).max()  # metres
        return Finding(path, catalogue.DISPLACEMENT if 0 < largest < 0.01 else None)
    return Finding(path)


def _of_picture(path: Path) -> Finding:
    try:
        mask = read_mask(path)
    except ModelError:
        return Finding(path)  # some other picture
    fits = int((mask == 1).sum()) == FULL_MASK_TEXELS and int((mask == 0).sum()) == EMPTY_MASK_TEXELS
    return Finding(path, catalogue.MASK if fits else None)


def _of_pickle(path: Path, names: Sequence[str], *, from_2020_archive: bool) -> Finding:
    content = path.read_bytes()
    try:
        plain = plain_loads(content, str(path))
    except ModelError as error:
        return Finding(path, problem=_why_unreadable(error, content))
    if not isinstance(plain, dict):
        return Finding(path)
    if {"v_template", "shapedirs"} <= plain.keys():
        return _of_flame(path, plain, content, names, from_2020_archive=from_2020_archive)
    return Finding(path, catalogue.IDENTITY if _is_identity_network(plain) else None)


def _why_unreadable(error: ModelError, content: bytes) -> str:
    if "refers to outside data" in str(error) or re.search(r"asks for `torch\.\w+Storage`", str(error)):
        return UNPACKED_CHECKPOINT  # its `data.pkl`; the numbers lie in other files
    if "was refused" in str(error):
        return str(error).rstrip(".")
    if not content.endswith(b"."):  # every pickle ends with the opcode STOP
        return "it is a pickle that ends too early: the download broke off, get it again"
    return str(error).rstrip(".")


def _of_flame(
    path: Path, model: Mapping[str, Any], content: bytes, names: Sequence[str], *, from_2020_archive: bool
) -> Finding:
    template = model["v_template"]
    if getattr(template, "shape", None) != (HEAD_VERTICES, 3):
        return Finding(path, problem="it is a body or hand model, not FLAME: get FLAME2020.zip")
    digest = hashlib.sha256(content).hexdigest()
    found = flame_year(content, digest, names, from_2020_archive=from_2020_archive)
    if found is None:
        note = "a FLAME model of unknown year; its check sum is not that of FLAME 2020, so results may differ"
        return Finding(path, catalogue.FLAME, note=note)
    year, how = found
    if year != USED:
        return Finding(path, catalogue.FLAME, problem=why_other_year(year, how))
    return Finding(path, catalogue.FLAME, note=f"FLAME {year}, known {how}")


def _is_identity_network(plain: Mapping[object, object]) -> bool:
    last = plain.get("fc.weight")
    return "conv1.weight" in plain and isinstance(last, np.ndarray) and last.shape == (8631, 2048)


def _is_template(path: Path, start: bytes) -> bool:
    looks = any(line.startswith((b"v ", b"mtllib", b"vt ")) for line in start.splitlines()[:20])
    if not looks or path.stat().st_size > 2**24:
        return False
    try:
        faces, _, _ = read_template(path)
    except ModelError:
        return False  # some other mesh
    return len(faces) == HEAD_TRIANGLES
