"""Writing datasets: pictures and masks as files, whole or not at all."""

from __future__ import annotations

import hashlib
import zlib
from typing import TYPE_CHECKING

import cv2

from deca_cli.atomic import make_folder, remove_file, write_bytes, write_text
from deca_cli.errors import UsageError
from deca_cli.train.data.manifest import (
    DESCRIPTION,
    MANIFEST,
    Description,
    Record,
    description_text,
    to_lines,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    import numpy as np

JPEG_QUALITY = 93
PICTURES, MASKS = "pictures", "masks"


def encode_jpeg(pixels: np.ndarray) -> bytes:
    """uint8 [H, W, 3] RGB -> JPEG with colour at full resolution (skin colour is what the albedo learns from)."""
    options = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, 0x111111]
    return _encode(".jpg", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), options)


def encode_png(pixels: np.ndarray) -> bytes:
    """uint8 [H, W] grey or [H, W, 3] RGB -> PNG, lightly compressed."""
    if pixels.ndim == 3:
        pixels = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
    return _encode(".png", pixels, [cv2.IMWRITE_PNG_COMPRESSION, 2])


def _encode(suffix: str, pixels: np.ndarray, options: list[int]) -> bytes:
    done, content = cv2.imencode(suffix, pixels, options)
    if not done:
        raise ValueError(f"OpenCV cannot encode {pixels.dtype} {pixels.shape} as {suffix}")
    return content.tobytes()


def write_picture(
    folder: Path,
    person: str,
    picture: str,
    pixels: np.ndarray,
    landmarks: np.ndarray,
    mask: np.ndarray | None,
    split: str = "train",
) -> Record:
    """Write one stored crop with its mask; the returned record lacks what is known about the source.

    Args:
        folder: the dataset.
        person: its name is that of the folder.
        picture: name of the files.
        pixels: uint8 [H, W, 3] RGB.
        landmarks: [68, 2] pixel indices of the crop.
        mask: uint8 [H, W], 255 on skin.
        split: `train` or `held_out`.

    Raises:
        OutputError: it cannot be written.
    """
    make_folder(folder / PICTURES / person)
    image = f"{PICTURES}/{person}/{picture}.jpg"
    content = encode_jpeg(pixels)
    write_bytes(folder / image, content)
    mask_name = mask_crc32 = None
    if mask is not None:
        make_folder(folder / MASKS / person)
        mask_name = f"{MASKS}/{person}/{picture}.png"
        mask_content = encode_png(mask)
        write_bytes(folder / mask_name, mask_content)
        mask_crc32 = zlib.crc32(mask_content)
    return Record(
        person=person,
        picture=picture,
        split=split,
        image=image,
        image_crc32=zlib.crc32(content),
        landmarks=landmarks,
        mask=mask_name,
        mask_crc32=mask_crc32,
    )


def finish(folder: Path, records: Sequence[Record], description: Description) -> None:
    """Write the manifest, then the description, which makes the dataset a whole one.

    Raises:
        OutputError: they cannot be written.
    """
    remove_file(folder / DESCRIPTION)
    write_text(folder / MANIFEST, to_lines(records))
    write_text(folder / DESCRIPTION, description_text(description))


def check_free(folder: Path) -> None:
    """Refuse a folder that holds a finished dataset or something that is none.

    Raises:
        UsageError: it does.
    """
    if (folder / DESCRIPTION).exists():
        raise UsageError(
            f"{folder} holds a dataset already. Choose another folder, or remove that one first."
        )
    if folder.is_dir() and any(folder.iterdir()) and not (folder / PICTURES).is_dir():
        raise UsageError(f"{folder} holds something else. Choose a new or empty folder for the dataset.")


def remove_drafts(folder: Path) -> None:
    """Take away what a killed run was writing.

    Raises:
        OutputError: it cannot be removed.
    """
    for name in (PICTURES, MASKS):
        for draft in (folder / name).rglob(".*.part"):
            remove_file(draft)


def held_out_people(people: Iterable[str], share: float, seed: int) -> set[str]:
    """Who is kept for validation: by a hash of the name, so that adding people moves nobody.

    Of two people or more at least one is kept and at least one is left, unless the share is 0; one alone is never kept.
    """
    places = {person: _place(person, seed) for person in people}
    if share <= 0 or len(places) < 2:
        return set()
    order = sorted(places, key=places.__getitem__)
    chosen = {person for person, place in places.items() if place < share}
    return (chosen | {order[0]}) - {order[-1]}


def _place(person: str, seed: int) -> float:
    """A number in 0..1 that belongs to a name."""
    digest = hashlib.sha256(f"{seed}/{person}".encode("utf-8", "surrogateescape")).digest()
    return int.from_bytes(digest[:8], "big") / 2**64
