"""GIF, written frame by frame: Pillow's own way to write one keeps all frames in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import GifImagePlugin, Image

from deca_cli.errors import OutputError

if TYPE_CHECKING:
    from pathlib import Path
    from typing import BinaryIO

COLOURS = 96
HELD_BYTES = 64_000_000  # of first frames held back to choose the palette
LOOP = b"\x21\xff\x0bNETSCAPE2.0\x03\x01\x00\x00\x00"  # for ever
STILL = 6  # a pixel that changes by no more than this of 255 stays as it was, which keeps GIFs small


class GifWriter:
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
        """Add a frame."""
        if self.palette is not None:
            self._add(frame)
            return
        self.held.append(frame.copy())
        if len(self.held) * frame.nbytes > HELD_BYTES:
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
            changed = (np.abs(frame.astype(np.int16) - self.before) > STILL).any(axis=2)
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
        self.file.write(LOOP)
        self.before, self.waiting = frame.copy(), (picture, (0, 0))

    def _quantised(self, frame: np.ndarray) -> Image.Image:
        return Image.fromarray(np.ascontiguousarray(frame)).quantize(
            palette=self.palette, dither=Image.Dither.NONE
        )

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
        """Finish the file."""
        if self.held:
            self._release()
        if self.file is None:
            raise OutputError("There is no frame to write. Choose a longer clip.")
        self._flush()
        self.file.write(b";")
        self.file.close()
        self.file = None

    def abandon(self) -> None:
        """Let go of the file."""
        if self.file is not None:
            self.file.close()


def _palette(frames: list[np.ndarray]) -> Image.Image:
    """A palette for the colours of some frames."""
    chosen = frames[:: max(1, len(frames) // 8)]
    step = max(1, max(chosen[0].shape) // 300)
    return Image.fromarray(np.concatenate([frame[::step, ::step] for frame in chosen])).quantize(
        colors=COLOURS, method=Image.Quantize.MEDIANCUT
    )
