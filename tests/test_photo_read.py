import io
import os
import socket
import struct
import subprocess
import sys
import tempfile
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from deca_cli.errors import InputError
from deca_cli.photo.read import MAX_PIXELS, MIN_SIDE, read_photo

ORIENTATION = 0x0112


def picture(height: int = 24, width: int = 32) -> np.ndarray:
    """A colour picture without symmetry, smooth enough for JPEG."""
    rows, columns = np.mgrid[0:height, 0:width]
    return (
        np.stack([8 * rows, 7 * columns, 255 - 4 * rows - 3 * columns], axis=2).clip(0, 255).astype(np.uint8)
    )


def difference(a: np.ndarray, b: np.ndarray) -> int:
    return int(np.abs(a.astype(int) - b.astype(int)).max())


@pytest.mark.parametrize("ending", ["png", "bmp", "tiff", "TIF", "PNG"])
def test_lossless_kinds_give_the_stored_pixels(tmp_path, ending):
    Image.fromarray(picture()).save(tmp_path / f"a b.{ending}")
    photo = read_photo(tmp_path / f"a b.{ending}")
    assert photo.pixels.dtype == np.uint8
    assert photo.pixels.flags.c_contiguous
    assert (photo.name, photo.height, photo.width) == ("a b", 24, 32)
    assert np.array_equal(photo.pixels, picture())


@pytest.mark.parametrize(("ending", "options"), [("jpg", {"quality": 95}), ("webp", {"lossless": True})])
def test_lossy_kinds_give_nearly_the_stored_pixels(tmp_path, ending, options):
    Image.fromarray(picture()).save(tmp_path / f"a.{ending}", **options)
    assert difference(read_photo(tmp_path / f"a.{ending}").pixels, picture()) <= 12


def test_the_content_decides_not_the_ending(tmp_path):
    Image.fromarray(picture()).save(tmp_path / "a.jpg", format="PNG")
    assert np.array_equal(read_photo(tmp_path / "a.jpg").pixels, picture())


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize(
    ("orientation", "upright"),
    [
        (1, lambda p: p),
        (2, lambda p: p[:, ::-1]),
        (3, lambda p: p[::-1, ::-1]),
        (4, lambda p: p[::-1]),
        (5, lambda p: p.swapaxes(0, 1)),
        (6, lambda p: p.swapaxes(0, 1)[:, ::-1]),
        (7, lambda p: p.swapaxes(0, 1)[::-1, ::-1]),
        (8, lambda p: p.swapaxes(0, 1)[::-1]),
    ],
)
def test_exif_rotation_is_applied_once(tmp_path, kind, orientation, upright):
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    options = (
        {"quality": 98, "subsampling": 0} if kind == "JPEG" else {"lossless": True} if kind == "WEBP" else {}
    )
    Image.fromarray(picture()).save(tmp_path / "a", format=kind, exif=exif, **options)
    assert difference(read_photo(tmp_path / "a").pixels, upright(picture())) <= 10


def test_grey_pictures_of_8_and_1_bit_get_three_equal_channels(tmp_path):
    grey = picture()[..., 0]
    Image.fromarray(grey).save(tmp_path / "grey.png")
    Image.fromarray(grey > 90).save(tmp_path / "bits.png")
    assert np.array_equal(read_photo(tmp_path / "grey.png").pixels, np.stack([grey] * 3, axis=2))
    assert np.array_equal(read_photo(tmp_path / "bits.png").pixels[..., 1], np.where(grey > 90, 255, 0))


