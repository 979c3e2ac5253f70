"""The objectives of the paper's stages on a small head: doubling, what is rendered, what moves what, what is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from deca_cli.errors import ModelError
from deca_cli.heads.albedo import Albedo
from deca_cli.heads.assets import AlbedoAssets
from deca_cli.heads.model import HeadModel
from deca_cli.networks.codes import Codes, CodeSizes
from deca_cli.networks.deca import Deca
from deca_cli.networks.detail_decoder import DetailDecoder
from deca_cli.networks.encoder import Encoder
from deca_cli.networks.layout import layout_width
from deca_cli.networks.preprocessing import Preprocessing
from deca_cli.train.data.batch import PersonBatch
from deca_cli.train.losses import pictures as colours
from deca_cli.train.losses.weights import CoarseWeights, DetailWeights
from deca_cli.train.objectives import batches, coarse, detail
from deca_cli.train.objectives.coarse import CoarseObjective
from deca_cli.train.objectives.detail import DetailNetworks, DetailObjective
from deca_cli.train.objectives.settings import OFFICIAL, ObjectiveSettings
from small_head import random_albedo
from stand_in import stand_in_head

if TYPE_CHECKING:
    from collections.abc import Callable

    from deca_cli.train.objectives.settings import Step

PEOPLE, PICTURES, SIDE, CHART = 2, 2, 48, 64
COUNT = PEOPLE * PICTURES
ORDER = torch.tensor([[1, 0], [0, 1]])
SIZES = CodeSizes(shape=4, albedo=3, expression=4, light=27, detail=5)
LAYOUT = (("shape", 4), ("albedo", 3), ("expression", 4), ("pose", 6), ("camera", 3), ("light", 27))
EULER = tuple(("pose_euler_jaw" if name == "pose" else name, size) for name, size in LAYOUT)


class MeanColour(nn.Module):
    """Stands in for a face recognition network: the mean colours of four quarters."""

    def forward(self, images: Tensor) -> Tensor:
        return nn.functional.adaptive_avg_pool2d(images, 2).flatten(1)


class Pixels(nn.Module):
    """Stands in for VGG-19: small pictures as features."""

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        fine = nn.functional.avg_pool2d(images, 8)
        return fine, nn.functional.avg_pool2d(fine, 2)


def make_deca(**changes: object) -> Deca:
    small = np.ones((CHART, CHART), np.float32)
    assets = replace(stand_in_head(), face_eye_mask=small, fixed_displacement=0 * small)
    flat = AlbedoAssets(random_albedo(size=64).mean * 0 + 0.5, random_albedo(size=64).basis / 10)
    layout = changes.pop("layout", LAYOUT)
    with torch.device("meta"):
        encoder = Encoder("resnet18", layout_width(layout), None)
    parts = {"albedo": Albedo(flat), "sizes": SIZES} | changes
    return Deca(
        head=HeadModel(assets), encoder=encoder, layout=layout, preprocessing=Preprocessing(64), **parts
    )


@pytest.fixture(scope="module")
def deca() -> Deca:
    return make_deca()


def make_codes(*, tracked: bool = False) -> Codes:
    random = torch.Generator().manual_seed(3)
    codes = Codes(
        shape=torch.randn(COUNT, 4, generator=random),
        albedo=torch.randn(COUNT, 3, generator=random),
        expression=torch.rand(COUNT, 4, generator=random),
        pose=torch.randn(COUNT, 6, generator=random) / 10,
        camera=torch.tensor([7.0, 0.0, 0.0]) + torch.randn(COUNT, 3, generator=random) / 100,
        light=torch.randn(COUNT, 9, 3, generator=random) / 10 + torch.eye(9, 1) * 3,
        detail=torch.randn(COUNT, 5, generator=random),
    )
    return Codes(**{name: value.requires_grad_(tracked) for name, value in codes.items()})


def make_batch() -> PersonBatch:
    random = torch.Generator().manual_seed(4)
    landmarks = torch.rand(PEOPLE, PICTURES, 68, 3, generator=random) - 0.5
    landmarks[..., 2] = 1
    return PersonBatch(
        images=torch.rand(PEOPLE, PICTURES, 3, SIDE, SIDE, generator=random),
        landmarks=landmarks,
        masks=(torch.rand(PEOPLE, PICTURES, SIDE, SIDE, generator=random) > 0.3).float(),
        names=("",) * COUNT,
    )


def numbers(step: Step) -> dict[str, float]:
    return {name: float(value.detach()) for name, value in step.terms.items()}


def moved(term: Tensor, codes: Codes) -> set[str]:
    """Names of the codes that a term pulls at."""
    found = torch.autograd.grad(term, [v for _, v in codes.items()], retain_graph=True, allow_unused=True)
    return {name for (name, _), g in zip(codes.items(), found, strict=True) if g is not None and g.any()}


# --------------------------------------------------------------------------- the doubled batch


def test_an_order_within_people_becomes_picture_numbers():
    assert batches.flat_order(torch.tensor([[2, 0, 1], [0, 1, 2]])).tolist() == [2, 0, 1, 3, 4, 5]


def test_drawn_orders_are_permutations_that_a_generator_repeats():
    first, second = (batches.draw_order(50, 4, torch.Generator().manual_seed(5)) for _ in range(2))
    assert torch.equal(first, second)
    assert torch.equal(first.sort(dim=1)[0], torch.arange(4).expand(50, 4))
    assert len(first.unique(dim=0)) > 10


# --------------------------------------------------------------------------- coarse


def coarse_objective(
    deca: Deca, weights: CoarseWeights | None = None, settings: ObjectiveSettings | None = None
) -> CoarseObjective:
    return CoarseObjective(deca, weights or CoarseWeights(), MeanColour(), settings)


def test_coarse_terms_carry_the_official_names_and_add_up(deca: Deca):
    step = coarse_objective(deca)(make_codes(), make_batch(), ORDER)
    assert list(step.terms) == [
        "landmark", "eye_distance", "lip_distance", "photometric_texture", "identity", "shape_reg",
        "expression_reg", "tex_reg", "light_reg",
    ]  # fmt: skip
    assert float(step.total) == pytest.approx(sum(numbers(step).values()), rel=1e-6)
    assert all(value > 0 for value in numbers(step).values())
    assert step.pictures is None


def test_the_second_half_sees_the_shape_of_another_picture(deca: Deca):
    """By hand: the mean of the terms of the codes as they are and of the codes with swapped shapes."""
    codes, batch, stay = make_codes(), make_batch(), torch.tensor([[0, 1], [0, 1]])
    objective = coarse_objective(deca)
    swapped = replace(codes, shape=codes.shape[[1, 0, 2, 3]])
    plain, other, mixed = (
        numbers(objective(c, batch, order)) for c, order in ((codes, stay), (swapped, stay), (codes, ORDER))
    )
    assert other["landmark"] != pytest.approx(plain["landmark"], rel=5e-4)
    for name, value in mixed.items():
        assert value == pytest.approx((plain[name] + other[name]) / 2, rel=1e-5, abs=1e-7), name


def test_sums_count_the_doubled_batch_and_the_processes(deca: Deca):
    codes, batch = make_codes(), make_batch()
    alone = numbers(coarse_objective(deca)(codes, batch, ORDER))
    assert alone["shape_reg"] == pytest.approx(2e-4 * float(colours.code_energy(codes.shape)))
    shared = numbers(coarse_objective(deca, settings=ObjectiveSettings(processes=4))(codes, batch, ORDER))
    for name, value in alone.items():
        times = 4 if name in ("shape_reg", "expression_reg", "tex_reg") else 1
        assert shared[name] == pytest.approx(times * value), name


def test_one_picture_each_gives_what_the_doubled_batch_would(deca: Deca):
    """Two people with one picture each, against the same two pictures doubled as one person's with nothing swapped."""
    codes, batch = make_codes().select(slice(0, 2)), make_batch()
    pair = replace(
        batch, **{n: getattr(batch, n)[:1] for n in ("images", "landmarks", "masks")}, names=("",) * 2
    )
    single = replace(pair, **{n: getattr(pair, n).transpose(0, 1) for n in ("images", "landmarks", "masks")})
    objective = coarse_objective(deca)
    doubled = numbers(objective(codes, pair, torch.tensor([[0, 1]])))
    assert numbers(objective(codes, single, torch.zeros(2, 1, dtype=torch.int64))) == pytest.approx(
        doubled, rel=1e-5, abs=1e-7
    )


