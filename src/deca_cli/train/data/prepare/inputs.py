"""Which photos and videos there are, and whom they show."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path

from deca_cli.animate.video import VIDEO_SUFFIXES
from deca_cli.errors import InputError
from deca_cli.photo.inputs import PHOTO_SUFFIXES, UNREADABLE_SUFFIXES, expand_home, natural_key

LIST_SUFFIXES = (".txt", ".csv", ".tsv", ".lst")


@dataclass(frozen=True)
class SourceFile:
    """A photo or a video of one person."""

    person: str
    name: str  # unique within the person, fit for file names
    path: Path
    mask: Path | None = None  # given skin mask, of a photo

    @property
    def is_video(self) -> bool:
        """By its ending."""
        return self.path.suffix.lower() in VIDEO_SUFFIXES


@dataclass(frozen=True)
class Found:
    """What there is to do, and what is left out with the reason."""

    files: list[SourceFile] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)


def find_sources(where: str | os.PathLike[str], masks: Path | None = None) -> Found:
    """Photos and videos below a folder with one sub-folder per person, or those of a list.

    A video directly in the folder is a person of its own. A list has one line per file: the person, then a tab or a
    comma, then the path (relative paths start at the list).

    Args:
        where: the folder or the list.
        masks: folder with skin masks under the same relative paths, as .png; photos without one get a drawn mask.

    Raises:
        InputError: it does not exist, or holds nothing that can be used.
    """
    path = expand_home(where)
    if path.is_dir():
        found = _in_folder(path)
        root = path
    elif path.is_file():
        if path.suffix.lower() not in LIST_SUFFIXES:
            raise InputError(
                f"{path} is neither a folder nor a list ({', '.join(LIST_SUFFIXES)}). Name a folder with one "
                "sub-folder per person, or a list with lines `person,path`."
            )
        found = _in_list(path)
        root = path.parent
    else:
        raise InputError(f"{path} does not exist. Check the spelling of the path.")
    if not found.files:
        first = next(iter(found.left_out.items()), None)
        reason = (
            f" {len(found.left_out)} files were left out, for example {first[0]}: {first[1]}."
            if first
            else ""
        )
        raise InputError(
            f"{path} holds no photo or video of anybody.{reason} "
            "Put the photos of every person into a sub-folder of its own."
        )
    return Found([_with_mask(file, root, masks) for file in _named_apart(found.files)], found.left_out)


def _in_folder(folder: Path) -> Found:
    found = Found()
    seen: set[str] = set()  # a link may lead back
    for root, folders, names in os.walk(
        folder, onerror=lambda error: _note_closed(error, found), followlinks=True
    ):
        if (place := os.path.realpath(root)) in seen:
            folders.clear()
            continue
        seen.add(place)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for path in sorted((Path(root, name) for name in names if not name.startswith(".")), key=natural_key):
            _sort_in(path, path.relative_to(folder), found)
    return found


def _note_closed(error: OSError, found: Found) -> None:
    found.left_out[os.fsdecode(error.filename)] = "the folder may not be read"


def _sort_in(path: Path, relative: Path, found: Found) -> None:
    suffix = path.suffix.lower()
    if suffix in UNREADABLE_SUFFIXES:
        found.left_out[str(path)] = f"pictures of this kind ({suffix}) cannot be read; export them as JPEG"
    elif suffix in (*PHOTO_SUFFIXES, *VIDEO_SUFFIXES):
        if len(relative.parts) > 1:
            inner = Path(*relative.parts[1:])
            found.files.append(SourceFile(relative.parts[0], _flat(inner), path))
        elif suffix in VIDEO_SUFFIXES:
            found.files.append(SourceFile(path.stem, "video", path))
        else:
            found.left_out[str(path)] = "it lies in no person's sub-folder"


def _flat(relative: Path) -> str:
    return "__".join(relative.with_suffix("").parts)


def _in_list(path: Path) -> Found:
    found = Found()
    try:
        lines = path.read_text("utf-8", "surrogateescape").splitlines()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}. Check its permissions.") from error
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith("#"):
            continue
        person, name = _fields(line)
        if not person or not name or person.startswith(".") or any(sign in person for sign in "/\\\0"):
            raise InputError(
                f"{path}, line {number}: expected `person,path` or `person<tab>path`, with a person's name that can be "
                f"the name of a folder, got {line.strip()!r}."
            )
        file = path.parent / expand_home(name)
        if not file.is_file():
            found.left_out[str(file)] = f"line {number} of {path.name} names it, but it does not exist"
        else:
            found.files.append(SourceFile(person, _flat(Path(file.name)), file))
    return found


def _fields(line: str) -> tuple[str, str]:
    sign = "\t" if "\t" in line else ","
    person, _, name = line.partition(sign)
    return person.strip(), name.strip()


def _named_apart(files: list[SourceFile]) -> list[SourceFile]:
    """Files of one person whose names would be equal get a piece of a hash of their path."""
    counts = Counter((file.person, file.name) for file in files)
    return [
        file if counts[file.person, file.name] == 1 else replace(file, name=f"{file.name}_{_hash(file.path)}")
        for file in files
    ]


def _hash(path: Path) -> str:
    return hashlib.sha256(os.fsencode(path.absolute())).hexdigest()[:8]


def _with_mask(file: SourceFile, root: Path, masks: Path | None) -> SourceFile:
    if masks is None or file.is_video or not file.path.is_relative_to(root):
        return file
    mask = (masks / file.path.relative_to(root)).with_suffix(".png")
    return replace(file, mask=mask) if mask.is_file() else file
