"""The scenarios that every rasteriser has to pass, and the back ends that are tried."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
BACKENDS = ["reference", "cpu", pytest.param("cuda", marks=[pytest.mark.cuda, needs_gpu])]
RULES = ["standard", "pytorch3d"]


class Scenario(NamedTuple):
    vertices: Tensor  # [B, V, 3]
    faces: Tensor  # [F, 3]
    height: int = 16
    width: int = 16


def soup(seed: int, count: int, size: float, height: int, width: int, batch: int = 1) -> Scenario:
    """Random triangles without shared vertices, some of them far outside."""
    random = np.random.RandomState(seed)
    centres = random.uniform(-1.3, 1.3, (batch, count, 1, 3))
    corners = centres + random.uniform(-size, size, (batch, count, 3, 3))
    vertices = torch.tensor(corners.reshape(batch, -1, 3), dtype=torch.float32)
    return Scenario(vertices, torch.arange(3 * count).reshape(-1, 3), height, width)


def points(*rows: tuple[float, float, float]) -> Tensor:
    return torch.tensor([rows])


def faces(*rows: tuple[int, int, int]) -> Tensor:
    return torch.tensor(rows)


def grid(cells: int) -> tuple[Tensor, Tensor]:
    """A square cut into cells, two triangles each, over the whole target."""
    line = torch.linspace(-1, 1, cells + 1)
    y, x = torch.meshgrid(line, line, indexing="ij")
    corner = torch.arange((cells + 1) ** 2).reshape(cells + 1, cells + 1)
    a, b, c, d = corner[:-1, :-1], corner[:-1, 1:], corner[1:, :-1], corner[1:, 1:]
    triangles = torch.stack([torch.stack([a, c, b], -1), torch.stack([b, c, d], -1)], 2).reshape(-1, 3)
    return torch.stack([x, y, torch.zeros_like(x)], -1).reshape(1, -1, 3), triangles


TRIANGLE = points((-0.7, -0.8, 0.1), (0.9, -0.3, 0.4), (-0.2, 0.85, -0.3))
SQUARE = points((-1, -1, 0.0), (1, -1, 0.0), (1, 1, 0.0), (-1, 1, 0.0))
NAN, INF = float("nan"), float("inf")


def ball(batch: int) -> Scenario:
    """A bumpy closed surface with front and back, about 2,000 small triangles."""
    vertices, triangles = grid(32)
    longitude, latitude = vertices[0, :, 0] * np.pi, vertices[0, :, 1] * np.pi / 2
    turns = torch.linspace(0, 1, batch)[:, None]
    radius = 0.8 + 0.1 * torch.sin(5 * longitude + 3 * latitude)
    x, z = latitude.cos() * (longitude + turns).sin(), latitude.cos() * (longitude + turns).cos()
    shape = torch.stack([radius * x, (radius * latitude.sin()).expand_as(x), radius * z], -1)
    return Scenario(shape, triangles, 96, 80)


SCENARIOS: dict[str, Callable[[], Scenario]] = {
    "single triangle": lambda: Scenario(TRIANGLE, faces((0, 1, 2))),
    "back face": lambda: Scenario(TRIANGLE, faces((0, 2, 1))),
    "shared edge": lambda: Scenario(SQUARE, faces((0, 1, 2), (0, 2, 3)), 15, 15),
    "edges through pixel centres": lambda: Scenario(*grid(4), 5, 5),
    "fine grid": lambda: Scenario(*grid(23), 61, 47),
    "exact ties": lambda: Scenario(SQUARE, faces((0, 1, 2), (3, 0, 1), (2, 3, 0), (1, 2, 3))),
    "duplicates": lambda: Scenario(TRIANGLE, faces((0, 1, 2), (0, 1, 2), (2, 0, 1))),
    "degenerate": lambda: Scenario(
        torch.cat([TRIANGLE, points((-0.5, -0.5, 0.0), (0.5, 0.5, 0.0), (0.25, 0.25, 0.0))], 1),
        faces((3, 3, 3), (3, 4, 5), (0, 1, 1), (0, 1, 2)),
    ),
    "NaN": lambda: Scenario(
        torch.cat([TRIANGLE, points((NAN, 0, 0), (0, NAN, 0), (0, 0, NAN), (INF, 0, 0), (0, 0, -INF))], 1),
        faces((0, 1, 3), (4, 1, 2), (0, 5, 2), (0, 1, 6), (7, 1, 2), (0, 1, 2)),
    ),
    "off screen": lambda: Scenario(TRIANGLE + torch.tensor([0.0, 3.0, 0.0]), faces((0, 1, 2))),
    "partly off screen": lambda: Scenario(TRIANGLE + torch.tensor([0.9, -0.8, 0.0]), faces((0, 1, 2))),
    "behind": lambda: Scenario(TRIANGLE - torch.tensor([0.0, 0.0, 20.0]), faces((0, 1, 2))),
    "partly behind": lambda: Scenario(TRIANGLE * torch.tensor([1.0, 1.0, 40.0]), faces((0, 1, 2))),
    "huge": lambda: Scenario(1e4 * TRIANGLE * torch.tensor([1.0, 1.0, 1e-4]), faces((0, 1, 2)), 64, 48),
    "enormous": lambda: Scenario(1e30 * TRIANGLE * torch.tensor([1.0, 1.0, 1e-30]), faces((0, 1, 2))),
    "whole large target": lambda: Scenario(2.5 * TRIANGLE, faces((0, 1, 2)), 300, 200),
    "slivers": lambda: Scenario(
        points((-0.9, -0.9, 0), (0.9, 0.899, 0), (0.9, 0.9, 0), (-0.9, 0.01, 0), (0.9, 0.0100001, 0)),
        faces((0, 1, 2), (3, 4, 2)),
        200,
        200,
    ),
    "1x1": lambda: Scenario(TRIANGLE, faces((0, 1, 2)), 1, 1),
    "one row": lambda: Scenario(TRIANGLE, faces((0, 1, 2)), 1, 33),
    "one column": lambda: Scenario(TRIANGLE, faces((0, 1, 2)), 33, 1),
    "no faces": lambda: Scenario(TRIANGLE, torch.zeros((0, 3), dtype=torch.int64)),
    "wide soup": lambda: soup(1, 80, 0.4, 40, 100),
    "tall soup": lambda: soup(2, 80, 0.4, 100, 40),
    "fine soup": lambda: soup(3, 400, 0.05, 96, 96),
    "soup with large triangles": lambda: soup(4, 150, 1.5, 128, 128),
    "batch of soups": lambda: soup(5, 60, 0.5, 33, 47, batch=3),
    "batch of closed surfaces": lambda: ball(2),
}