def test_without_colour_terms_nothing_is_rendered(monkeypatch: pytest.MonkeyPatch):
    """Nor is an albedo or a light needed."""
    monkeypatch.setattr(coarse, "render", lambda *_: pytest.fail("rendered"))
    bare = make_deca(
        albedo=None,
        sizes=replace(SIZES, albedo=0, light=0),
        layout=tuple((name, size) for name, size in LAYOUT if name not in ("albedo", "light")),
    )
    codes = replace(make_codes(), albedo=torch.zeros(COUNT, 0), light=torch.zeros(COUNT, 0, 3))
    step = CoarseObjective(bare, CoarseWeights(photo=0, id=0))(codes, make_batch(), ORDER)
    assert set(step.terms) == {"landmark", "eye_distance", "lip_distance", "shape_reg", "expression_reg"}


def test_a_weight_of_nought_takes_a_term_away(deca: Deca):
    weights = CoarseWeights(lmk=0, eyed=0, photo=0, reg_tex=0, reg_light=0)
    step = coarse_objective(deca, weights)(make_codes(), make_batch(), ORDER)
    assert set(step.terms) == {"lip_distance", "identity", "shape_reg", "expression_reg"}


def test_weights_multiply_their_terms(deca: Deca):
    once = numbers(coarse_objective(deca)(make_codes(), make_batch(), ORDER))
    thrice = CoarseWeights(3, True, 3, 1.5, 6, True, 0.6, 3e-4, 3e-4, 3e-4, 3)
    assert numbers(coarse_objective(deca, thrice)(make_codes(), make_batch(), ORDER)) == pytest.approx(
        {name: 3 * value for name, value in once.items()}
    )


