"""Read one photo file into plain 8-bit RGB pixels, turned the way a viewer shows it."""

import stat
import struct
import warnings
import zlib
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from deca_cli.errors import InputError

MAX_PIXELS = 120_000_000
"""Largest photo that is decoded, in pixels (width times height): 360 MB as RGB, enough for a 108-megapixel phone."""

MIN_SIDE = 16
"""Shortest side, in pixels, below which no face can be made out."""

# The content of the file decides, never its ending. Only plain picture formats are allowed: Pillow can also open
# kinds that start other programs (EPS) or that hold drawings rather than photos.
FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "TIFF", "GIF", "PPM")

# What Pillow's decoders raise on damaged files, as seen with files cut short or overwritten.
_DAMAGE = (OSError, SyntaxError, ValueError, EOFError, IndexError, TypeError, struct.error, zlib.error)

# Pillow warns about big pictures at a limit of its own; ours is checked right after. Not only while a picture is opened: filters
# are those of all threads, and one that puts them back would let the warnings of another through.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)

_BACKGROUND = (128, 128, 128)


@dataclass(frozen=True, eq=False)
class Photo:
    """A decoded photo.

    Attributes:
        pixels: uint8 [H, W, 3], RGB as stored in the file (colour profiles are not applied), EXIF rotation applied;
            [H, W, 0] where somebody else has them, see `outline`.
        path: the file it came from.
        name: file name without its ending.
    """

    pixels: np.ndarray
    path: Path
    name: str

    @property
    def height(self) -> int:
        """Height in pixels."""
        return int(self.pixels.shape[0])

    @property
    def width(self) -> int:
        """Width in pixels."""
        return int(self.pixels.shape[1])

    def outline(self) -> "Photo":
        """The photo without its pixels: its size, path and name."""
        return Photo(np.empty((self.height, self.width, 0), np.uint8), self.path, self.name)


def read_photo(path: str | Path) -> Photo:
    """Read a photo.

    JPEG, PNG, BMP, WebP and TIFF (also GIF and PPM), recognised by content. Grey, palette and CMYK pictures
    become RGB; 16-bit ones are scaled down to 8 bits; of an animation or several pages the first is taken;
    transparent parts are laid over middle grey; a colour profile is left alone.

    Raises:
        InputError: the file is missing, no file (a pipe, a device), empty, not a picture of these kinds, damaged or cut short, has fewer
            than `MIN_SIDE` pixels on a side or more than `MAX_PIXELS` in all. The size is taken from the header,
            before anything is decoded.
    """
    path = Path(path)
    _check_file(path)
    try:
        with warnings.catch_warnings():  # for who has set filters of their own
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            picture = Image.open(path, formats=FORMATS)
    except Image.DecompressionBombError as error:
        raise InputError(_too_many(path, _size_of_a_giant(path))) from error
    except UnidentifiedImageError as error:  # it says that, and the path, again
        raise InputError(
            f"{path} is not a picture that can be read ({', '.join(FORMATS)}). Export it as JPEG or PNG."
        ) from error
    except _DAMAGE as error:
        raise InputError(
            f"{path} is not a picture that can be read ({', '.join(FORMATS)}): {_first_line(error)}. "
            "Export it as JPEG or PNG."
        ) from error
    with picture:
        _check_size(path, picture.size)
        return Photo(_decode(path, picture), path, path.stem)


def size_in_header(path: Path) -> tuple[int, int] | None:
    """Width and height as a photo's header tells them, in a fraction of a millisecond; None if nobody can tell."""
    try:
        _check_file(path)
        with Image.open(path, formats=FORMATS) as picture:
            return picture.size
    except Exception:  # noqa: BLE001 - whoever reads the photo tells what is wrong with it
        return None


def _check_file(path: Path) -> None:
    try:
        if path.is_dir():
            raise InputError(f"{path} is a folder, not a photo. Name the photos in it, or the folder alone.")
        found = path.stat()
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist. Check the spelling of the path.") from error
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be opened: {_first_line(error)}. Check its permissions.") from error
    if not stat.S_ISREG(found.st_mode):
        raise InputError(
            f"{path} is {_kind(found.st_mode)}, not a photo. Save the picture as a file, and name that."
        )
    if found.st_size == 0:
        raise InputError(f"{path} is empty (0 bytes). Copy or download it again.")


