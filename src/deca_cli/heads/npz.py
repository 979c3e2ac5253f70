"""Heads as ``.npz`` files: no pickles, atomic, and the same bytes for the same arrays.

Basis arrays lie component first on disk ([S, V, 3]), because neighbouring values then resemble each other
and compress better. The bytes depend on the arrays and on zlib alone (entry times are fixed); `fingerprint`
compares contents across zlib versions.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from dataclasses import fields
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from deca_cli.atomic import write_file
from deca_cli.errors import ModelError
from deca_cli.heads.assets import AlbedoAssets, HeadAssets

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import BinaryIO

FORMAT = 1
EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time a zip entry can carry
TEXTS = ("expression_names", "joint_names", "region_names")
BASES = ("shape_basis", "expression_basis")
OPTIONAL = ("mirror_vertices", "vertex_regions")
SPECIAL = ("name", "masks", *OPTIONAL, *TEXTS, *BASES)
PLAIN = tuple(f.name for f in fields(HeadAssets) if f.name not in SPECIAL)


def to_arrays(assets: HeadAssets, albedo: AlbedoAssets | None, *, compact: bool) -> dict[str, np.ndarray]:
    """Name and arrange all arrays as they lie in the file."""
    basis_type = np.float16 if compact else np.float32
    arrays = {"format": np.array(FORMAT, np.int32), "name": np.array(assets.name)}
    arrays |= {name: getattr(assets, name) for name in PLAIN}
    arrays |= {name: np.array(getattr(assets, name), dtype=np.str_) for name in TEXTS}
    for name in BASES:
        arrays[name] = np.moveaxis(getattr(assets, name), 2, 0).astype(basis_type)
    arrays["pose_basis"] = assets.pose_basis.astype(basis_type)
    arrays |= {f"mask_{name}": mask for name, mask in assets.masks.items()}
    for name in OPTIONAL:
        if getattr(assets, name) is not None:
            arrays[name] = getattr(assets, name)
    if albedo is not None:
        arrays |= _albedo_arrays(albedo, compact=compact)
    return arrays


def _albedo_arrays(albedo: AlbedoAssets, *, compact: bool) -> dict[str, np.ndarray]:
    components = np.moveaxis(albedo.basis, 3, 0)  # [N, 3, A, A]
    if not compact:
        return {"albedo_mean": albedo.mean, "albedo_basis": components}
    largest = np.abs(components).reshape(len(components), -1).max(axis=1, initial=0)
    scale = np.where(largest > 0, largest / 127, 1).astype(np.float32)
    steps = np.rint(components / scale[:, None, None, None]).astype(np.int8)
    return {"albedo_mean": albedo.mean.astype(np.float16), "albedo_basis": steps, "albedo_scale": scale}


def from_arrays(arrays: Mapping[str, np.ndarray], path: Path) -> tuple[HeadAssets, AlbedoAssets | None]:
    """Build the dataclasses from the arrays of a file.

    Raises:
        ModelError: An array is missing; the message names it.
    """
    version = int(_take(arrays, "format", path))
    if version != FORMAT:
        raise ModelError(
            f"{path} is a head file of format {version}, but this version reads format {FORMAT}: "
            "install the deca-cli version it was made for, or build the head again."
        )
    values: dict[str, object] = {"name": str(_take(arrays, "name", path))}
    values |= {name: _take(arrays, name, path) for name in PLAIN}
    values |= {name: tuple(str(text) for text in _take(arrays, name, path)) for name in TEXTS}
    for name in BASES:
        values[name] = _components_last(_take(arrays, name, path))
    values["pose_basis"] = _take(arrays, "pose_basis", path).astype(np.float32)
    masks = {name.removeprefix("mask_"): array for name, array in arrays.items() if name.startswith("mask_")}
    values["masks"] = MappingProxyType(masks)
    values |= {name: arrays.get(name) for name in OPTIONAL}
    return HeadAssets(**values), _albedo_from(arrays, path)  # type: ignore[arg-type]


def _albedo_from(arrays: Mapping[str, np.ndarray], path: Path) -> AlbedoAssets | None:
    if "albedo_mean" not in arrays:
        return None
    components = _take(arrays, "albedo_basis", path).astype(np.float32)
    if "albedo_scale" in arrays:
        components *= arrays["albedo_scale"][:, None, None, None]
    mean = arrays["albedo_mean"].astype(np.float32)
    return AlbedoAssets(mean=mean, basis=np.moveaxis(components, 0, -1))


def _components_last(components: np.ndarray) -> np.ndarray:
    """[S, V, 3] of any float type -> float32 [V, 3, S]; a view where that suffices."""
    return np.moveaxis(components.astype(np.float32), 0, -1)


def _take(arrays: Mapping[str, np.ndarray], name: str, path: Path) -> np.ndarray:
    if name not in arrays:
        raise ModelError(
            f"{path} lacks the array `{name}`: the file is damaged or not a deca-cli head; "
            "reinstall the package or build the file again."
        )
    return arrays[name]


def write_head_arrays(path: Path, arrays: Mapping[str, np.ndarray], *, compress: bool) -> None:
    """Write a ``.npz`` in one step: either the whole file appears at `path` or nothing changes.

    Raises:
        OutputError: The file cannot be written.
    """

    def fill(stream: BinaryIO) -> None:
        with zipfile.ZipFile(stream, "w") as archive:
            for key, array in arrays.items():
                entry = zipfile.ZipInfo(f"{key}.npy", date_time=EPOCH)
                entry.compress_type = zipfile.ZIP_DEFLATED if compress else zipfile.ZIP_STORED
                entry.create_system = 3  # the same on every platform
                archive.writestr(entry, _npy_bytes(array), compresslevel=9)

    write_file(Path(path), fill)


def _npy_bytes(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, np.ascontiguousarray(array).reshape(array.shape), allow_pickle=False)
    return buffer.getvalue()


def read_head_arrays(path: Path) -> dict[str, np.ndarray]:
    """Read all arrays of a ``.npz`` file; object arrays are refused.

    Raises:
        ModelError: The file is missing, no ``.npz``, or damaged.
    """
    damaged = f"{path} is not a readable head file: reinstall the package or build it again"
    try:
        with Path(path).open("rb") as stream:
            archive = np.load(stream, allow_pickle=False)
            arrays = dict(archive) if isinstance(archive, np.lib.npyio.NpzFile) else {}
    except FileNotFoundError as error:
        raise ModelError(f"There is no head file {path}: check the path or reinstall the package.") from error
    except Exception as error:  # zipfile, zlib and numpy raise many kinds for damaged files
        raise ModelError(f"{damaged} ({error}).") from error
    if not arrays:
        raise ModelError(f"{damaged} (it holds no named arrays).")
    return arrays


def fingerprint(path: Path) -> str:
    """sha256 over the names, types, shapes and values of all arrays, independent of compression."""
    digest = hashlib.sha256()
    for name, array in sorted(read_head_arrays(path).items()):
        digest.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
