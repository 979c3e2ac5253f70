"""The benchmark of Feng et al., "Evaluation of Dense 3D Reconstruction from 2D Face Images in the Wild" (FG 2018).

A prediction is put on the scan by its seven landmarks only (similarity, mirroring allowed, no refinement). The error is
the root mean square of the distances from the scan's face region to the predicted surface; the face region is a sphere
as in NoW with the paper's factor of 1.2. (An early version of the public script had 1.5 and added the eye corners
where it should subtract them; `--radius-factor` is there for other versions.)
"""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from deca_cli import __version__
from deca_cli.errors import InputError
from deca_cli.evaluate.alignment import face_region, fit_landmarks
from deca_cli.evaluate.checks import Problem, check_prediction
from deca_cli.evaluate.geometry import Surface
from deca_cli.evaluate.landmark_rows import read_seven
from deca_cli.evaluate.meshes import Mesh, read_mesh
from deca_cli.evaluate.now import Protocol, Scan
from deca_cli.evaluate.statistics import pool

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

FENG_RADIUS = 1.2
MESHES = (".obj", ".ply")
LANDMARKS = (".npy", ".txt", ".lnd")


@dataclass(frozen=True)
class FengResult:
    """One prediction; without distances when it was refused."""

    name: str  # path below the predictions folder, without ending
    subset: str  # such as HQ and LQ: the first folder, when there is more than the scan's
    scan: str
    vertices: NDArray[np.int64]  # [N] indices of the scan's vertices in the face region
    distances: NDArray[np.float64]  # [N] mm
    problems: tuple[Problem, ...] = ()

    @property
    def rmse(self) -> float:
        """3D-RMSE, mm."""
        return float(np.sqrt(np.square(self.distances).mean()))


