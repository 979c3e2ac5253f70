"""Video in (OpenCV) and out (ffmpeg through imageio, GIF through Pillow, PNG through OpenCV), frame by frame."""

from __future__ import annotations

import importlib.util
import secrets
import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

import cv2
import numpy as np

from deca_cli.animate.gif import GifWriter
from deca_cli.errors import InputError, OutputError, UsageError
from deca_cli.export.atomic import make_folder, output_error
from deca_cli.export.pictures import write_picture

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

VIDEO_SUFFIXES = (".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".wmv")
USUAL_FPS = 25.0
MP4_QUALITY = 20  # constant rate factor: 18 can hardly be told from the original, 23 is x264's default
INSTALL = "MP4 needs ffmpeg: pip install 'deca-cli[video]' (in a clone: '.[video]'), or write a .gif or a folder of PNG files instead."


class FrameWriter(Protocol):
    """Takes frames uint8 [H, W, 3] RGB of one size."""

    def write(self, frame: np.ndarray) -> None:
        """Add a frame."""

    def close(self) -> None:
        """Finish the file."""

    def abandon(self) -> None:
        """Let go of what is open, after an error or after `close`."""


def video_fps(path: Path) -> float:
    """Frames per second of a video; 25 if it does not say."""
    fps = float(_open(path).get(cv2.CAP_PROP_FPS))
    return fps if 1 <= fps <= 480 else USUAL_FPS


def read_video(path: Path) -> Iterator[np.ndarray]:
    """Frames uint8 [H, W, 3] RGB, one after another; turned upright as the file asks.

    Raises:
        InputError: it cannot be opened or holds no frame.
    """
    capture = _open(path)
    count = 0
    try:
        while True:
            done, frame = capture.read()
            if not done:
                break
            count += 1
            yield cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)
    finally:
        capture.release()
    if count == 0:
        raise InputError(f"{path} holds no frame that can be read. Convert it to MP4 (H.264) first.")


def _open(path: Path) -> Any:  # noqa: ANN401 - cv2.VideoCapture has no useful type
    if not path.is_file():
        raise InputError(f"{path} does not exist. Check the spelling of the path.")
    capture = cv2.VideoCapture(str(path))
    if not capture.isOpened():
        raise InputError(f"{path} is not a video that can be read. Convert it to MP4 (H.264) first.")
    return capture


def kind_of_output(path: Path) -> str:
    """`mp4`, `gif`, or `png` for a folder.

    Raises:
        UsageError: an ending that is none of these, or MP4 without ffmpeg.
    """
    suffix = path.suffix.lower()
    if suffix == ".mp4" and not has_ffmpeg():
        raise UsageError(INSTALL)
    if suffix in {".mp4", ".gif"}:
        return suffix[1:]
    if suffix and not path.is_dir():
        raise UsageError(
            f"--output {path}: clips end in .mp4 or .gif; a name without an ending is a folder of PNGs."
        )
    return "png"


def has_ffmpeg() -> bool:
    """Whether MP4 can be written."""
    return importlib.util.find_spec("imageio_ffmpeg") is not None


@contextmanager
def open_writer(path: Path, fps: float) -> Iterator[FrameWriter]:
    """A writer by the ending of the name. The file appears when all frames are in it, or not at all.

    Raises:
        UsageError: see `kind_of_output`.
        OutputError: it cannot be written.
    """
    kind = kind_of_output(path)
    make_folder(path.parent)
    draft = path.with_name(f".{path.stem[:40]}.{secrets.token_hex(4)}.part{path.suffix}")
    kinds: dict[str, Callable[[Path, float], FrameWriter]]
    kinds = {"mp4": _Mp4Writer, "gif": GifWriter, "png": _PngWriter}
    writer = kinds[kind](draft, fps)
    try:
        yield writer
        writer.close()
        if kind == "png" and path.is_dir():
            _move_frames(draft, path)
        else:
            draft.replace(path)
    except OSError as error:
        raise output_error(path, error) from error
    finally:
        writer.abandon()
        if draft.is_dir():
            shutil.rmtree(draft, ignore_errors=True)
        else:
            draft.unlink(missing_ok=True)


def _move_frames(draft: Path, folder: Path) -> None:
    """Put frames into a folder that is there already: older frames go, everything else in it stays."""
    for old in folder.glob("frame_*.png"):
        old.unlink()
    for frame in sorted(draft.iterdir()):
        frame.replace(folder / frame.name)


def write_all(path: Path, frames: Iterable[np.ndarray], fps: float) -> int:
    """Write frames as they come; return how many there were."""
    count = 0
    with open_writer(path, fps) as writer:
        for frame in frames:
            writer.write(frame)
            count += 1
    return count


class _Mp4Writer:
    """H.264 in MP4, with the colours and the order of a file that plays everywhere. ffmpeg is a process of its own."""

    def __init__(self, path: Path, fps: float) -> None:
        self.path, self.fps = path, fps
        self.pipe: Any = None

    def write(self, frame: np.ndarray) -> None:
        height, width = frame.shape[:2]
        if height % 2 or width % 2:  # yuv420p has a colour for every two by two pixels
            frame = np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        if self.pipe is None:
            self.pipe = _start_ffmpeg(self.path, (frame.shape[1], frame.shape[0]), self.fps)
        self.pipe.send(np.ascontiguousarray(frame))

    def close(self) -> None:
        if self.pipe is None:
            raise OutputError("There is no frame to write. Choose a longer clip.")
        self.pipe.close()
        self.pipe = None
        if not self.path.is_file() or self.path.stat().st_size == 0:
            raise OutputError(f"ffmpeg wrote nothing to {self.path.parent}. Check that the disk has space.")

    def abandon(self) -> None:
        if self.pipe is not None:
            self.pipe.close()
            self.pipe = None


def _start_ffmpeg(path: Path, size: tuple[int, int], fps: float) -> Any:  # noqa: ANN401 - a generator
    """Imageio's ffmpeg, waiting for frames."""
    import imageio_ffmpeg

    pipe = imageio_ffmpeg.write_frames(
        str(path),
        size,
        fps=fps,
        codec="libx264",
        pix_fmt_in="rgb24",
        pix_fmt_out="yuv420p",
        macro_block_size=2,
        quality=None,
        ffmpeg_log_level="error",
        output_params=["-crf", str(MP4_QUALITY), "-preset", "veryfast", "-movflags", "+faststart"],
    )
    pipe.send(None)
    return pipe


class _PngWriter:
    """frame_00001.png, frame_00002.png ... in a folder."""

    def __init__(self, path: Path, _: float) -> None:
        self.path, self.count = path, 0

    def write(self, frame: np.ndarray) -> None:
        make_folder(self.path)
        self.count += 1
        write_picture(self.path / f"frame_{self.count:05d}.png", frame)

    def close(self) -> None:
        if self.count == 0:
            raise OutputError("There is no frame to write. Choose a longer clip.")

    def abandon(self) -> None:
        """Nothing is open."""
