"""The 68 landmarks as text, JSON and CSV, in pixels of the photo."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deca_cli.export.atomic import write_text
from deca_cli.export.params import to_json

if TYPE_CHECKING:
    from pathlib import Path

    from deca_cli.export.capture import Capture


def write_landmarks(capture: Capture, folder: Path) -> list[Path]:
    """Write `landmarks_2d.txt` (68 lines x y), `landmarks_3d.txt` (x y z visible), `landmarks.json`, `landmarks.csv`."""
    flat = capture.landmarks_2d_px.tolist()
    deep = capture.landmarks_3d_px.tolist()
    visible = capture.landmarks_visible.tolist()
    rows = list(zip(flat, deep, visible, strict=True))
    header = "index,x_2d,y_2d,x_3d,y_3d,z_3d,visible"
    table = [
        ",".join([str(number), *(f"{value:.3f}" for value in (*near, *solid)), str(int(seen))])
        for number, (near, solid, seen) in enumerate(rows)
    ]
    return [
        write_text(folder / "landmarks_2d.txt", "".join(f"{x:.3f} {y:.3f}\n" for x, y in flat)),
        write_text(
            folder / "landmarks_3d.txt",
            "".join(f"{x:.3f} {y:.3f} {z:.3f} {int(seen)}\n" for _, (x, y, z), seen in rows),
        ),
        write_text(
            folder / "landmarks.json",
            to_json({"landmarks_2d_px": flat, "landmarks_3d_px": deep, "visible": visible}),
        ),
        write_text(folder / "landmarks.csv", "\n".join([header, *table]) + "\n"),
    ]