def measure_feng(
    scan: Scan, mesh: Mesh, landmarks: NDArray[np.float64], radius_factor: float = FENG_RADIUS
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Indices [N] of the scan vertices in the face region and their distances [N] to the prediction, mm."""
    inside = np.flatnonzero(face_region(scan.landmarks, radius_factor).holds(scan.vertices))
    moved = fit_landmarks(landmarks, scan.landmarks).apply(mesh.vertices)
    return inside, Surface.of(moved, mesh.faces).closest(scan.vertices[inside]).distances


def read_lnd(path: Path) -> NDArray[np.float64]:
    """Seven landmarks [7, 3]: rows of x y z, or of a number and x y z."""
    rows = [line.split() for line in path.read_text(encoding="utf-8").splitlines() if line.split()]
    try:
        table = np.array([row[-3:] for row in rows], dtype=np.float64)
    except ValueError as error:
        raise InputError(f"{path}: {error}. Expected seven rows of a number and x y z.") from None
    if table.shape != (7, 3):
        raise InputError(f"{path}: {len(rows)} rows, expected seven of a number and x y z.")
    return table


def evaluate_feng(
    predictions: Path,
    scans: Path,
    scan_landmarks: Path,
    *,
    radius_factor: float = FENG_RADIUS,
    force: bool = False,
    progress: Callable[[FengResult], None] = lambda _: None,
) -> list[FengResult]:
    """Measure every PREDICTIONS/[SUBSET/]SCAN/IMAGE.obj (or .ply) that has landmarks beside it."""
    meshes = sorted(path for path in predictions.rglob("*") if path.suffix.lower() in MESHES)
    if not meshes:
        raise InputError(
            f"no meshes in {predictions}: expected [HQ|LQ/]SCAN/IMAGE.obj, such as HQ/F1001_N/1.obj."
        )
    cache: dict[str, Scan] = {}
    results = []
    for path in meshes:
        name = path.parent.name
        if name not in cache:
            cache.clear()  # one scan at a time: they are large
            cache[name] = _read_scan(scans, scan_landmarks, name)
        results.append(_evaluate(path, predictions, cache[name], radius_factor, force=force))
        progress(results[-1])
    return results


def _evaluate(path: Path, root: Path, scan: Scan, radius_factor: float, *, force: bool) -> FengResult:
    relative = path.relative_to(root).with_suffix("")
    subset = relative.parts[0] if len(relative.parts) > 2 else "all"
    empty = FengResult(relative.as_posix(), subset, path.parent.name, np.zeros(0, np.int64), np.zeros(0))
    mesh, landmarks = read_mesh(path), _landmarks_of(path)
    problems = tuple(check_prediction(mesh, landmarks, scan.landmarks, Protocol()))
    fatal = {"no-faces", "not-finite"}
    if any(p.level == "error" and (not force or p.kind in fatal) for p in problems):
        return FengResult(empty.name, subset, empty.scan, empty.vertices, empty.distances, problems)
    vertices, distances = measure_feng(scan, mesh, landmarks, radius_factor)
    return FengResult(empty.name, subset, empty.scan, vertices, distances, problems)


def _landmarks_of(mesh: Path) -> NDArray[np.float64]:
    for suffix in LANDMARKS:
        path = mesh.with_suffix(suffix)
        if path.is_file():
            return read_lnd(path) if suffix == ".lnd" else read_seven(path)
    raise InputError(
        f"no landmarks beside {mesh}: expected {mesh.stem}.npy, .txt or .lnd with seven 3D points."
    )


def _read_scan(scans: Path, landmarks: Path, name: str) -> Scan:
    found = [
        next(iter(sorted(folder.rglob(f"{name}{s}"))), None)
        for folder, s in ((scans, ".obj"), (landmarks, ".lnd"))
    ]
    mesh, marks = found[0] or next(iter(sorted(scans.rglob(f"{name}.ply"))), None), found[1]
    if mesh is None or marks is None:
        what, where = (f"{name}.obj", scans) if mesh is None else (f"{name}.lnd", landmarks)
        raise InputError(
            f"no {what} below {where}. The folder above a prediction names its scan; the scans are the Stirling/ESRC "
            "set's, the landmarks those of the competition's repository."
        )
    return Scan(read_mesh(mesh).vertices, read_lnd(marks))


def feng_rows(results: list[FengResult]) -> dict[str, tuple[int, float, float, float]]:
    """Per subset and for all: images, mean of the images' 3D-RMSE, their deviation, and the RMSE of the pool, mm."""
    measured = [r for r in results if len(r.distances)]
    if not measured:
        raise InputError("no prediction could be measured; see the messages above.")
    groups = {"all": measured} | {
        s: [r for r in measured if r.subset == s] for s in sorted({r.subset for r in measured})
    }
    rows = {}
    for name, group in groups.items():
        rmse = np.array([r.rmse for r in group])
        pooled = float(np.sqrt(np.square(pool([r.distances for r in group])).mean()))
        rows[name] = (len(group), float(rmse.mean()), float(rmse.std()), pooled)
    return rows


def feng_table(rows: dict[str, tuple[int, float, float, float]]) -> str:
    """Markdown."""
    lines = ["| subset | images | mean 3D-RMSE [mm] | std | pooled RMSE [mm] |", "|---|---:|---:|---:|---:|"]
    return "\n".join(
        lines + [f"| {n} | {i} | {m:.3f} | {s:.3f} | {p:.3f} |" for n, (i, m, s, p) in rows.items()]
    )


def write_feng(folder: Path, method: str, results: list[FengResult], *, plots: bool) -> None:
    """results.json, images.csv, report.md, the curve and the competition's *_distances.txt."""
    rows = feng_rows(results)
    measured = [r for r in results if len(r.distances)]
    for result in measured:
        path = folder / "distances" / f"{result.name}_distances.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        pairs = zip(result.vertices.tolist(), result.distances.tolist(), strict=True)
        path.write_text("".join(f"{v} {d:.6f}\n" for v, d in pairs), encoding="ascii")
    with (folder / "images.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["image", "subset", "scan", "rmse_mm"])
        writer.writerows([r.name, r.subset, r.scan, f"{r.rmse:.6f}"] for r in measured)
    content = {
        "tool": f"deca {__version__}",
        "benchmark": "Feng et al. 2018",
        "method": method,
        "unit": "mm",
        "rows": {
            n: dict(zip(("images", "mean_rmse", "std", "pooled_rmse"), r, strict=True))
            for n, r in rows.items()
        },
        "images": [
            {"image": r.name, "subject": r.scan, "state": "measured", "mean": r.rmse} for r in measured
        ],
    }
    (folder / "results.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    (folder / "report.md").write_text(
        f"# Feng et al. 2018: {method}\n\n{feng_table(rows)}\n", encoding="utf-8"
    )
    if plots:
        from deca_cli.evaluate.plots import plot_cumulative

        curves = {s: pool([r.distances for r in measured if s in ("all", r.subset)]) for s in rows}
        plot_cumulative(folder / "cumulative", curves, title=f"Feng et al. 2018: {method}")
