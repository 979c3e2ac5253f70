"""Reader of the albedo models (spec section 1.4). They are large, so only the part in use is kept in memory."""

from __future__ import annotations

import zipfile
from typing import TYPE_CHECKING

import numpy as np

from deca_cli.errors import ModelError
from deca_cli.heads.assets import AlbedoAssets

if TYPE_CHECKING:
    from pathlib import Path
    from typing import IO

ALBEDO_SIZE = 512
ALBEDO_COMPONENTS = 50
MOST_COMPONENTS = 1000  # the official files have 199 and 200
KINDS = ((("MU", "PC"), 1.0), (("mean", "tex_dir"), 255.0))  # names of mean and basis, and the value of white


def read_albedo(path: Path, n_components: int = ALBEDO_COMPONENTS) -> AlbedoAssets:
    """The albedo model `FLAME_albedo_from_BFM.npz`, or `FLAME_texture.npz` (spec section 1.4).

    Every second texel is taken (the release resizes 512 to 256 by nearest neighbour), blue-green-red becomes
    red-green-blue, and the values of `FLAME_texture.npz` are divided by 255.

    Raises:
        ModelError: The file is missing, damaged, or holds neither model.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            names = {name.removesuffix(".npy") for name in archive.namelist()}
            keys, white = next((kind for kind in KINDS if names.issuperset(kind[0])), KINDS[0])
            mean, basis = (_every_second_texel(archive, key, n_components) for key in keys)
    except Exception as error:  # zipfile, zlib and numpy raise many kinds for damaged files
        raise ModelError(
            f"{path} is not an albedo model ({type(error).__name__}: {error}): it must be FLAME_albedo_from_BFM.npz "
            "or FLAME_texture.npz."
        ) from error
    if mean is None or basis is None or mean.shape[3] < 1 or basis.shape[3] < n_components:
        raise ModelError(
            f"{path}: `{keys[0]}` or `{keys[1]}` has the wrong size for a {ALBEDO_SIZE} x {ALBEDO_SIZE} map."
        )
    return AlbedoAssets(mean=_channels_first(mean[..., 0], white), basis=_channels_first(basis, white))


def _channels_first(texels: np.ndarray, white: float) -> np.ndarray:
    """[S, S, 3 BGR, ...] -> float32 [3 RGB, S, S, ...] in 0..1."""
    return np.ascontiguousarray(np.moveaxis(texels[:, :, ::-1], 2, 0) / white, dtype=np.float32)


def _every_second_texel(archive: zipfile.ZipFile, key: str, components: int) -> np.ndarray | None:
    """[S/2, S/2, 3, up to `components`] of an array of S * S * 3 * any numbers, read row by row; None if misshapen."""
    with archive.open(f"{key}.npy") as stream:
        shape, fortran, dtype = _header(stream)
        texels = ALBEDO_SIZE * ALBEDO_SIZE * 3
        depth, rest = divmod(int(np.prod(shape)), texels)
        if rest or not 1 <= depth <= MOST_COMPONENTS or dtype.kind != "f":
            return None
        if fortran:  # its texels are spread over the whole file
            whole = np.frombuffer(_read_exactly(stream, texels * depth * dtype.itemsize), dtype)
            array = whole.reshape(shape, order="F").reshape(ALBEDO_SIZE, ALBEDO_SIZE, 3, depth)
            return array[::2, ::2, :, :components].copy()
        rows = []
        for row in range(ALBEDO_SIZE):
            content = _read_exactly(stream, ALBEDO_SIZE * 3 * depth * dtype.itemsize)
            if row % 2 == 0:
                texel = np.frombuffer(content, dtype).reshape(ALBEDO_SIZE, 3, depth)
                rows.append(texel[::2, :, :components].copy())
        return np.stack(rows)


def _header(stream: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype]:
    version = np.lib.format.read_magic(stream)
    if version == (1, 0):
        return np.lib.format.read_array_header_1_0(stream)
    if version == (2, 0):
        return np.lib.format.read_array_header_2_0(stream)
    raise ValueError(f"arrays of version {version} are not known")


def _read_exactly(stream: IO[bytes], count: int) -> bytes:
    content = stream.read(count)
    if len(content) != count:
        raise EOFError("an array ends too early")
    return content
