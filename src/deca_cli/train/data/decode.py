"""Encoded pictures, masks and label arrays into arrays; nothing damaged passes for a picture, nothing is executed."""

from __future__ import annotations

import io
import zlib
from typing import TYPE_CHECKING

import cv2
import numpy as np

from deca_cli.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

END_OF_JPEG = b"\xff\xd9"


def read_bytes(path: Path) -> bytes:
    """The content of a file.

    Raises:
        InputError: it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from error


def check_crc32(content: bytes, expected: int | None) -> None:
    """Compare with what the manifest says.

    Raises:
        InputError: they differ.
    """
    if expected is not None and zlib.crc32(content) != expected:
        raise InputError("its content is not what was written (checksum)")


def decode_colour(content: bytes) -> np.ndarray:
    """JPEG, PNG ... -> uint8 [H, W, 3] RGB, as stored: EXIF is not applied, since labels refer to stored pixels.

    Raises:
        InputError: it cannot be decoded, or is a JPEG without an end (OpenCV fills what is missing with grey).
    """
    if content[:2] == b"\xff\xd8" and END_OF_JPEG not in content[-4096:]:
        raise InputError("the JPEG is cut short")
    pixels = _decode(content, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    return cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)


def decode_grey(content: bytes) -> np.ndarray:
    """A grey picture -> uint8 [H, W].

    Raises:
        InputError: it cannot be decoded.
    """
    return _decode(content, cv2.IMREAD_GRAYSCALE)


def _decode(content: bytes, how: int) -> np.ndarray:
    try:
        pixels = cv2.imdecode(np.frombuffer(content, np.uint8), how) if content else None
    except cv2.error as error:
        raise InputError(f"the picture cannot be decoded ({error.err})") from error
    if pixels is None:
        raise InputError("the picture cannot be decoded")
    return np.asarray(pixels)


def load_array(content: bytes) -> np.ndarray:
    """One `.npy` array of numbers or strings. Object arrays are pickles, which could run anything: never read.

    Raises:
        InputError: it is damaged, or holds objects; the message says how to convert it.
    """
    try:
        array = np.load(io.BytesIO(content), allow_pickle=False)
    except ValueError as error:
        if "allow_pickle" in str(error):
            raise InputError(
                "it holds Python objects (a pickle), which are never loaded because they can run any program. "
                "If you trust the file, save it again as plain strings or numbers: "
                "np.save('new.npy', np.load('old.npy', allow_pickle=True).astype(str)) for lists of names, "
                ".astype('float64') for numbers"
            ) from error
        raise InputError(f"it is no .npy array ({error})") from error
    except (OSError, EOFError, SyntaxError, TypeError, KeyError) as error:
        raise InputError(f"it is no .npy array ({error})") from error
    if not isinstance(array, np.ndarray):
        raise InputError("it is an archive of arrays (.npz), not one .npy array")
    return array
