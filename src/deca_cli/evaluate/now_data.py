"""The folder layout of the NoW benchmark: image list, scans, scan landmarks and predictions."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from deca_cli.errors import InputError, UsageError
from deca_cli.evaluate.files import read_text

if TYPE_CHECKING:
    from pathlib import Path

CHALLENGES = ("multiview_neutral", "multiview_expressions", "multiview_occlusions", "selfie")
IMAGE_LISTS = {"val": "imagepathsvalidation.txt", "test": "imagepathstest.txt"}
DOWNLOAD = "Register and download it from https://now.is.tue.mpg.de."


@dataclass(frozen=True)
class NowImage:
    """One line of the image list; only its last three parts count."""

    line: str
    subject: str
    challenge: str
    file: str

    @property
    def name(self) -> str:
        """SUBJECT/CHALLENGE/FILE."""
        return f"{self.subject}/{self.challenge}/{self.file}"

    @property
    def stem(self) -> str:
        """Name of its prediction: the file less its last four characters."""
        return self.file[:-4]


@dataclass(frozen=True)
class NowData:
    """Where the benchmark's own files are."""

    images: tuple[NowImage, ...]
    scans: Path  # SUBJECT/*.obj
    scan_landmarks: Path  # SUBJECT/*.pp

    def of_challenge(self, challenge: str | None) -> NowData:
        """Only the images of one challenge (None: all); raises UsageError when there are none."""
        if challenge is None:
            return self
        images = tuple(image for image in self.images if image.challenge == challenge)
        if not images:
            raise UsageError(
                f"no image of challenge '{challenge}' in the list. NoW's challenges are {', '.join(CHALLENGES)}."
            )
        return replace(self, images=images)

    def scan(self, subject: str) -> Path:
        """The subject's scan, millimetres."""
        return _first(self.scans / subject, "*.obj", "scan")

    def landmarks(self, subject: str) -> Path:
        """The subject's picked points, same frame as the scan."""
        return _first(self.scan_landmarks / subject, "*.pp", "scan landmarks")


@dataclass(frozen=True)
class Prediction:
    """Files predicted for one image; None where there is none."""

    image: NowImage
    mesh: Path | None
    landmarks: Path | None

    @property
    def is_complete(self) -> bool:
        """Whether the image can be measured."""
        return self.mesh is not None and self.landmarks is not None

    @property
    def lacks(self) -> str:
        """What is missing, in words."""
        names = [what for what, path in (("mesh", self.mesh), ("landmarks", self.landmarks)) if path is None]
        return " and ".join(names)


def open_now(
    folder: Path,
    *,
    image_set: str = "val",
    image_list: Path | None = None,
    scans: Path | None = None,
    scan_landmarks: Path | None = None,
) -> NowData:
    """Find the benchmark's files under `folder`; raises InputError naming what is missing."""
    if image_set not in IMAGE_LISTS:
        raise InputError(f"image set '{image_set}' is unknown: choose 'val' or 'test'.")
    listed = image_list or folder / IMAGE_LISTS[image_set]
    if not listed.is_file():
        raise InputError(
            f"no image list at {listed}: {folder} does not look like the NoW data set. {DOWNLOAD}"
        )
    images = read_image_list(listed)
    return NowData(images, scans or folder / "scans", scan_landmarks or folder / "scans_lmks_onlypp")


def read_image_list(path: Path) -> tuple[NowImage, ...]:
    """Read the list; raises InputError for an empty list or a line without subject, challenge and file."""
    images = []
    for line in read_text(path).split():
        parts = line.replace("\\", "/").split("/")
        if len(parts) < 3:
            raise InputError(
                f"{path}: line '{line}' is not SUBJECT/CHALLENGE/FILE. Use the list of the data set."
            )
        images.append(NowImage(line, *parts[-3:]))
    if not images:
        raise InputError(f"{path} lists no image. Use the list of the data set.")
    return tuple(images)


def find_prediction(folder: Path, image: NowImage) -> Prediction:
    """The files of one image: .obj before .ply, .npy before .txt."""
    base = folder / image.subject / image.challenge
    return Prediction(
        image, _existing(base, image.stem, (".obj", ".ply")), _existing(base, image.stem, (".npy", ".txt"))
    )


def _existing(folder: Path, stem: str, suffixes: tuple[str, ...]) -> Path | None:
    return next((path for path in (folder / (stem + s) for s in suffixes) if path.is_file()), None)


def _first(folder: Path, pattern: str, what: str) -> Path:
    found = sorted(folder.glob(pattern))
    if not found:
        raise InputError(f"no {what} ({pattern}) in {folder}. {DOWNLOAD}")
    return found[0]
