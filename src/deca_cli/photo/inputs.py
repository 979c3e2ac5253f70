"""Turn what was typed (files, folders, globs) into one ordered list of photo files."""

import glob
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from deca_cli.errors import InputError

PHOTO_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")
"""Endings looked for in folders and globs, in any case. A file named outright is taken whatever its ending."""


def list_inputs(
    paths: Iterable[str | os.PathLike[str]], recursive: bool = False, *, exclude: Path | None = None
) -> list[Path]:
    """List the photo files meant by `paths`.

    The order is that of the arguments; inside a folder or glob it is natural (`img2` before `img10`), so it is
    the same on every machine. A file reached twice (also through a link) is listed once. Hidden files are
    left out of folders and globs.

    Args:
        paths: files, folders or globs (`*`, `?`, `[...]`, and `**` for any depth). A file that exists is
            never read as a glob, so names with brackets work.
        recursive: look into sub-folders of the folders as well.
        exclude: a folder whose files are left out of folders and globs, usually the output folder.

    Raises:
        InputError: no path was given, a path is missing, or a folder or glob holds no photo.
    """
    texts = [os.fspath(path) for path in paths]
    if not texts:
        raise InputError("No photo was given. Name at least one photo, folder or glob.")
    excluded = exclude.expanduser().resolve() if exclude is not None else None
    seen: set[Path] = set()
    photos: list[Path] = []
    for text in texts:
        for path in _expand(text, recursive, excluded):
            real = path.resolve()
            if real not in seen:
                seen.add(real)
                photos.append(path)
    return photos


def natural_key(path: Path) -> tuple[tuple[tuple[int, int, str], ...], str]:
    """Sort key that counts digits as numbers, folder by folder; ties go to the plain text."""
    parts: list[tuple[int, int, str]] = []
    for part in path.parts:
        parts.extend(_piece_key(piece) for piece in re.findall(r"[0-9]+|[^0-9]+", part.casefold()))
        parts.append((-1, 0, ""))  # the end of a name sorts before any longer name
    return tuple(parts), str(path)


def _piece_key(piece: str) -> tuple[int, int, str]:
    return (0, int(piece), "") if piece[0] in "0123456789" else (1, 0, piece)


def _expand(text: str, recursive: bool, excluded: Path | None) -> list[Path]:
    path = Path(text).expanduser()
    if _is_dir(path):
        return _photos_in(path, recursive, excluded)
    if path.exists():
        return [path]
    if glob.has_magic(text):
        return _photos_matching(path, excluded)
    raise InputError(_missing(path))


def _is_dir(path: Path) -> bool:
    try:
        return path.is_dir()
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be looked up: {error}. Check the spelling of the path.") from error


def _photos_in(folder: Path, recursive: bool, excluded: Path | None) -> list[Path]:
    if not os.access(folder, os.R_OK | os.X_OK):
        raise InputError(f"The folder {folder} may not be read. Give yourself read permission for it.")
    found = sorted(_wanted(_walk(folder, recursive), folder, excluded), key=natural_key)
    if found:
        return found
    kinds = ", ".join(PHOTO_SUFFIXES)
    if not recursive and _wanted(_walk(folder, recursive=True), folder, excluded):
        raise InputError(
            f"The folder {folder} holds no photo itself, but its sub-folders do. Add --recursive."
        )
    raise InputError(f"The folder {folder} holds no photo ({kinds}). Name a folder with photos, or a file.")


def _photos_matching(pattern: Path, excluded: Path | None) -> list[Path]:
    matches = (Path(match) for match in glob.iglob(str(pattern), recursive=True))  # noqa: PTH207 - any root
    found = sorted(_wanted(matches, None, excluded), key=natural_key)
    if not found:
        kinds = ", ".join(PHOTO_SUFFIXES)
        raise InputError(f"No photo ({kinds}) matches {pattern}. Check the pattern, or put it in quotes.")
    return found


def _walk(folder: Path, recursive: bool) -> Iterator[Path]:
    for root, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if recursive and not name.startswith(".")]
        for name in files:
            yield Path(root, name)


def _wanted(files: Iterable[Path], folder: Path | None, excluded: Path | None) -> list[Path]:
    """The photo files among `files`; an excluded folder counts only where it lies below `folder`."""
    inside = excluded is not None and (folder is None or folder.resolve() != excluded)
    return [
        file
        for file in files
        if file.suffix.lower() in PHOTO_SUFFIXES
        and not file.name.startswith(".")
        and file.is_file()
        and not (inside and excluded in file.resolve().parents)
    ]


def _missing(path: Path) -> str:
    parent = path.parent
    if not parent.exists():
        return f"{path} does not exist: there is no folder {parent}. Check the spelling of the path."
    alike = [
        other.name
        for other in parent.iterdir()
        if other.stem.casefold() == path.stem.casefold() and other.suffix.lower() in PHOTO_SUFFIXES
    ]
    if alike:
        return f"{path} does not exist, but {', '.join(sorted(alike))} does. Check the spelling of the path."
    return f"{path} does not exist. Check the spelling of the path."
