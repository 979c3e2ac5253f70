"""Meshes that `rasterize.py` draws."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor


def ellipsoid(rows: int = 71, columns: int = 71) -> tuple[Tensor, Tensor]:
    """NDC [1, V, 3] and faces [F, 3]: front and back, 46 % of the picture."""
    down, around = np.meshgrid(np.linspace(0, np.pi, rows), np.linspace(0, 2 * np.pi, columns), indexing="ij")
    radius = 1 + 0.03 * np.sin(6 * around) * np.sin(5 * down)
    x, y, z = np.sin(down) * np.sin(around), -np.cos(down), -np.sin(down) * np.cos(around)
    shape = np.stack([0.68 * radius * x, 0.86 * radius * y, 0.8 * radius * z], -1).reshape(-1, 3)
    corner = np.arange(rows * columns).reshape(rows, columns)
    a, b, c, d = corner[:-1, :-1], corner[:-1, 1:], corner[1:, :-1], corner[1:, 1:]
    faces = np.concatenate([np.stack([a, c, b], -1).reshape(-1, 3), np.stack([b, c, d], -1).reshape(-1, 3)])
    turn = np.linalg.qr(np.random.RandomState(0).normal(size=(3, 3)))[0] * 0.02 + np.eye(3)
    return torch.tensor(shape @ turn, dtype=torch.float32)[None], torch.tensor(faces)


def read_obj(path: Path) -> tuple[Tensor, Tensor]:
    """Vertices and triangles of an OBJ file, centred and scaled into the picture."""
    lines = [line.split() for line in path.read_text(encoding="utf-8").splitlines()]
    points = np.array([words[1:4] for words in lines if words[:1] == ["v"]], dtype=np.float64)
    faces = [[int(word.split("/")[0]) - 1 for word in words[1:4]] for words in lines if words[:1] == ["f"]]
    centre = (points.min(0) + points.max(0)) / 2
    points = (points - centre) / np.ptp(points, axis=0).max() * 1.75 * [1, -1, -1]
    return torch.tensor(points, dtype=torch.float32)[None], torch.tensor(faces)
