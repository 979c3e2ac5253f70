"""Where weights of the face-alignment package lie on this machine. Nothing here imports the package, torch or numpy."""

from __future__ import annotations

import importlib.util
import os
from dataclasses import dataclass
from pathlib import Path

from deca_cli.cache import files_folder

PACKAGE = "face_alignment"


@dataclass(frozen=True)
class Weights:
    """A detector module of the package and the files it needs.

    Attributes:
        module: name below `face_alignment.detection`.
        files: argument of its constructor and name of the file in torch's download folder.
    """

    module: str
    files: tuple[tuple[str, str], ...]


KNOWN = (
    Weights("sfd", (("path_to_detector", "s3fd-619a316812.pth"),)),
    Weights("yunet", (("path_to_detector", "face_detection_yunet_2023mar.onnx"),)),
    Weights("blazeface", (("path_to_detector", "blazeface.pth"), ("path_to_anchor", "anchors.npy"))),
)
"""In the order of preference, most accurate first."""


def download_folder() -> Path:
    """Where torch, and with it face-alignment, keeps downloaded weights."""
    # What torch.hub.get_dir answers; asking it would load torch before the photos are begun.
    cache = os.environ.get("XDG_CACHE_HOME", "~/.cache")
    home = os.environ.get("TORCH_HOME", f"{cache}/torch")
    return Path(os.path.expanduser(home), "hub", "checkpoints")  # noqa: PTH111 - without a home, too, as torch does


def missing_weights() -> str | None:
    """Why these detectors cannot be used here, with the cure; None when one can."""
    if importlib.util.find_spec(PACKAGE) is None:
        return "The package face-alignment is not installed. Run: pip install face-alignment, or use --detector lbp."
    if usable_weights() is not None:
        return None
    wanted = " or ".join(" and ".join(name for _, name in weights.files) for weights in KNOWN)
    return (
        f"The weights of face-alignment's detectors are not on this machine: {download_folder()} holds no {wanted}. "
        "Run `deca fetch-models detector`, or use --detector lbp."
    )


def usable_weights() -> tuple[Weights, Path] | None:
    """The best detector with all its files in one of the folders, ours first."""
    folders = (files_folder(), download_folder())
    pairs = ((weights, folder) for weights in KNOWN for folder in folders)
    return next((pair for pair in pairs if _is_complete(*pair)), None)


def _is_complete(weights: Weights, folder: Path) -> bool:
    # Files first: looking up a module of the package imports the package, which takes a second.
    return (
        all((folder / name).is_file() for _, name in weights.files)
        and importlib.util.find_spec(f"{PACKAGE}.detection.{weights.module}") is not None
    )
