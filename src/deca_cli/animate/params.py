"""Read parameters that this tool wrote: `params.npz` of a face, `params.npz` of a clip, or the folder they lie in."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from deca_cli.errors import InputError
from deca_cli.networks.codes import Codes, CodeSizes

FILE = "params.npz"
CODES = ("shape", "albedo", "expression", "pose", "camera", "light", "detail")
NEEDED = ("shape", "expression", "pose", "camera", "model")
_DAMAGE = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile)


@dataclass(frozen=True, eq=False)
class Params:
    """What a parameter file holds."""

    path: Path
    arrays: dict[str, np.ndarray]

    @property
    def model(self) -> str:
        """Name of the model pack that made it."""
        return str(self.arrays["model"])

    @property
    def frames(self) -> int:
        """1 for a face, more for a clip."""
        return len(self.rows("expression"))

    @property
    def fps(self) -> float | None:
        """Of a clip."""
        return float(self.arrays["fps"]) if "fps" in self.arrays else None

    @property
    def photo(self) -> Path | None:
        """The photo it was made from, if it is still there."""
        path = Path(str(self.arrays["photo"])) if "photo" in self.arrays else None
        return path if path is not None and path.is_file() else None

    def rows(self, name: str) -> np.ndarray:
        """A code as float32 [N, size]."""
        values = np.asarray(self.arrays[name], np.float32)
        return values if values.ndim == 2 else values[None]

    def codes(self, sizes: CodeSizes, index: int = 0) -> Codes:
        """The codes of one frame, a batch of one.

        Raises:
            InputError: they have other sizes than the model.
        """
        parts = {}
        for name in CODES:
            size = getattr(sizes, name)
            values = self.rows(name) if name in self.arrays else np.zeros((1, size), np.float32)
            if values.shape[1] != size:
                raise InputError(
                    f"{self.path}: {values.shape[1]} {name} codes, but the model `{self.model}` has {size}. "
                    "It was written with another version of the model: reconstruct the photo again."
                )
            parts[name] = torch.from_numpy(values[min(index, len(values) - 1)][None].copy())
        parts["light"] = parts["light"].unflatten(1, (sizes.light // 3, 3))
        return Codes(**parts)


def is_params(path: Path) -> bool:
    """Whether a path is meant as parameters: a `.npz` file, or a folder with `params.npz` in it."""
    return path.suffix.lower() == ".npz" or (path / FILE).is_file()


def read_params(path: Path) -> Params:
    """Read a parameter file, or the one in a result folder.

    Raises:
        InputError: it is missing, damaged, or not of this tool.
    """
    file = path / FILE if path.is_dir() else path
    if not file.is_file():
        raise InputError(f"{file} does not exist. Check the spelling of the path.")
    try:
        with np.load(file, allow_pickle=False) as data:
            arrays = {name: data[name] for name in data.files}
    except _DAMAGE as error:
        raise InputError(f"{file} is damaged: {error}. Write it again with `deca reconstruct`.") from error
    missing = [name for name in NEEDED if name not in arrays]
    if missing:
        raise InputError(
            f"{file} is not a parameter file of this tool: it lacks {', '.join(missing)}. "
            "Use params.npz of `deca reconstruct`, `deca transfer` or `deca animate`."
        )
    return Params(file, arrays)
