"""Turn what was typed (files, folders, globs) into one ordered list of photo files."""

import errno
import glob
import os
import re
from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from deca_cli.errors import InputError

PHOTO_SUFFIXES = (
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif", ".ppm", ".pgm", ".pnm",
)  # fmt: skip
"""Endings looked for in folders and globs, in any case. A file named outright is taken whatever its ending."""

UNREADABLE_SUFFIXES = (
    ".heic", ".heif", ".avif", ".jxl", ".jp2", ".psd", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".raf", ".rw2",
)  # fmt: skip
"""Endings of pictures that cannot be read; they are passed over in folders and globs, and counted."""


Marks = Collection[frozenset[str]]


@dataclass(frozen=True)
class Inputs:
    """What was found."""

    photos: list[Path] = field(default_factory=list)
    passed_over: list[Path] = field(default_factory=list)
    """Pictures of kinds that cannot be read."""
    closed: list[Path] = field(default_factory=list)
    """Folders that may not be read."""
    no_files: list[Path] = field(default_factory=list)
    """What has a picture's ending and is no file: dead links, pipes, folders that are not looked into."""

    def left_out(self) -> str:
        """What was not taken, why, and the cure; empty if everything was."""
        parts = []
        if self.passed_over:
            kinds = ", ".join(sorted({file.suffix.lower() for file in self.passed_over}))
            parts.append(
                f"{len(self.passed_over)} of kinds that cannot be read ({kinds}): export them as JPEG"
            )
        if self.no_files:
            parts.append(f"{len(self.no_files)} that are no files (dead links, pipes, folders)")
        if self.closed:
            parts.append(f"folders that may not be read: {', '.join(map(str, self.closed))}")
        return "; ".join(parts)


def expand_home(path: str | os.PathLike[str]) -> Path:
    """`~/x` and `~name/x` as folders of a user; as it is where there is no such user: then it is a file named `~x`."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)


def list_inputs(
    paths: Iterable[str | os.PathLike[str]], recursive: bool = False, *, marks: Marks = ()
) -> list[Path]:
    """The photos of `find_inputs`."""
    return find_inputs(paths, recursive, marks=marks).photos


def find_inputs(
    paths: Iterable[str | os.PathLike[str]], recursive: bool = False, *, marks: Marks = ()
) -> Inputs:
    """List the photo files meant by `paths`.

    The order is that of the arguments; inside a folder or glob it is natural (`img2` before `img10`), so it is
    the same on every machine. A file reached twice (also through a link) is listed once. Hidden files are
    left out of folders and globs.

    Args:
        paths: files, folders or globs (`*`, `?`, `[...]`, and `**` for any depth). A file that exists is
            never read as a glob, so names with brackets work.
        recursive: look into sub-folders of the folders as well.
        marks: names of files that together tell that a folder holds results; what lies in such a folder below
            one that was named, or was reached through a glob, is left out.

    Raises:
        InputError: no path was given, a path is missing, or a folder or glob holds no photo.
    """
    texts = [os.fspath(path) for path in paths]
    if not texts:
        raise InputError("No photo was given. Name at least one photo, folder or glob.")
    found = [_expand(text, recursive, marks) for text in texts]
    return Inputs(
        _once(file for one in found for file in one.photos),
        _once(file for one in found for file in one.passed_over),
        _once(folder for one in found for folder in one.closed),
        _once(path for one in found for path in one.no_files),
    )


def _once(files: Iterable[Path]) -> list[Path]:
    """The files in order, each only where it is reached first."""
    first: dict[str, Path] = {}
    for file in files:
        first.setdefault(os.path.realpath(file), file)  # Path.resolve() refuses links that lead to themselves
    return list(first.values())


def natural_key(path: Path) -> tuple[tuple[tuple[int, int, str], ...], str]:
    """Sort key that counts digits as numbers, folder by folder; ties go to the plain text."""
    parts: list[tuple[int, int, str]] = []
    for part in path.parts:
        parts.extend(_piece_key(piece) for piece in re.findall(r"[0-9]+|[^0-9]+", part.casefold()))
        parts.append((-1, 0, ""))  # the end of a name sorts before any longer name
    return tuple(parts), str(path)


def _piece_key(piece: str) -> tuple[int, int, str]:
    return (0, int(piece), "") if piece[0] in "0123456789" else (1, 0, piece)


def _expand(text: str, recursive: bool, marks: Marks) -> Inputs:
    path = expand_home(text)
    try:
        if path.is_dir():
            return _photos_in(path, recursive, marks)
        if path.exists():
            return Inputs([path])
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path} cannot be looked up: {error}. Check the path and its permissions."
        ) from error
    if glob.has_magic(text):
        return _photos_matching(path, marks)
    raise InputError(_missing(path))


def _photos_in(folder: Path, recursive: bool, marks: Marks) -> Inputs:
    if not os.access(folder, os.R_OK | os.X_OK):
        raise InputError(f"The folder {folder} may not be read. Give yourself read permission for it.")
    closed: list[Path] = []
    found = _by_kind(_walk(folder, recursive, marks, closed), closed)
    if found.photos:
        return found
    kinds = ", ".join(PHOTO_SUFFIXES)
    if not recursive and _by_kind(_walk(folder, True, marks, []), []).photos:
        raise InputError(
            f"The folder {folder} holds no photo itself, but its sub-folders do. Add --recursive."
        )
    raise InputError(
        f"The folder {folder} holds no photo ({kinds}){_but(found)}. Name a folder with photos, or a file."
    )


def _photos_matching(pattern: Path, marks: Marks) -> Inputs:
    matches = (Path(match) for match in glob.iglob(str(pattern), recursive=True))  # noqa: PTH207 - any root
    fixed = len(_before_magic(pattern).parts)
    known: dict[Path, bool] = {}

    def is_result(file: Path) -> bool:
        """Whether a folder between the pattern's fixed beginning and the file holds results."""
        above = list(file.parents)[: max(len(file.parts) - 1 - fixed, 0)]
        for folder in above:
            if folder not in known:
                known[folder] = any(all((folder / name).exists() for name in mark) for mark in marks)
        return any(known[folder] for folder in above)

    found = _by_kind((file for file in matches if not is_result(file)), [])
    if not found.photos:
        kinds = ", ".join(PHOTO_SUFFIXES)
        raise InputError(
            f"No photo ({kinds}) matches {pattern}{_but(found)}. Check the pattern, or put it in quotes."
        )
    return found