def test_what_every_coarse_term_moves(deca: Deca):
    codes = make_codes(tracked=True)
    step = coarse_objective(deca)(codes, make_batch(), ORDER)
    geometry = {"shape", "expression", "pose", "camera"}
    assert {name: moved(term, codes) for name, term in step.terms.items()} == {
        "landmark": geometry,
        "eye_distance": geometry,
        "lip_distance": geometry,
        "photometric_texture": geometry | {"albedo", "light"},
        "identity": geometry,  # albedo and light are held
        "shape_reg": {"shape"},
        "expression_reg": {"expression"},
        "tex_reg": {"albedo"},
        "light_reg": {"light"},
    }


def test_the_official_photometric_term_does_not_see_the_light(deca: Deca):
    codes = make_codes(tracked=True)
    step = coarse_objective(deca, settings=OFFICIAL)(codes, make_batch(), ORDER)
    assert "light" not in moved(step.terms["photometric_texture"], codes)


def test_the_background_of_the_overlay_is_the_photo_and_officially_one_colour(deca: Deca):
    batch, codes = make_batch(), make_codes()
    ours = coarse_objective(deca)(codes, batch, ORDER, pictures=True).pictures
    theirs = coarse_objective(deca, settings=OFFICIAL)(codes, batch, ORDER, pictures=True).pictures
    corner = (slice(None), slice(None), 0, 0)  # no head there
    assert torch.equal(ours["overlay_images"][corner], ours["inputs"][corner])
    flat = theirs["overlay_images"][corner]
    assert torch.equal(flat, theirs["overlay_images"][:, :, 0, -1])
    assert not torch.allclose(flat, theirs["inputs"][corner])
    assert not ours["predicted_images"][corner].any()


def test_pictures_are_of_the_first_half(deca: Deca):
    shown = coarse_objective(deca)(make_codes(tracked=True), make_batch(), ORDER, pictures=True).pictures
    assert {name: tuple(value.shape) for name, value in shown.items()} == {
        **dict.fromkeys(
            ("inputs", "shape_images", "predicted_images", "overlay_images"), (COUNT, 3, SIDE, SIDE)
        ),
        **dict.fromkeys(("landmarks2d", "landmarks2d_gt"), (COUNT, 68, 2)),
    }
    assert not any(value.requires_grad for value in shown.values())