def test_palette_pictures_get_their_colours_also_with_a_transparent_entry(tmp_path):
    flat = Image.fromarray(picture()).quantize(16)
    flat.save(tmp_path / "a.png")
    flat.save(tmp_path / "b.png", transparency=0)
    expected = np.asarray(flat.convert("RGB"))
    assert np.array_equal(read_photo(tmp_path / "a.png").pixels, expected)
    see_through = np.asarray(flat) == 0
    pixels = read_photo(tmp_path / "b.png").pixels
    assert np.array_equal(pixels[~see_through], expected[~see_through])
    assert (pixels[see_through] == 128).all()


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparent_parts_are_laid_over_middle_grey(tmp_path, mode):
    layered = Image.fromarray(picture()).convert(mode)
    alpha = np.full((24, 32), 255, dtype=np.uint8)
    alpha[:12], alpha[12:14] = 0, 51
    layered.putalpha(Image.fromarray(alpha))
    layered.save(tmp_path / "a.png")
    pixels = read_photo(tmp_path / "a.png").pixels
    full = np.asarray(Image.fromarray(picture()).convert(mode[:-1]).convert("RGB"))
    assert (pixels[:12] == 128).all()
    assert difference(pixels[12:14], np.round(0.2 * full[12:14] + 0.8 * 128)) <= 1
    assert np.array_equal(pixels[14:], full[14:])


@pytest.mark.parametrize("ending", ["png", "tiff"])
def test_16_bit_grey_is_scaled_to_the_full_range(tmp_path, ending):
    deep = (np.linspace(0, 65535, 24 * 32).reshape(24, 32)).astype(np.uint16)
    Image.fromarray(deep).save(tmp_path / f"a.{ending}")
    pixels = read_photo(tmp_path / f"a.{ending}").pixels
    assert (pixels.min(), pixels.max()) == (0, 255)
    assert difference(pixels[..., 2], np.round(deep / 257)) == 0


def test_16_bit_colour_is_scaled_down(tmp_path):
    deep = picture().astype(np.uint16) * 257
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in deep)
    (tmp_path / "a.png").write_bytes(png(32, 24, bit_depth=16, colour=2, data=rows))
    assert difference(read_photo(tmp_path / "a.png").pixels, picture()) <= 1


def test_floating_point_tiff_is_read_as_0_to_1_and_refused_when_its_white_is_unknown(tmp_path):
    grey = picture()[..., 0]
    Image.fromarray(grey.astype(np.float32) / 255).save(tmp_path / "unit.tiff")
    Image.fromarray(grey.astype(np.float32) * 1000).save(tmp_path / "wild.tiff")
    assert np.array_equal(read_photo(tmp_path / "unit.tiff").pixels[..., 0], grey)
    with pytest.raises(InputError, match="expected 0 to 255, so its white is unknown"):
        read_photo(tmp_path / "wild.tiff")


def test_cmyk_becomes_rgb(tmp_path):
    Image.fromarray(picture()).convert("CMYK").save(tmp_path / "a.jpg", quality=98, subsampling=0)
    assert difference(read_photo(tmp_path / "a.jpg").pixels, picture()) <= 12


@pytest.mark.parametrize("kind", ["GIF", "TIFF", "WEBP", "PNG"])
def test_of_an_animation_or_several_pages_the_first_is_taken(tmp_path, kind):
    first = Image.fromarray(np.full((24, 32, 3), 250, dtype=np.uint8))
    second = Image.fromarray(np.full((24, 32, 3), 5, dtype=np.uint8))
    first.save(tmp_path / "a", format=kind, save_all=True, append_images=[second, second])
    assert read_photo(tmp_path / "a").pixels.min() >= 245


def test_an_embedded_colour_profile_changes_nothing(tmp_path):
    from PIL import ImageCms

    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    Image.fromarray(picture()).save(tmp_path / "a.png", icc_profile=profile)
    assert np.array_equal(read_photo(tmp_path / "a.png").pixels, picture())


