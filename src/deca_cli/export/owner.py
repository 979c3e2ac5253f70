"""Whose a result folder is: a small file in it names the photo, so that nothing else is ever overwritten."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING

from deca_cli.errors import OutputError
from deca_cli.export.atomic import output_error, to_bytes

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

OWNER = ".deca-photo"


def photo_identity(photo: Path) -> str:
    """The absolute path without links; bytes of its name that are no text are kept, as Python keeps them in a string."""
    return str(photo.resolve())


def owner_of(folder: Path) -> str | None:
    """The `photo_identity` of the photo that the folder was claimed for; None if it was for none."""
    try:
        owner = json.loads((folder / OWNER).read_text("utf-8"))["photo"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return owner if isinstance(owner, str) else None


def is_owned_by(folder: Path, photo: Path) -> bool:
    """Whether the folder was claimed for this photo."""
    return owner_of(folder) == photo_identity(photo)


def is_free(folder: Path) -> bool:
    """Whether the folder could be claimed: it is not there, or empty."""
    try:
        return not any(folder.iterdir())
    except FileNotFoundError:
        return True
    except OSError:
        return False


def claim_folder(output: Path, names: Sequence[str], photo: Path) -> Path:
    """Make the first of these folders that is free, or is the photo's already, and put the photo's name in it.

    Two programs that claim one folder at once get different ones, as the file with the name is only ever created.

    Raises:
        OutputError: nothing can be written, or all these folders hold something else.
    """
    for name in names:
        if is_owned_by(output / name, photo) or _claim(output / name, photo):
            return output / name
    raise OutputError(
        f"cannot write the result of {photo}: {output / names[-1]} holds something else; "
        "choose another folder with --output."
    )


def _claim(folder: Path, photo: Path) -> bool:
    """Claim a folder unless it holds something, or another program is quicker."""
    try:
        with suppress(FileExistsError):
            folder.mkdir()
        if not is_free(folder):
            return False
        stream = (folder / OWNER).open("xb")
    except FileExistsError:
        return False
    except OSError as error:
        raise output_error(folder, error) from error
    try:
        with stream:
            stream.write(to_bytes(json.dumps({"photo": photo_identity(photo)}, ensure_ascii=False) + "\n"))
    except OSError as error:
        with suppress(OSError):
            (folder / OWNER).unlink()
        raise output_error(folder / OWNER, error) from error
    return True