def test_without_masks_the_rendered_face_decides(deca: Deca):
    batch, codes = make_batch(), make_codes()
    objective = coarse_objective(deca, CoarseWeights(useSeg=False))
    one, other = (
        numbers(objective(codes, b, ORDER))
        for b in (batch, replace(batch, masks=torch.zeros_like(batch.masks)))
    )
    assert one == other
    assert (
        numbers(coarse_objective(deca)(codes, batch, ORDER))["photometric_texture"]
        != one["photometric_texture"]
    )


def test_a_jaw_in_euler_angles_is_kept_from_rolling_and_closing():
    codes = replace(
        make_codes(), pose=torch.tensor([[0.1, 0, 0, -0.2, 0, 0], [0, 0, 0, 0, 0, 0.3]]).repeat(2, 1)
    )
    step = coarse_objective(make_deca(layout=EULER))(codes, make_batch(), ORDER)
    found = numbers(step)
    assert found["reg_jawpose_roll"] == pytest.approx(4 * 100 * 0.09 / 2, rel=1e-5)
    assert found["reg_jawpose_close"] == pytest.approx(4 * 10 * 0.04 / 2, rel=1e-5)


def test_nothing_given_is_changed(deca: Deca):
    codes, batch = make_codes(), make_batch()
    before = [
        value.clone() for value in (*dict(codes.items()).values(), batch.images, batch.landmarks, batch.masks)
    ]
    coarse_objective(deca, settings=OFFICIAL)(codes, batch, ORDER, pictures=True)
    after = [*dict(codes.items()).values(), batch.images, batch.landmarks, batch.masks]
    assert all(torch.equal(old, new) for old, new in zip(before, after, strict=True))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: CoarseObjective(make_deca(), CoarseWeights()),
            r"face recognition network.*--without identity",
        ),
        (
            lambda: CoarseObjective(make_deca(albedo=None), CoarseWeights(id=0)),
            r"0 albedo components in its head.*--set loss.photo=0",
        ),
        (
            lambda: DetailObjective(make_deca(sizes=replace(SIZES, light=0)), DetailWeights(), Pixels()),
            "0 light coefficients",
        ),
        (lambda: DetailObjective(make_deca(), DetailWeights()), r"VGG-19 is not given.*--without mrf"),
        (lambda: DetailNetworks(make_deca()), "lacks one of them.*deca train coarse"),
    ],
)
def test_what_is_missing_is_refused_with_what_to_do(make: Callable[[], object], message: str):
    with pytest.raises(ModelError, match=message):
        make()


# --------------------------------------------------------------------------- detail


def detail_objective(
    deca: Deca, weights: DetailWeights | None = None, settings: ObjectiveSettings | None = None
) -> DetailObjective:
    return DetailObjective(deca, weights or DetailWeights(), Pixels(), settings)


def make_displacement() -> Tensor:
    random = torch.Generator().manual_seed(6)
    coarse_map = torch.randn(2 * COUNT, 1, 8, 8, generator=random) / 2000
    return nn.functional.interpolate(coarse_map, (CHART, CHART), mode="bilinear")


def test_detail_terms_carry_the_official_names_and_add_up(deca: Deca):
    step = detail_objective(deca)(make_codes(), make_displacement(), make_batch(), ORDER)
    assert list(step.terms) == ["photo_detail", "photo_detail_mrf", "z_reg", "z_diff", "z_sym"]
    assert float(step.total) == pytest.approx(sum(numbers(step).values()), rel=1e-6)
    assert all(value > 0 for value in numbers(step).values())


def test_every_detail_term_moves_the_displacement_and_nothing_else(deca: Deca):
    codes, displacement = make_codes(tracked=True), make_displacement().requires_grad_()
    step = detail_objective(deca)(codes, displacement, make_batch(), ORDER)
    for name, term in step.terms.items():
        (pull,) = torch.autograd.grad(term, displacement, retain_graph=True)
        assert torch.isfinite(pull).all(), name
        assert pull[:COUNT].any() and pull[COUNT:].any(), name  # noqa: PT018
        assert moved(term, codes) == set(), name