def png(width: int, height: int, bit_depth: int = 8, colour: int = 2, data: bytes = b"") -> bytes:
    """A PNG file made by hand, so that its header can claim anything."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        )

    header = struct.pack(">IIBBBBB", width, height, bit_depth, colour, 0, 0, 0)
    parts = (chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(data)), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def encoded(kind: str) -> bytes:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, format=kind)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP", "TIFF"])
def test_a_file_cut_short_is_an_error(tmp_path, kind):
    whole = encoded(kind)
    (tmp_path / "a").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"damaged or cut short|not a picture that can be read"):
        read_photo(tmp_path / "a")


@pytest.mark.parametrize(
    "content", [b"hello", b"\xff\xd8\xff", b"GIF89a", b"%!PS-Adobe-3.0 EPSF-3.0\n", b"<svg/>"]
)
def test_what_is_not_a_picture_is_an_error(tmp_path, content):
    (tmp_path / "a.jpg").write_bytes(content)
    with pytest.raises(
        InputError, match=r"a\.jpg (is not a picture that can be read|is damaged or cut short)"
    ):
        read_photo(tmp_path / "a.jpg")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_what_is_no_file_is_named_as_what_it_is_and_never_waited_for():
    with tempfile.TemporaryDirectory() as short:  # the path of a socket may not be long
        pipe, place = Path(short, "pipe.jpg"), Path(short, "socket.jpg")
        os.mkfifo(pipe)
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(place))
            for path, kind in ((pipe, "a pipe"), (place, "a socket"), (Path(os.devnull), "a device")):
                with pytest.raises(InputError, match=f"{path} is {kind}, not a photo"):
                    read_photo(path)


def test_an_empty_file_is_an_error(tmp_path):
    (tmp_path / "a.jpg").touch()
    with pytest.raises(InputError, match=r"is empty \(0 bytes\)"):
        read_photo(tmp_path / "a.jpg")


def test_missing_files_and_folders_are_errors(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        read_photo(tmp_path / "a.jpg")
    with pytest.raises(InputError, match="is a folder"):
        read_photo(tmp_path)


@pytest.mark.parametrize("size", [(1, 1), (MIN_SIDE - 1, 400)])
def test_a_tiny_picture_is_an_error_that_states_the_limit(tmp_path, size):
    Image.new("RGB", size).save(tmp_path / "a.png")
    with pytest.raises(InputError, match=rf"too small .*{size[0]} x {size[1]} pixels, at least {MIN_SIDE}"):
        read_photo(tmp_path / "a.png")


@pytest.mark.parametrize("size", [(20_000, 20_000), (11_000, 11_000)])
def test_a_huge_picture_is_refused_by_its_header_alone(tmp_path, size):
    (tmp_path / "a.png").write_bytes(png(*size, data=b"no pixels in here"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(
            InputError,
            match=rf"{size[0]} x {size[1]} = {size[0] * size[1]} pixels, the limit is {MAX_PIXELS}",
        ):
            read_photo(tmp_path / "a.png")


def test_asking_for_the_size_of_a_huge_picture_warns_of_nothing(tmp_path):
    (tmp_path / "a.png").write_bytes(png(11_000, 11_000, data=b"no pixels in here"))
    ask = "import sys\nfrom pathlib import Path\nfrom deca_cli.photo.read import size_in_header\nprint(size_in_header(Path(sys.argv[1])))"
    words = [sys.executable, "-c", ask, str(tmp_path / "a.png")]
    told = subprocess.run(words, capture_output=True, text=True, check=True)
    assert (told.stdout, told.stderr) == ("(11000, 11000)\n", "")


def test_what_is_no_picture_is_named_once(tmp_path):
    (tmp_path / "a.jpg").write_text("no picture")
    with pytest.raises(InputError) as caught:
        read_photo(tmp_path / "a.jpg")
    assert str(caught.value).count("a.jpg") == 1
    assert "cannot identify" not in str(caught.value)


def test_a_picture_at_pillows_own_warning_limit_is_read_without_a_warning(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 500)
    Image.fromarray(picture()).save(tmp_path / "a.png")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read_photo(tmp_path / "a.png").width == 32