def _before_magic(pattern: Path) -> Path:
    """The folders of a pattern before the first part with a star or the like."""
    parts = pattern.parts
    first = next((index for index, part in enumerate(parts) if glob.has_magic(part)), len(parts))
    return Path(*parts[:first])


def _walk(folder: Path, recursive: bool, marks: Marks, closed: list[Path]) -> Iterator[Path]:
    """All files of a folder but those in results, and sub-folders that are not looked into; those that may not be read are added to `closed`."""

    def note(error: OSError) -> None:
        closed.append(Path(os.fsdecode(error.filename)))

    for root, folders, files in os.walk(folder, onerror=note):
        if Path(root) != folder and any(mark.issubset(files) for mark in marks):
            folders.clear()
            continue
        for name in files if recursive else (*files, *folders):
            yield Path(root, name)
        folders[:] = [name for name in folders if recursive and not name.startswith(".")]


def _by_kind(files: Iterable[Path], closed: list[Path]) -> Inputs:
    """Photos, pictures of other kinds, and what is no file but is named like one, in natural order; hidden files are left out."""
    photos: list[Path] = []
    passed_over: list[Path] = []
    no_files: list[Path] = []
    kinds = dict.fromkeys(PHOTO_SUFFIXES, photos) | dict.fromkeys(UNREADABLE_SUFFIXES, passed_over)
    for file in sorted(files, key=natural_key):
        kind = kinds.get(file.suffix.lower())
        if kind is not None and not file.name.startswith("."):
            (kind if _is_file(file) else no_files).append(file)
    return Inputs(photos, passed_over, closed, no_files)


def _is_file(path: Path) -> bool:
    with suppress(OSError):
        return path.is_file()
    return False


def _but(found: Inputs) -> str:
    said = found.left_out()
    return f", but pictures or folders were left out ({said})" if said else ""


def _leads_to_itself(link: Path) -> bool:
    try:
        link.stat()
    except OSError as error:
        return error.errno == errno.ELOOP
    return False


def _missing(path: Path) -> str:
    if path.is_symlink():
        if _leads_to_itself(path):
            return f"{path} is a link that leads back to itself. Mend the link, or name the photo itself."
        return f"{path} is a link to {path.readlink()}, which does not exist. Mend the link, or name the photo itself."
    parent = path.parent
    if not parent.is_dir():
        what = "is a file" if parent.exists() else "does not exist"
        return f"{path} does not exist: its folder {parent} {what}. Check the spelling of the path."
    alike: list[str] = []
    with suppress(OSError):  # one may look up names in a folder that one may not list
        alike = [
            other.name
            for other in parent.iterdir()
            if other.stem.casefold() == path.stem.casefold() and other.suffix.lower() in PHOTO_SUFFIXES
        ]
    if alike:
        return f"{path} does not exist, but {', '.join(sorted(alike))} does. Check the spelling of the path."
    return f"{path} does not exist. Check the spelling of the path."
