"""Torch checkpoints as plain data: tensors in dicts, nothing else."""

from __future__ import annotations

import warnings
import zipfile
from typing import TYPE_CHECKING, Any

from deca_cli.errors import ModelError

if TYPE_CHECKING:
    from pathlib import Path


def load_checkpoint(path: Path, official_name: str) -> Any:  # noqa: ANN401 - nested dicts of tensors
    """Read a torch checkpoint with torch's weights-only reader, which runs nothing from the file.

    Tensors of a checkpoint in torch's zip form stay on the disk until they are used.

    Args:
        path: The file.
        official_name: What to get again if it is damaged, for the message.

    Raises:
        ModelError: The file is missing, damaged, or asks for anything but tensors.
    """
    import torch

    if not path.is_file():
        raise ModelError(f"There is no file {path}: check the path or fetch the official files.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns about odd pickles, which are refused anyway
            return torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except Exception as error:  # a damaged checkpoint can fail in any way, none of which may reach the user
        first_line = (str(error).splitlines() or [""])[0]
        raise ModelError(
            f"{path} is not a readable torch checkpoint ({type(error).__name__}: {first_line[:200]}): "
            f"get `{official_name}` again and do not unpack it."
        ) from error
