"""Video in (OpenCV) and out (ffmpeg through imageio, GIF and PNG through Pillow and OpenCV), frame by frame."""

from __future__ import annotations

import importlib.util
import secrets
import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

import cv2
import numpy as np
from PIL import GifImagePlugin, Image

from deca_cli.errors import InputError, OutputError, UsageError
from deca_cli.export.atomic import make_folder, output_error
from deca_cli.export.pictures import write_picture

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path
    from typing import BinaryIO

VIDEO_SUFFIXES = (".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".wmv", ".gif")
USUAL_FPS = 25.0
GIF_COLOURS = 96
GIF_HELD_BYTES = 64_000_000  # of first frames held back to choose the palette
GIF_LOOP = b"\x21\xff\x0bNETSCAPE2.0\x03\x01\x00\x00\x00"  # for ever
GIF_STILL = 6  # a pixel that changes by no more than this of 255 stays as it was, which keeps GIFs small
MP4_QUALITY = 20  # constant rate factor: 18 can hardly be told from the original, 23 is x264's default
INSTALL = "MP4 needs ffmpeg: pip install 'deca-cli[video]', or write a .gif or a folder of PNG files instead."


class FrameWriter(Protocol):
    """Takes frames uint8 [H, W, 3] RGB of one size."""

    def write(self, frame: np.ndarray) -> None:
        """Add a frame."""

    def close(self) -> None:
        """Finish the file."""


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
        raise UsageError(f"--output {path}: clips end in .mp4 or .gif; a name without an ending is a folder of PNGs.")
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
    writer = {"mp4": _Mp4Writer, "gif": _GifWriter, "png": _PngWriter}[kind](draft, fps)
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
    """imageio's ffmpeg, waiting for frames."""
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


class _GifWriter:
    """GIF of one palette; of each frame only the rectangle that has changed since the one before.

    The palette is taken from as many of the first frames as may be held back.
    """

    def __init__(self, path: Path, fps: float) -> None:
        self.path, self.fps = path, fps
        self.file: BinaryIO | None = None
        self.palette: Image.Image | None = None
        self.held: list[np.ndarray] = []
        self.before: np.ndarray | None = None
        self.written_cs, self.count = 0, 0
        self.waiting: tuple[Image.Image, tuple[int, int]] | None = None

    def write(self, frame: np.ndarray) -> None:
        if self.palette is not None:
            self._add(frame)
            return
        self.held.append(frame.copy())
        if len(self.held) * frame.nbytes > GIF_HELD_BYTES:
            self._release()

    def _release(self) -> None:
        """Choose the palette and write what was held back."""
        self.palette = _palette(self.held)
        for frame in self.held:
            self._add(frame)
        self.held = []

    def _add(self, frame: np.ndarray) -> None:
        if self.before is None:
            self._begin(frame)
        else:
            changed = (np.abs(frame.astype(np.int16) - self.before) > GIF_STILL).any(axis=2)
            rows, columns = np.flatnonzero(changed.any(axis=1)), np.flatnonzero(changed.any(axis=0))
            if len(rows):
                self._flush()
                y0, y1, x0, x1 = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
                self.before[y0:y1, x0:x1] = frame[y0:y1, x0:x1]
                self.waiting = (self._quantised(frame[y0:y1, x0:x1]), (int(x0), int(y0)))
        self.count += 1

    def _begin(self, frame: np.ndarray) -> None:
        self.file = self.path.open("wb")
        picture = self._quantised(frame)
        for block in GifImagePlugin.getheader(picture, info={"loop": 0})[0]:
            self.file.write(block)
        self.file.write(GIF_LOOP)
        self.before, self.waiting = frame.copy(), (picture, (0, 0))

    def _quantised(self, frame: np.ndarray) -> Image.Image:
        assert self.palette is not None
        return Image.fromarray(frame).quantize(palette=self.palette, dither=Image.Dither.NONE)

    def _flush(self) -> None:
        """Write the waiting picture, shown until now; GIF counts in hundredths of a second."""
        if self.waiting is None or self.file is None:
            return
        until = round(100 * self.count / self.fps)
        picture, offset = self.waiting
        duration_ms = 10 * max(2, until - self.written_cs)
        for block in GifImagePlugin.getdata(picture, offset, duration=duration_ms, include_color_table=False):
            self.file.write(block)
        self.written_cs, self.waiting = until, None

    def close(self) -> None:
        if self.held:
            self._release()
        if self.file is None:
            raise OutputError("There is no frame to write. Choose a longer clip.")
        self._flush()
        self.file.write(b";")
        self.file.close()
        self.file = None

    def abandon(self) -> None:
        if self.file is not None:
            self.file.close()


def _palette(frames: list[np.ndarray]) -> Image.Image:
    """A palette for the colours of some frames."""
    chosen = frames[:: max(1, len(frames) // 8)]
    step = max(1, max(chosen[0].shape) // 300)
    return Image.fromarray(np.concatenate([frame[::step, ::step] for frame in chosen])).quantize(
        colors=GIF_COLOURS, method=Image.Quantize.MEDIANCUT
    )


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
