"""The objectives on the bundled open head: named expressions, no jaw angle, an albedo and a chart of its own."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import pytest
import torch

from deca_cli.heads.albedo import Albedo
from deca_cli.heads.assets import load_head
from deca_cli.heads.model import HeadModel
from deca_cli.networks.codes import Codes, CodeSizes
from deca_cli.networks.deca import Deca
from deca_cli.networks.encoder import Encoder
from deca_cli.networks.layout import layout_width
from deca_cli.networks.preprocessing import Preprocessing
from deca_cli.render.uv import make_chart, world2uv
from deca_cli.train.data.batch import PersonBatch
from deca_cli.train.losses.detail import OFFICIAL_PATCH
from deca_cli.train.losses.weights import CoarseWeights, DetailWeights
from deca_cli.train.objectives.coarse import CoarseObjective
from deca_cli.train.objectives.detail import DetailObjective

ORDER = torch.tensor([[1, 0]])
SIDE = 64


@pytest.fixture(scope="module")
def deca() -> Deca:
    assets, albedo = load_head(Path(str(files("deca_cli") / "packs" / "open" / "head.npz")))
    shapes, expressions = assets.shape_basis.shape[2], assets.expression_basis.shape[2]
    colours = albedo.basis.shape[3]
    layout = (
        ("shape", shapes),
        ("albedo", colours),
        ("expression", expressions),
        ("rotation_6d", 6),
        ("log_camera", 3),
        ("light", 27),
    )
    with torch.device("meta"):
        encoder = Encoder("resnet18", layout_width(layout), None)
    return Deca(
        head=HeadModel(assets),
        albedo=Albedo(albedo),
        encoder=encoder,
        layout=layout,
        sizes=CodeSizes(shape=shapes, albedo=colours, expression=expressions, detail=0),
        preprocessing=Preprocessing(SIDE, pixel_offset=-0.5),
        expression_range=(0.0, 1.0),
    )


def face(deca: Deca) -> Codes:
    """Two pictures of the mean face under white light from a corner, one with the mouth open."""
    codes = Codes.zeros(deca.sizes, 2)
    codes.camera.copy_(torch.tensor([9.0, 0.0, 0.0]))
    codes.light[:, 0] = 3.0
    codes.light[:, 1:4] = 0.5  # from a corner, or the shape of the surface would not show
    codes.expression[1, deca.head.expression_names.index("jawOpen")] = 0.8
    return Codes(**{name: value.requires_grad_() for name, value in codes.items()})


def batch() -> PersonBatch:
    random = torch.Generator().manual_seed(0)
    landmarks = torch.rand(1, 2, 68, 3, generator=random) - 0.5
    landmarks[..., 2] = 1
    images = torch.rand(1, 2, 3, SIDE, SIDE, generator=random)
    return PersonBatch(images, landmarks, torch.ones(1, 2, SIDE, SIDE), ("", ""))


def test_the_chart_is_symmetric_where_detail_belongs(deca: Deca):
    """Which the symmetry loss of the detail stage rests on: the mirrored texel is the mirrored point of the face."""
    head = deca.head
    chart = make_chart(head.uv_coordinates, head.uv_faces, head.faces, len(head.face_eye_mask))
    points = world2uv(chart, head.template_vertices[None])
    mirrored = points.flip(3) * torch.tensor([-1.0, 1, 1])[:, None, None]
    inside = head.face_eye_mask > 0
    assert inside.sum() > 10_000
    assert torch.equal(inside, inside.flip(1))
    assert float((points - mirrored)[0, :, inside].abs().max()) < 1e-5


def test_the_coarse_objective_draws_the_open_head_and_moves_all_its_codes(deca: Deca):
    codes = face(deca)
    weights = CoarseWeights(id=0, reg_shape=0, reg_exp=0, reg_tex=0, reg_light=0)
    step = CoarseObjective(deca, weights)(codes, batch(), ORDER, pictures=True)
    step.total.backward()
    for name, value in codes.items():
        if value.numel() and name != "detail":
            assert torch.isfinite(value.grad).all(), name
            assert value.grad.any(), name
    drawn = step.pictures["predicted_images"].mean(1)
    assert 0.15 < float((drawn > 0.1).float().mean()) < 0.9


def test_the_detail_objective_looks_at_the_open_head_s_own_patch(deca: Deca):
    objective = DetailObjective(deca, DetailWeights(mrf=0))
    patch = objective.patch
    assert patch != OFFICIAL_PATCH
    assert patch.bottom - patch.top == patch.right - patch.left
    inside = deca.head.face_eye_mask > 0.5
    assert float(inside[patch.top : patch.bottom, patch.left : patch.right].sum() / inside.sum()) == 1
    displacement = torch.zeros(4, 1, 256, 256, requires_grad=True)
    step = objective(face(deca), displacement, batch(), ORDER)
    (pull,) = torch.autograd.grad(step.terms["photo_detail"], displacement)
    assert torch.isfinite(pull).all()
    moved = pull.abs().sum((0, 1)) > 0
    assert moved.sum() > 1000
    assert not moved[~(deca.head.face_eye_mask > 0)].any()  # wrinkles outside the mask are nobody's
