"""The texture chart of the bundled open head, and the flattening it is made with."""

from pathlib import Path

import numpy as np
import pytest

import deca_cli
from deca_cli.heads.assets import HeadAssets, load_head

pytest.importorskip("scipy", reason="the head builder needs the extra open-head (scipy)")

from deca_cli.synthetic.head_chart import boundary_loops, circle, fill_holes, flatten_disc
from deca_cli.synthetic.head_masks import rasterise_chart
from deca_cli.synthetic.head_uv import Chart

HEAD = Path(deca_cli.__file__).parent / "packs" / "open" / "head.npz"


@pytest.fixture(scope="module")
def head() -> HeadAssets:
    return load_head(HEAD)[0]


def corner_areas(uv: np.ndarray) -> np.ndarray:
    first, second = uv[:, 1] - uv[:, 0], uv[:, 2] - uv[:, 0]
    return 0.5 * (first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0])


def test_no_texel_is_covered_twice_at_1024(head):
    chart = Chart(head.uv_coordinates.astype(float), head.uv_faces)
    _, _, count = rasterise_chart(chart, 1024)
    assert count.max() == 1
    assert (count == 1).mean() > 0.85  # and hardly any room is wasted


def test_all_texture_triangles_are_counter_clockwise_and_inside_the_square(head):
    assert corner_areas(head.uv_coordinates[head.uv_faces].astype(float)).min() > 0
    assert head.uv_coordinates.min() > 0
    assert head.uv_coordinates.max() < 1


def test_every_texture_vertex_belongs_to_one_vertex(head):
    owner = {}
    for corner_uv, corner in zip(head.uv_faces.ravel().tolist(), head.faces.ravel().tolist(), strict=True):
        assert owner.setdefault(corner_uv, corner) == corner
    assert len(owner) == len(head.uv_coordinates)


def test_the_face_has_no_seam(head):
    owner = np.full(len(head.uv_coordinates), -1)
    owner[head.uv_faces] = head.faces
    copies = np.bincount(owner, minlength=len(head.template_vertices))
    inside_face = head.region("skin", "brows", "lips")
    front = inside_face[head.template_vertices[inside_face, 2] > 0.03]
    rims = np.isin(
        front, np.unique(head.faces[np.isin(head.faces, head.region("mouth_cavity", "eye_sockets")).any(1)])
    )
    assert (copies[front[~rims]] == 1).all()


def test_the_face_gets_more_texture_than_the_scalp(head):
    uv = corner_areas(head.uv_coordinates[head.uv_faces].astype(float))
    corners = head.template_vertices[head.faces].astype(float)
    surface = 0.5 * np.linalg.norm(
        np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1
    )
    face, scalp = (np.isin(head.faces, head.region(name)).all(1) for name in ("skin", "scalp"))
    front = face & (corners.mean(1)[:, 2] > 0.05)
    assert uv[front].sum() / surface[front].sum() > 2 * uv[scalp].sum() / surface[scalp].sum()
    assert uv[front].sum() > uv[scalp].sum()


def test_the_chart_is_laid_out_as_the_face_is_seen(head):
    texture = head.uv_coordinates[head.uv_faces].mean(1)
    centre = head.template_vertices[head.faces].mean(1)
    front = np.isin(head.faces, head.region("skin")).all(1) & (centre[:, 2] > 0.07)
    assert np.corrcoef(texture[front, 0], centre[front, 0])[0, 1] > 0.9
    assert np.corrcoef(texture[front, 1], centre[front, 1])[0, 1] > 0.9


def grid_mesh(side: int) -> tuple[np.ndarray, np.ndarray]:
    """A bumpy square sheet of side x side vertices."""
    y, x = np.meshgrid(np.linspace(0, 1, side), np.linspace(0, 1, side), indexing="ij")
    z = 0.8 * np.exp(-12 * ((x - 0.4) ** 2 + (y - 0.6) ** 2))
    number = np.arange(side * side).reshape(side, side)
    a, b, c, d = (
        number[s, t].ravel() for s in (slice(-1), slice(1, None)) for t in (slice(-1), slice(1, None))
    )
    faces = np.concatenate([np.stack([a, b, d], 1), np.stack([a, d, c], 1)])
    return np.stack([x.ravel(), y.ravel(), z.ravel()], 1), faces


def test_flattening_a_bumpy_sheet_never_folds_and_evens_out_areas():
    vertices, faces = grid_mesh(13)
    loop = boundary_loops(faces)[0]
    border = circle(vertices, loop)
    plain = flatten_disc(vertices, faces, np.array(loop), border, rounds=0)
    even = flatten_disc(vertices, faces, np.array(loop), border)
    corners = vertices[faces]
    surface = 0.5 * np.linalg.norm(
        np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1
    )
    spread = []
    for uv in (plain, even):
        areas = corner_areas(uv[faces])
        assert areas.min() > 0
        spread.append(np.log(areas / surface).std())
    assert spread[1] < 0.9 * spread[0]


def test_holes_are_found_and_filled():
    vertices, faces = grid_mesh(7)
    middle = 3 * 7 + 3
    holed = faces[(faces != middle).all(1)]
    assert [len(loop) for loop in boundary_loops(holed)] == [24, 6]
    filled, with_centre = fill_holes(holed, vertices)
    assert [len(loop) for loop in boundary_loops(filled)] == [24]
    assert len(with_centre) == len(vertices) + 1
