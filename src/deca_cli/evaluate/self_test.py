"""Prove on made-up scans with a known answer that the evaluation is right on this machine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from deca_cli.evaluate.alignment import Similarity
from deca_cli.evaluate.checks import LEFT_RIGHT_SWAP, check_prediction
from deca_cli.evaluate.geometry import Surface, closest_points_plain
from deca_cli.evaluate.meshes import Mesh
from deca_cli.evaluate.now import Protocol, Scan, measure
from deca_cli.evaluate.now_data import open_now
from deca_cli.evaluate.now_run import run_now
from deca_cli.evaluate.statistics import pool, summarise
from deca_cli.evaluate.synthetic_faces import scan_points, synthetic_head, write_dataset, write_predictions

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

OFFSET_MM = 0.75


@dataclass(frozen=True)
class Check:
    """One thing that must hold."""

    what: str
    expected: str
    found: str
    holds: bool


def self_test(folder: Path) -> Iterator[Check]:
    """Run all checks, writing a small data set into `folder`; about ten seconds, most of it compiling."""
    yield check_closest_points()
    heads = write_dataset(folder / "data", offset_mm=OFFSET_MM)
    write_predictions(folder / "free_scale", heads)
    write_predictions(folder / "metres", heads, metrical=True)
    yield check_known_distance(folder, "free_scale", Protocol())
    yield check_known_distance(folder, "metres", Protocol(metrical=True, unit="m"))
    yield check_imprecise_landmarks()
    yield from check_refusals()


def check_closest_points() -> Check:
    """The fast search against the one that looks at every triangle."""
    head, random = synthetic_head(3), np.random.default_rng(3)
    points = random.uniform(-120, 120, (200, 3))
    fast = Surface.of(head.mesh.vertices, head.mesh.faces).closest(points).distances
    plain = closest_points_plain(points, head.mesh.vertices, head.mesh.faces)
    off = float(np.abs(fast - plain).max())
    return Check("closest points, fast against plain", "within 1e-9 mm", f"{off:.1e} mm", off < 1e-9)


def check_known_distance(folder: Path, predictions: str, protocol: Protocol) -> Check:
    """Every scan point lies 0.75 mm from its head, so median and mean are 0.75 and the deviation is 0."""
    results = run_now(open_now(folder / "data"), folder / predictions, protocol, workers=1)
    distances = pool([r.distances for r in results])
    name = "metrical" if protocol.metrical else "non-metrical"
    if not len(distances):
        return Check(f"known distance, {name}", f"{OFFSET_MM} mm everywhere", "nothing measured", holds=False)
    summary = summarise(distances)
    found = f"{summary.minimum:.5f} to {summary.maximum:.5f} mm, std {summary.std:.1e}"
    off = max(summary.maximum - OFFSET_MM, OFFSET_MM - summary.minimum)
    return Check(f"known distance, {name}", f"{OFFSET_MM:.5f} mm everywhere", found, off < 1e-4)


def check_imprecise_landmarks() -> Check:
    """Landmarks 2 mm off start the refinement from a wrong place; it must come back to the answer."""
    head = synthetic_head(1)
    points = scan_points(head, OFFSET_MM, 8000)
    noise = 2 * np.random.default_rng(1).standard_normal((7, 3))
    measured = measure(Scan(points, head.landmarks), head.mesh, head.landmarks + noise, Protocol())
    mean = float(measured.distances.mean())
    expected = f"mean {OFFSET_MM} within 0.02 mm"
    return Check("landmarks 2 mm off", expected, f"{mean:.4f} mm", abs(mean - OFFSET_MM) < 0.02)


def check_refusals() -> Iterator[Check]:
    """Wrong landmark order and wrong unit are named; a good prediction is not."""
    head = synthetic_head(2)
    metres = Similarity(1e-3, np.eye(3), np.zeros(3))
    mesh, marks = Mesh(metres.apply(head.mesh.vertices), head.mesh.faces), metres.apply(head.landmarks)
    metrical = Protocol(metrical=True, unit="m")
    cases = (
        ("a good prediction", "none", mesh, marks, metrical),
        ("left and right swapped", "landmark-order", mesh, marks[list(LEFT_RIGHT_SWAP)], metrical),
        ("rows shuffled", "landmark-order", mesh, marks[[4, 0, 6, 2, 1, 5, 3]], metrical),
        ("metres taken for millimetres", "unit", mesh, marks, Protocol(metrical=True, unit="mm")),
    )
    for what, expected, given, landmarks, protocol in cases:
        problems = check_prediction(given, landmarks, head.landmarks, protocol)
        found = ", ".join(p.kind for p in problems) or "none"
        yield Check(f"complaints about {what}", expected, found, found == expected)