def test_both_halves_of_the_displacement_are_judged_alike(deca: Deca):
    displacement = make_displacement()
    objective = detail_objective(deca)
    one = objective(make_codes(), displacement, make_batch(), ORDER)
    other = objective(make_codes(), displacement.roll(COUNT, 0), make_batch(), ORDER)
    assert numbers(one) == pytest.approx(numbers(other), rel=1e-4)


def test_a_flat_displacement_is_free_of_its_own_terms(deca: Deca):
    step = detail_objective(deca)(make_codes(), torch.zeros(2 * COUNT, 1, CHART, CHART), make_batch(), ORDER)
    assert numbers(step)["z_reg"] == numbers(step)["z_sym"] == 0


def test_detail_sums_count_the_processes(deca: Deca):
    given = (make_codes(), make_displacement(), make_batch(), ORDER)
    alone, shared = (
        numbers(detail_objective(deca, settings=ObjectiveSettings(processes=n))(*given)) for n in (1, 3)
    )
    for name, value in alone.items():
        times = 3 if name in ("photo_detail_mrf", "z_sym") else 1
        assert shared[name] == pytest.approx(times * value), name


def test_the_mrf_term_weighs_the_product_and_needs_no_network_at_nought(deca: Deca):
    given = (make_codes(), make_displacement(), make_batch(), ORDER)
    whole = numbers(detail_objective(deca)(*given))
    doubled = numbers(detail_objective(deca, DetailWeights(photo_D=4))(*given))
    assert doubled["photo_detail_mrf"] == pytest.approx(2 * whole["photo_detail_mrf"])
    without = DetailObjective(deca, DetailWeights(mrf=0))(*given)
    assert "photo_detail_mrf" not in without.terms
    assert float(without.terms["photo_detail"]) == pytest.approx(whole["photo_detail"])


def test_the_official_patch_is_used_for_heads_of_the_flame_form_only(deca: Deca):
    assert detail_objective(deca).patch == detail.losses.mask_patch(deca.head.face_eye_mask)
    assert detail_objective(deca, settings=OFFICIAL).patch == detail.losses.OFFICIAL_PATCH


def test_detail_pictures(deca: Deca):
    given = (make_codes(), make_displacement().requires_grad_(), make_batch(), ORDER)
    shown = detail_objective(deca)(*given, pictures=True).pictures
    assert set(shown) == {
        "inputs", "landmarks2d", "landmarks2d_gt", "shape_images", "predicted_images", "predicted_detail_images",
        "uv_texture", "uv_texture_gt",
    }  # fmt: skip
    assert not shown["predicted_detail_images"][:, :, 0, 0].any()
    assert not any(value.requires_grad for value in shown.values())


def test_detail_networks_swap_detail_codes_in_the_second_half():
    torch.manual_seed(0)
    deca = make_deca(detail_encoder=Encoder("resnet18", 5, None), detail_decoder=DetailDecoder(4, 5))
    networks = DetailNetworks(deca).eval()
    images, codes, order = make_batch().images[0], make_codes().select(slice(0, 2)), ORDER[:1]
    with torch.inference_mode():
        both = networks(images, codes, order)
        own = replace(codes, detail=networks.encode(images))
        assert both.shape == (4, 1, 256, 256)
        torch.testing.assert_close(both[:2], deca.displacement(own), atol=1e-7, rtol=1e-5)
        swapped = replace(own, detail=own.detail[[1, 0]])
        torch.testing.assert_close(both[2:], deca.displacement(swapped), atol=1e-7, rtol=1e-5)
    assert {name.split(".")[0] for name, _ in networks.named_parameters()} == {"encoder", "decoder"}
    networks(images[:1], codes.select(0), torch.zeros(1, 1, dtype=torch.int64)).sum().backward()
    assert all(parameter.grad is not None for parameter in networks.parameters())
