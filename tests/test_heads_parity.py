"""The head model against the official release on synthetic weights; tolerances from the README of the data."""

from pathlib import Path

import numpy as np
import pytest
import torch

from deca_cli.assets.albedo_file import read_albedo
from deca_cli.heads.albedo import Albedo
from deca_cli.heads.camera import project
from deca_cli.heads.landmarks import contour_row
from deca_cli.heads.model import HeadModel
from deca_cli.heads.rotations import axis_angle_to_matrix
from deca_cli.packs.store import Pack

GEOMETRY = 1e-6  # metres


@pytest.fixture(scope="module")
def flame(parity_dir: Path) -> dict[str, np.ndarray]:
    with np.load(parity_dir / "flame.npz") as archive:
        return dict(archive)


@pytest.fixture(scope="module")
def head(official_pack: Pack) -> HeadModel:
    return official_pack.deca.head


def close(have: torch.Tensor, want: np.ndarray, atol: float = GEOMETRY, rtol: float = 0.0) -> None:
    np.testing.assert_allclose(have.numpy(), want, atol=atol, rtol=rtol)


def inputs(flame: dict[str, np.ndarray], *names: str) -> list[torch.Tensor]:
    return [torch.from_numpy(flame[name]) for name in names]


def test_vertices_and_both_landmark_sets(head: HeadModel, flame: dict[str, np.ndarray]):
    shape, expression, pose = inputs(flame, "shape", "exp", "pose")
    vertices = head(shape, expression, pose)
    sets = head.landmarks(vertices, pose)
    close(vertices, flame["verts"])
    close(sets.contour, flame["landmarks2d"])
    close(sets.fixed, flame["landmarks3d"])


def test_contour_rows(head: HeadModel, flame: dict[str, np.ndarray], official_pack: Pack):
    rows = contour_row(axis_angle_to_matrix(torch.from_numpy(flame["pose"][:, :3]))).numpy()
    np.testing.assert_array_equal(
        official_pack.assets.contour_landmark_faces[rows], flame["dynamic_face_idx"]
    )
    close(head.contour_barycentrics[torch.from_numpy(rows)], flame["dynamic_bary"])


def test_eye_pose(head: HeadModel, flame: dict[str, np.ndarray]):
    shape, expression, pose, eye_pose = inputs(flame, "shape", "exp", "pose", "eye_pose")
    vertices = head(shape, expression, pose, eye_pose)
    close(vertices[: len(flame["verts_eye"])], flame["verts_eye"])
    close(head.landmarks(vertices, pose).contour, flame["landmarks2d_eye"])


def test_no_pose(head: HeadModel, flame: dict[str, np.ndarray]):
    shape, expression = inputs(flame, "shape", "exp")
    close(head(shape[1:2], expression[1:2], torch.zeros(1, 6)), flame["verts_nopose"])


def test_projection(flame: dict[str, np.ndarray]):
    points, camera = inputs(flame, "verts", "proj_cam")
    before_the_flip = project(points[1:3], camera) * torch.tensor([1.0, -1.0, -1.0])
    close(before_the_flip, flame["proj_out"], atol=1e-6, rtol=1e-5)


def test_albedo_of_both_file_types(flame: dict[str, np.ndarray], official_weights: Path):
    code = torch.from_numpy(flame["albedo_code"])
    for name, expected in (
        ("FLAME_albedo_from_BFM.npz", "albedo_s2"),
        ("FLAME_texture.npz", "albedo_flame_s2"),
    ):
        colours = Albedo(read_albedo(official_weights / name))(code)
        close(colours[:, :, 1::2, ::2], flame[expected])  # stored from row 1 and column 0 on
