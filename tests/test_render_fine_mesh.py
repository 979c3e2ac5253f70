"""The mesh of the detail: fine, closed across the borders of the chart, and as round as its normals say."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from deca_cli.errors import ModelError
from deca_cli.export.capture import Detail
from deca_cli.export.meshes import write_detail_obj
from deca_cli.heads.assets import load_head
from deca_cli.render.fine_mesh import fine_mesh, rounding
from deca_cli.render.uv import detail_vertices, make_chart, sample_mesh

HEAD_FILE = Path(__file__).resolve().parents[1] / "src" / "deca_cli" / "packs" / "open" / "head.npz"
CORNERS = np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]], np.float32)
TETRAHEDRON = np.array([[0, 1, 2], [0, 3, 1], [0, 2, 3], [1, 3, 2]])


def open_edges(faces):
    edges = np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), axis=1)
    _, counts = np.unique(edges, axis=0, return_counts=True)
    assert counts.max() <= 2
    return int((counts == 1).sum())


@pytest.fixture(scope="module")
def tetrahedron():
    """Each of its sides has a piece of the chart of its own."""
    corner = np.array([[0.05, 0.05], [0.4, 0.05], [0.05, 0.4]], np.float32)
    uv = np.concatenate([corner + shift for shift in ([0, 0], [0.5, 0], [0, 0.5], [0.5, 0.5])]).astype(
        np.float32
    )
    uv_faces = np.arange(12).reshape(4, 3)
    chart = make_chart(torch.from_numpy(uv), torch.from_numpy(uv_faces), torch.from_numpy(TETRAHEDRON), 64)
    return fine_mesh(uv, uv_faces, TETRAHEDRON, chart), chart


def test_every_side_becomes_sixteen_triangles_that_face_the_same_way(tetrahedron):
    mesh, _ = tetrahedron
    places = sample_mesh(mesh.points, torch.from_numpy(CORNERS)[None])[0].double().numpy()
    small = places[mesh.points.faces.numpy()]
    assert len(small) == 4 * 16
    normals = np.cross(small[:, 1] - small[:, 0], small[:, 2] - small[:, 0])
    large = CORNERS[TETRAHEDRON].astype(float)
    whole = np.cross(large[:, 1] - large[:, 0], large[:, 2] - large[:, 0])
    np.testing.assert_allclose(normals, np.repeat(whole / 16, 16, axis=0), atol=1e-6)
    assert len(mesh.uv_coordinates) == 4 * 15


def test_points_of_two_pieces_of_the_chart_lie_at_one_place_and_are_displaced_alike(tetrahedron, tmp_path):
    mesh, chart = tetrahedron
    assert set(mesh.points.texels.tolist()) <= set(chart.texels.tolist())
    vertices = torch.from_numpy(CORNERS)[None]
    displacement = 0.1 * torch.rand(1, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    places = detail_vertices(mesh.points, vertices, vertices, displacement)[0]
    places = places + rounding(mesh.points, vertices, vertices / 3**0.5)[0]
    normals = torch.ones(3, 64, 64).numpy()
    detail = Detail(normals, places.numpy(), mesh.points.faces.numpy(), mesh.uv_coordinates)
    lines = write_detail_obj(tmp_path, detail, None, []).read_text().splitlines()
    corners = [[corner.split("/") for corner in line.split()[1:]] for line in lines if line.startswith("f ")]
    v, vt = np.array(corners).astype(int)[..., 0], np.array(corners).astype(int)[..., 1]
    assert sum(line.startswith("v ") for line in lines) == v.max() == 4 + 6 * 3 + 4 * 3
    assert sum(line.startswith("vt ") for line in lines) == vt.max() == 4 * 15
    assert sum(line.startswith("vn ") for line in lines) == v.max()
    assert open_edges(v) == 0
    assert open_edges(vt) == 4 * 12


def test_rounding_brings_flat_triangles_towards_the_sphere_whose_normals_they_have(tetrahedron):
    mesh, _ = tetrahedron
    vertices = torch.from_numpy(CORNERS)[None] / 3**0.5
    flat = sample_mesh(mesh.points, vertices)
    moved = flat + rounding(mesh.points, vertices, vertices)
    assert flat.norm(dim=-1).min() < 0.41
    assert moved.norm(dim=-1).min() > 0.6
    torch.testing.assert_close(moved.norm(dim=-1).max(), torch.tensor(1.0))  # corners stay


def test_the_open_head_is_as_closed_as_its_coarse_mesh():
    head, _ = load_head(HEAD_FILE)
    parts = [torch.from_numpy(a.astype(np.int64)) for a in (head.uv_faces, head.faces)]
    chart = make_chart(torch.from_numpy(head.uv_coordinates), *parts, len(head.fixed_displacement))
    mesh = fine_mesh(head.uv_coordinates, head.uv_faces, head.faces, chart)
    places = sample_mesh(mesh.points, torch.from_numpy(head.template_vertices)[None])[0].numpy()
    _, welded = np.unique(places, axis=0, return_inverse=True)
    assert open_edges(welded.reshape(-1)[mesh.points.faces.numpy()]) == 4 * open_edges(head.faces)
    assert np.isin(mesh.points.texels.numpy(), chart.texels.numpy()).all()


def test_a_point_outside_its_piece_of_the_chart_takes_the_nearest_texel_and_none_across_the_edge(tetrahedron):
    _, chart = tetrahedron
    corner = np.array([[0.05, 0.05], [0.4, 0.05], [0.05, 0.4]], np.float32)
    one = np.array([[0, 1, 2]])
    left = replace(chart, texels=torch.tensor([30 * 64 + 6, 30 * 64 + 63]))
    mesh = fine_mesh(
        corner * (0, 0.01) + (0.01, 0.53), one, one, left
    )  # column 0; 63 is next to it across the edge
    assert mesh.points.texels.tolist() == [30 * 64 + 6] * 15
    with pytest.raises(ModelError, match="15 points of the head's mesh lie more than 8 texels"):
        fine_mesh(corner * (0, 0.01) + (0.5, 0.53), one, one, left)
