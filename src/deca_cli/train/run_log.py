"""What a run leaves to look at: log.jsonl, TensorBoard files, sheets of pictures, curves."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from deca_cli.atomic import make_folder, write_bytes

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from torch import Tensor

LOG, CURVES, PICTURES, SUMMARY = "log.jsonl", "curves.png", "train_images", "tensorboard"
SHOWN = 8  # faces on a sheet
ROWS = (
    "inputs",
    "landmarks2d_gt",
    "landmarks2d",
    "shape_images",
    "predicted_images",
    "predicted_detail_images",
)
NOT_DRAWN = ("kind", "step", "seconds", "images_per_s", "lr", "gpu_memory_gib")
SEPARATE = ("uv_texture", "uv_texture_gt")


class RunLog:
    """The log of a run; goes on where a resumed run stands.

    Args:
        folder: of the run.
        step: the step that the run stands at; later lines, of a run that was killed, are taken away.
        tensorboard: whether to write TensorBoard files too.
    """

    def __init__(self, folder: Path, step: int, *, tensorboard: bool) -> None:
        self.folder, self.path = folder, folder / LOG
        make_folder(folder)
        kept = [line for line in read_log(self.path) if line["step"] <= step]
        write_bytes(self.path, "".join(json.dumps(line) + "\n" for line in kept).encode())
        self.board: Any = _summary_writer(folder / SUMMARY, step) if tensorboard else None

    def write(self, kind: str, step: int, values: Mapping[str, float]) -> None:
        """Add a line, and scalars `kind/name`."""
        with self.path.open("a", encoding="utf-8") as log:
            log.write(json.dumps({"kind": kind, "step": step, **values}) + "\n")
        if self.board is not None:
            for name, value in values.items():
                self.board.add_scalar(f"{kind}/{name}", value, step)

    def show(self, step: int, pictures: Mapping[str, Tensor]) -> Path:
        """Write a sheet of pictures, `train_images/STEP.jpg`."""
        sheet = picture_sheet(pictures)
        make_folder(self.folder / PICTURES)
        _, jpeg = cv2.imencode(".jpg", sheet[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 90])
        path = write_bytes(self.folder / PICTURES / f"{step:06d}.jpg", jpeg.tobytes())
        if self.board is not None:
            self.board.add_image("train_images", sheet, step, dataformats="HWC")
        return path

    def close(self) -> None:
        """Draw the curves, and let everything reach the disk."""
        draw_curves(read_log(self.path), self.folder / CURVES)
        if self.board is not None:
            self.board.close()


def has_tensorboard() -> bool:
    """Whether TensorBoard files can be written."""
    try:
        import torch.utils.tensorboard  # noqa: F401
    except ImportError:
        return False
    return True


def _summary_writer(folder: Path, step: int) -> Any:  # noqa: ANN401 - untyped
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(str(folder), purge_step=step + 1)


def read_log(path: Path) -> list[dict[str, Any]]:
    """All whole lines of a log; the last line of a killed run may be a part."""
    if not path.is_file():
        return []
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.endswith("}\n")]


def picture_sheet(pictures: Mapping[str, Tensor]) -> np.ndarray:
    """uint8 [H, W, 3] RGB: a row for every kind of picture, a column for every face, eight at most.

    Args:
        pictures: [N, 3, S, S] RGB, not clamped, and points [N, 68, 2] in NDC, as of `Step.pictures`.
    """
    inputs = _pixels(pictures["inputs"])
    rows = []
    for name in ROWS:
        if name not in pictures:
            continue
        is_points = pictures[name].dim() == 3
        faces = _with_dots(inputs, pictures[name]) if is_points else _pixels(pictures[name])
        rows.append(np.concatenate(list(faces), axis=1))
    for name in SEPARATE:
        if name in pictures:
            size = inputs.shape[1]
            small = [
                cv2.resize(one, (size, size), interpolation=cv2.INTER_AREA) for one in _pixels(pictures[name])
            ]
            rows.append(np.concatenate(small, axis=1))
    return np.concatenate(rows, axis=0)


def _pixels(images: Tensor) -> np.ndarray:
    """uint8 [n, S, S, 3]."""
    shown = images[:SHOWN].detach().float().clamp(0, 1).permute(0, 2, 3, 1).cpu().numpy()
    return np.ascontiguousarray((shown * 255).astype(np.uint8))


def _with_dots(images: np.ndarray, points: Tensor) -> np.ndarray:
    marked = images.copy()
    size = images.shape[1]
    spots = (points[:SHOWN].detach().float().cpu().numpy() + 1) / 2 * size - 0.5
    for image, face in zip(marked, spots, strict=True):
        for x, y in face:
            if np.isfinite((x, y)).all():
                cv2.circle(image, (round(float(x)), round(float(y))), max(size // 112, 1), (0, 255, 0), -1)
    return marked


def draw_curves(lines: list[dict[str, Any]], path: Path) -> Path | None:
    """A PNG with one small plot for every term and every validated number; none without matplotlib or without lines."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        return None
    series: dict[str, list[tuple[float, float]]] = {}
    for line in lines:
        for name, value in line.items():
            if name not in NOT_DRAWN and isinstance(value, int | float):
                series.setdefault(f"{line['kind']} {name}", []).append((line["step"], value))
    if not series:
        return None
    columns = 4
    rows = -(-len(series) // columns)
    figure = Figure(figsize=(3.2 * columns, 2.3 * rows), layout="constrained")
    FigureCanvasAgg(figure)
    for number, (name, values) in enumerate(sorted(series.items()), start=1):
        axes = figure.add_subplot(rows, columns, number)
        axes.plot(*zip(*values, strict=True), linewidth=1)
        axes.set_title(name, fontsize=8)
        axes.tick_params(labelsize=6)
    from io import BytesIO

    content = BytesIO()
    figure.savefig(content, format="png", dpi=110)
    return write_bytes(path, content.getvalue())
