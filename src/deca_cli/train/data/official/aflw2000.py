"""AFLW2000-3D, for validation: pictures with a `.mat` of 68 points beside each."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from deca_cli.errors import InputError, UsageError
from deca_cli.train.data.decode import decode_colour, read_bytes
from deca_cli.train.data.source import Picture

if TYPE_CHECKING:
    from collections.abc import Sequence

    from deca_cli.train.data.settings import DataSettings

POINTS = "pt3d_68"


class AflwSource:
    """Every picture is a person of its own.

    Args:
        settings: names the folder.

    Raises:
        InputError: there is no picture.
        UsageError: the folder is not set.
    """

    name = "aflw2000"

    def __init__(self, settings: DataSettings) -> None:
        if not settings.aflw2000:
            raise UsageError(
                "The data set 'aflw2000' needs dataset.aflw2000, the folder of its pictures. Set it, or name other "
                "eval_data."
            )
        folder = Path(settings.aflw2000).expanduser()
        self.files = sorted(path for path in folder.glob("*") if path.suffix.lower() in {".jpg", ".png"})
        if not self.files:
            raise InputError(f"{folder} holds no .jpg or .png. Check the path of dataset.aflw2000.")

    def __len__(self) -> int:
        """Pictures."""
        return len(self.files)

    def order(self, random: np.random.Generator) -> np.ndarray:
        """All pictures, shuffled."""
        return random.permutation(len(self))

    def pick(self, person: int, count: int, random: np.random.Generator) -> Sequence[int]:  # noqa: ARG002
        """The one picture, as often as asked."""
        return [person] * count

    def pictures(self, person: int) -> Sequence[int]:
        """The one picture."""
        return [person]

    def label(self, key: int) -> str:
        """The file's name."""
        return f"{self.name}/{self.files[key].stem}"

    def read(self, key: int) -> Picture:
        """Decode.

        Raises:
            InputError: picture or points are missing or damaged.
        """
        path = self.files[key]
        return Picture(decode_colour(read_bytes(path)), read_points(path.with_suffix(".mat")), None)


def read_points(path: Path) -> np.ndarray:
    """float64 [68, 2] of `pt3d_68` [3, 68], x and y in pixels as they stand there.

    Raises:
        InputError: the file is missing, damaged, or lacks them.
    """
    from scipy.io import loadmat

    try:
        points = np.asarray(loadmat(path, variable_names=[POINTS])[POINTS], np.float64)
    except Exception as error:  # scipy raises many kinds for damaged files
        raise InputError(f"{path} has no readable {POINTS} ({type(error).__name__}: {error})") from error
    if points.ndim != 2 or points.shape[0] < 2 or points.shape[1] != 68:
        raise InputError(f"{path}: {POINTS} has the shape {points.shape}, expected (3, 68)")
    return points[:2].T.copy()
