"""The open head in clay: a hollow mouth, no black lines, no photo between the teeth."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from deca_cli.export.clay import FACING, OF_HOLLOWS, clay_light, facing_limit, lifted
from deca_cli.export.shape_layers import draw_layers
from deca_cli.heads.assets import load_head
from deca_cli.heads.model import HeadModel
from deca_cli.render.normals import vertex_normals
from deca_cli.render.passes import SHAPE_FACING
from test_export_pictures import capture_of

HEAD_FILE = Path(__file__).resolve().parents[1] / "src" / "deca_cli" / "packs" / "open" / "head.npz"
SCALE = 1500.0  # pixels a metre


@pytest.fixture(scope="module")
def head():
    return load_head(HEAD_FILE)[0]


@pytest.fixture(scope="module")
def laughing(head):
    """A capture of the open head with an open mouth, on a red photo."""
    model = HeadModel(head)
    expression = torch.zeros(1, model.expression_size)
    for name in ("jawOpen", "mouthSmileLeft", "mouthSmileRight"):
        expression[0, head.expression_names.index(name)] = 0.5
    vertices = model(torch.zeros(1, model.shape_size), expression, torch.zeros(1, 6))
    normals = vertex_normals(vertices, model.faces)[0].numpy()
    points = vertices[0].double().numpy() * (SCALE, -SCALE, -SCALE)
    photo = np.zeros((400, 300, 3), np.uint8)
    photo[..., 0] = 200
    base = capture_of(photo)
    topology = replace(
        base.topology,
        faces=head.faces.astype(np.int64),
        uv_coordinates=head.uv_coordinates,
        uv_faces=head.uv_faces.astype(np.int64),
        mirror_vertices=None,
        clay_light=clay_light(head),
    )
    points = points - points.mean(axis=0) + (150, 200, 0)
    return replace(
        base,
        topology=topology,
        vertices=vertices[0].numpy(),
        normals=normals,
        vertices_px=points,
        detail=None,
    )


def inside_of_the_mouth(head, capture):
    """Rows and columns around the middle of the lower teeth's edge and of the tongue."""
    teeth = capture.vertices_px[head.region("teeth_upper")]
    left, right = teeth[:, 0].mean() - 15, teeth[:, 0].mean() + 15
    return slice(round(teeth[:, 1].max()) - 2, round(teeth[:, 1].max()) + 6), slice(round(left), round(right))


def test_only_what_is_behind_lips_and_lids_gets_less_light(head):
    light = clay_light(head)
    skin = head.region("skin", "scalp", "neck", "ears", "lips", "brows", "eyeball_left", "eyeball_right")
    assert (light[skin] == 1).all()
    assert light[head.region("mouth_cavity")].max() < 0.55
    front, back = (np.percentile(head.template_vertices[head.region("teeth_upper"), 2], q) for q in (95, 5))
    teeth = head.region("teeth_upper")
    depth = head.template_vertices[teeth, 2]
    assert light[teeth][depth >= front].min() > light[teeth][depth <= back].max()
    assert clay_light(replace(head, vertex_regions=None, region_names=())) is None


def test_an_open_mouth_is_dark_and_the_photo_does_not_shine_through(head, laughing):
    size = (300, 400)
    hollow = draw_layers(laughing, size)
    flat = draw_layers(replace(laughing, topology=replace(laughing.topology, clay_light=None)), size)
    rows, columns = inside_of_the_mouth(head, laughing)
    part = (
        slice(rows.start - hollow.region.top, rows.stop - hollow.region.top),
        slice(columns.start - hollow.region.left, columns.stop - hollow.region.left),
    )
    assert hollow.coarse[part].mean() < 0.75 * flat.coarse[part].mean()
    assert (hollow.opacity[part] == 255).all()
    assert (flat.opacity[part] < 255).any()
    forehead = (slice(30, 60), slice(hollow.region.width // 2 - 20, hollow.region.width // 2 + 20))
    change = hollow.coarse[forehead].astype(int) - flat.coarse[forehead]
    assert change.min() >= 0
    assert change.max() < 12


def test_the_darkest_grey_is_brighter_and_the_brightest_stays():
    grey = lifted(torch.tensor([0.0, 0.1, 0.7, 1.0]))
    assert grey[0] == pytest.approx(0.2)
    assert (grey.diff() > 0).all()
    assert grey[2] == pytest.approx(0.7, abs=0.01)
    assert grey[3] == 1


def test_heads_with_a_mouth_and_without_neck_scalp_and_ears_are_drawn_alike_everywhere(head):
    names = tuple("other_" + name if name in OF_HOLLOWS else name for name in head.region_names)
    assert set(facing_limit(head).tolist()) == {np.float32(FACING), np.float32(SHAPE_FACING)}
    assert set(facing_limit(replace(head, region_names=names)).tolist()) == {np.float32(FACING)}
