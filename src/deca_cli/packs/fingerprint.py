"""Tell a model pack from another of the same name: one number over everything that decides about its results."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from deca_cli.errors import ModelError

if TYPE_CHECKING:
    from pathlib import Path

DECIDING = (".toml", ".npz", ".safetensors")  # manifest, head, networks; notes and licences do not count
BLOCK = 1 << 20  # bytes read at once


def pack_fingerprint(folder: Path) -> str:
    """SHA-256 (hexadecimal) over names and contents of a pack's manifest, head and weights.

    Raises:
        ModelError: a file cannot be read, or there is none.
    """
    total = hashlib.sha256()
    try:
        files = sorted(path for path in folder.iterdir() if path.suffix in DECIDING)
        for path in files:
            content = hashlib.sha256()
            with path.open("rb") as stream:
                while block := stream.read(BLOCK):
                    content.update(block)
            total.update(f"{path.name} {content.hexdigest()}\n".encode())
    except OSError as error:
        raise ModelError(f"cannot read the model pack {folder}: {error}. Get the pack again.") from error
    if not files:
        raise ModelError(f"{folder} holds no model pack. Give the folder that holds its manifest.")
    return total.hexdigest()