def _kind(mode: int) -> str:
    """What a path is that is neither file nor folder."""
    kinds = {
        stat.S_IFIFO: "a pipe",
        stat.S_IFSOCK: "a socket",
        stat.S_IFCHR: "a device",
        stat.S_IFBLK: "a device",
    }
    return kinds.get(stat.S_IFMT(mode), "not a file")


def _check_size(path: Path, size: tuple[int, int]) -> None:
    width, height = size
    if width * height > MAX_PIXELS:
        raise InputError(_too_many(path, size))
    if min(width, height) < MIN_SIDE:
        raise InputError(
            f"{path} is too small for a face: {width} x {height} pixels, at least {MIN_SIDE} on each side are "
            "needed. Use a larger picture."
        )


def _size_of_a_giant(path: Path) -> tuple[int, int]:
    """Width and height in the header of a picture that Pillow opens no more because of them; it looks at them last.

    Raises:
        InputError: they stand deeper in the file.
    """
    with path.open("rb") as stream:
        start = stream.read(16)
        for name in FORMATS:
            opener, accepts = Image.OPEN[name]
            stream.seek(0)
            if accepts is None or accepts(start) is True:
                with suppress(Image.DecompressionBombError, *_DAMAGE):
                    return opener(stream, str(path)).size
    raise InputError(f"{path} is too large. Scale it down or cut it first.")


def _too_many(path: Path, size: tuple[int, int]) -> str:
    width, height = size
    pixels = f"{width} x {height} = {width * height}"
    return f"{path} is too large: {pixels} pixels, the limit is {MAX_PIXELS} pixels. Scale it down or cut it first."


def _decode(path: Path, picture: Image.Image) -> np.ndarray:
    """The first frame of an opened picture as uint8 [H, W, 3] RGB, turned upright."""
    try:
        picture.load()
        # TIFF is turned by Pillow while loading, and its tag removed; so nothing is turned twice here.
        ImageOps.exif_transpose(picture, in_place=True)
        return np.ascontiguousarray(_to_rgb(path, picture))
    except MemoryError as error:
        raise InputError(f"{path} does not fit into memory. Scale it down first.") from error
    except _DAMAGE as error:
        raise InputError(
            f"{path} is damaged or cut short: {_first_line(error)}. Copy or download it again."
        ) from error


def _to_rgb(path: Path, picture: Image.Image) -> np.ndarray:
    if picture.mode.startswith(("I", "F")):
        grey = _deep_grey_to_8_bit(path, np.asarray(picture))
        return np.repeat(grey[..., None], 3, axis=2)
    has_alpha = picture.mode in {"RGBA", "LA", "PA", "La", "RGBa"} or "transparency" in picture.info
    if not has_alpha:
        return np.array(picture if picture.mode == "RGB" else picture.convert("RGB"))
    layered = picture.convert("RGBA")
    if layered.getchannel("A").getextrema() == (255, 255):
        return np.array(layered.convert("RGB"))
    ground = Image.new("RGBA", layered.size, (*_BACKGROUND, 255))
    return np.array(Image.alpha_composite(ground, layered).convert("RGB"))


def _deep_grey_to_8_bit(path: Path, values: np.ndarray) -> np.ndarray:
    """Grey of more than 8 bits [H, W] to uint8.

    Integers count to 65535. Floating-point values count to 1 if none is above it, else to 255.

    Raises:
        InputError: values outside these ranges, so that it is unknown which one is white.
    """
    low, high = float(values.min()), float(values.max())
    white = 65535.0
    if values.dtype.kind == "f":
        white = 1.0 if high <= 1.0 else 255.0
    if not (low >= 0.0 and high <= white):  # also true for NaN
        raise InputError(
            f"{path} has grey values from {low:g} to {high:g}, expected 0 to {white:g}, so its white is unknown. "
            "Export it as JPEG or 8-bit PNG."
        )
    return np.round(values.astype(np.float32) * (255.0 / white)).astype(np.uint8)


def _first_line(error: BaseException) -> str:
    text = (error.strerror or str(error)) if isinstance(error, OSError) else str(error)
    return text.splitlines()[0].rstrip(".") if text else type(error).__name__
