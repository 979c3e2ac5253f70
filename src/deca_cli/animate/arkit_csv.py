"""ARKit coefficients over time from a CSV file, exports of Live Link Face included.

A row is a frame, a column a coefficient; the header names them in any capitals, with `Left` or `_L`. Live Link Face
writes `Timecode` (hours:minutes:seconds:frames.part, 60 frames a second), `BlendShapeCount`, the 52 coefficients and nine
angles in radians, of which `HeadYaw`, `HeadPitch` and `HeadRoll` are read. Other files may have a column `time` in seconds
or `frame`.
"""

from __future__ import annotations

import csv
import re
from typing import TYPE_CHECKING

import numpy as np
import torch

from deca_cli.animate.motion import Motion, sample
from deca_cli.animate.named import unknown_name
from deca_cli.animate.spaces import arkit_space
from deca_cli.errors import InputError
from deca_cli.heads.rotations import euler_degrees_to_matrix, matrix_to_axis_angle

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

LIVE_LINK_FPS = 60.0
ANGLES = ("headyaw", "headpitch", "headroll")  # radians
NOT_SHAPES = {
    "timecode", "blendshapecount", "time", "frame", "seconds", "timestamp", "fps", "subject",
    *ANGLES, *(f"{side}eye{angle}" for side in ("left", "right") for angle in ("yaw", "pitch", "roll")),
}  # fmt: skip
TIMECODE = re.compile(r"^(\d+):(\d+):(\d+)[:;](\d+(?:\.\d+)?)$")


def read_arkit_csv(path: Path, fps: float | None = None) -> Motion:
    """Read a clip.

    Args:
        path: the file.
        fps: frame rate of a file that does not tell times; Live Link's 60 if left out.

    Raises:
        InputError: it cannot be read, is empty, or a column or value is not what it should be.
    """
    header, rows = _rows(path)
    columns = [_plain(name) for name in header]
    shapes = _shape_columns(path, header, columns)
    try:
        values = np.array([[float(row[index]) for index in shapes] for row in rows], np.float32)
    except (ValueError, IndexError):
        raise InputError(_bad_value(path, header, rows, list(shapes))) from None
    if not np.isfinite(values).all():
        raise InputError(f"{path} holds values that are not numbers (nan or inf). Export it again.")
    table = np.zeros((len(rows), arkit_space().size), np.float32)
    table[:, list(shapes.values())] = values
    motion = Motion(
        arkit_space(),
        torch.from_numpy(table).clamp(0, 1),
        torch.zeros(len(rows), 3),
        _head(path, columns, rows),
        fps or LIVE_LINK_FPS,
        notes=_notes(shapes),
    )
    return _evenly(motion, _times(path, columns, rows), fps)


def _rows(path: Path) -> tuple[list[str], list[list[str]]]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            lines = [row for row in csv.reader(stream) if any(cell.strip() for cell in row)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} cannot be read as CSV: {error}. Export it as UTF-8 text.") from error
    if len(lines) < 2:
        raise InputError(
            f"{path} has {'only a header and ' if lines else ''}no frames. A driver needs a header with ARKit names "
            "and at least one row of values; record or export it again."
        )
    return lines[0], lines[1:]


def _plain(name: str) -> str:
    """A column's name in small letters: `EyeBlinkLeft`, `eyeBlink_L` and `eye blink left` are one."""
    name = re.sub(
        r"[_\s.-]+(l|r)$",
        lambda end: {"l": "left", "r": "right"}[end[1].lower()],
        name.strip(),
        flags=re.IGNORECASE,
    )
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _shape_columns(path: Path, header: Sequence[str], columns: Sequence[str]) -> dict[int, int]:
    """Column of the file -> index of the coefficient."""
    known = {name.lower(): index for index, name in enumerate(arkit_space().names)}
    shapes = {index: known[name] for index, name in enumerate(columns) if name in known}
    strange = [
        header[i] for i, name in enumerate(columns) if name and name not in known and name not in NOT_SHAPES
    ]
    if strange:
        some = ", ".join(strange[:5]) + (" ..." if len(strange) > 5 else "")
        reason = unknown_name(strange[0], dict.fromkeys(arkit_space().names))
        raise InputError(
            f"{path} has columns that are no ARKit blendshapes: {some}; {reason} Rename or remove them."
        )
    if not shapes:
        raise InputError(
            f"{path} has no column with an ARKit blendshape such as jawOpen or EyeBlinkLeft in its first line. "
            "Add a header with their names."
        )
    return shapes


def _bad_value(
    path: Path, header: Sequence[str], rows: Sequence[Sequence[str]], columns: Sequence[int]
) -> str:
    for number, row in enumerate(rows, 2):
        for index in columns:
            try:
                float(row[index])
            except IndexError:  # noqa: PERF203 - only after an error, to say where it is
                return f"{path}, line {number}, has {len(row)} values, but the header {len(header)}. Export it again."
            except ValueError:
                return f"{path}, line {number}, column {header[index]}: {row[index]!r} is not a number. Correct it."
    return f"{path} cannot be read. Export it again."


def _head(path: Path, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> torch.Tensor | None:
    """[N, 3] axis-angle of the head, if all three angles are there."""
    if not all(name in columns for name in ANGLES):
        return None
    at = [columns.index(name) for name in ANGLES]
    try:
        angles = torch.tensor([[float(row[index]) for index in at] for row in rows], dtype=torch.float64)
    except (ValueError, IndexError):
        raise InputError(
            f"{path}: HeadYaw, HeadPitch or HeadRoll is not a number in some line. Correct it."
        ) from None
    return matrix_to_axis_angle(euler_degrees_to_matrix(torch.rad2deg(angles))).float()


def _times(path: Path, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> torch.Tensor | None:
    """float64 [N] seconds from the first frame, if the file tells them."""
    try:
        if "timecode" in columns:
            at = columns.index("timecode")
            times = [_timecode(row[at]) for row in rows]
        elif "time" in columns or "seconds" in columns:
            at = columns.index("time" if "time" in columns else "seconds")
            times = [float(row[at]) for row in rows]
        else:
            return None
    except (ValueError, IndexError):
        raise InputError(f"{path}: a time in it cannot be read. Correct it, or remove the column.") from None
    seconds = torch.tensor(times, dtype=torch.float64)
    if len(seconds) > 1 and bool((seconds.diff() <= 0).any()):
        return None  # some apps repeat codes when frames are dropped: then the rows themselves are the clock
    return seconds - seconds[0]


def _timecode(text: str) -> float:
    match = TIMECODE.match(text.strip())
    if not match:
        raise ValueError(text)
    hours, minutes, seconds, frames = (float(part) for part in match.groups())
    return hours * 3600 + minutes * 60 + seconds + frames / LIVE_LINK_FPS


def _evenly(motion: Motion, times: torch.Tensor | None, fps: float | None) -> Motion:
    """The motion on an even clock; the rate is that of most of its steps unless given."""
    if times is None or motion.length < 2:
        return motion
    rate = fps or float(1 / times.diff().median())
    rate = min(max(round(rate, 2), 1.0), 240.0)
    frames = max(1, round(float(times[-1]) * rate) + 1)
    even = sample(motion, times, torch.arange(frames, dtype=torch.float64) / rate)
    return Motion(even.space, even.expression, even.jaw, even.head, rate, (), motion.notes)


def _notes(shapes: dict[int, int]) -> tuple[str, ...]:
    missing = [name for index, name in enumerate(arkit_space().names) if index not in shapes.values()]
    return (f"{len(missing)} of ARKit's coefficients are not in the file and stay 0.",) if missing else ()
