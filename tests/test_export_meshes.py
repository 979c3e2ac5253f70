"""Normals of the written detail mesh."""

import numpy as np

from deca_cli.export.capture import Detail
from deca_cli.export.meshes import write_detail_obj


def written_normals(folder, vertices, faces, smooth):
    """Let a mesh whose smooth normals are all the same be written; its normals [N, 3]."""
    normals = np.broadcast_to(np.array(smooth, np.float32)[:, None, None], (3, 8, 8))
    places = np.random.default_rng(0).random((len(vertices), 2)).astype(np.float32)
    detail = Detail(normals, np.array(vertices, np.float32), np.array(faces), places)
    lines = write_detail_obj(folder, detail, None, []).read_text().splitlines()
    return np.array([line.split()[1:] for line in lines if line.startswith("vn ")], float)


# Two triangles along the edge from 0 to 1: one looks up, the other one, folded steeply, mostly down and outwards.
FOLD = [(0, 0, 0), (0, 0.01, 0), (-0.01, 0, 0), (-0.01, 0, -0.002)]
FACES = [(0, 1, 2), (1, 0, 3)]


def test_where_a_smooth_normal_looks_away_from_a_face_the_faces_give_the_normal(tmp_path):
    vertices, faces = np.array(FOLD), np.array(FACES)
    corners = vertices[faces]
    flat = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals = written_normals(tmp_path, FOLD, FACES, (0, 0, 1))
    assert (flat @ (0, 0, 1)).min() < 0  # the smooth normal is wrong for one of them
    assert ((normals[faces] * flat[:, None]).sum(axis=2) > 0).all()
    np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1, atol=1e-3)


def test_elsewhere_the_smooth_normals_stay(tmp_path):
    smooth = np.array([0.6, 0, 0.8])
    normals = written_normals(tmp_path, FOLD[:3], FACES[:1], smooth)
    np.testing.assert_allclose(normals, np.broadcast_to(smooth, (3, 3)), atol=1e-3)
