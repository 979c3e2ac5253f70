"""The losses of the paper's stages, by hand and by their formulas."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
import torch
from torch import Tensor

from deca_cli.errors import ModelError
from deca_cli.heads.rotations import euler_to_axis_angle
from deca_cli.networks.resnet import ResNet
from deca_cli.train.losses import detail, landmarks, mrf, pictures
from deca_cli.train.losses.face_recognition import FaceRecognition, load_face_recognition
from deca_cli.train.losses.vgg19 import Vgg19, load_vgg19
from deca_cli.train.losses.weights import CoarseWeights, DetailWeights

if TYPE_CHECKING:
    from pathlib import Path


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


# --------------------------------------------------------------------------- landmarks


def test_the_official_weights_of_the_landmarks():
    weights = landmarks.landmark_weights()
    named = {
        0: 1,
        5: 2,
        8: 1,
        11: 2,
        27: 1.5,
        30: 3,
        31: 3,
        33: 1.5,
        35: 3,
        36: 1,
        48: 3,
        53: 1.5,
        54: 3,
        67: 1.5,
    }
    assert {point: float(weights[point]) for point in named} == named
    assert float(weights.sum()) == 4 * 2 + 6 * 1.5 + 3 * 3 + 2 * 3 + 18 * 1.5 + 35


def labels(count: int) -> Tensor:
    """All points at (0, 0), all known."""
    return torch.tensor([0.0, 0.0, 1.0]).expand(count, 68, 3).clone()


def test_landmark_loss_by_hand():
    predicted, label = torch.zeros(2, 68, 2), labels(2)
    predicted[0, 30] = torch.tensor([0.3, -0.1])  # weight 3
    weights = landmarks.landmark_weights()
    expected = 3 * 0.4 / (2 * 2 * float(weights.sum()))
    assert float(landmarks.landmark_loss(predicted, label, weights)) == pytest.approx(expected)
    assert float(landmarks.unweighted_landmark_loss(predicted, label)) == pytest.approx(0.4 / (2 * 68 * 2))


def test_unknown_landmarks_do_not_count_and_labels_stay_as_they_are():
    predicted, label = torch.zeros(1, 68, 2), labels(1)
    predicted[0, 4] = 0.5
    label[0, 4, 2] = 0
    before = label.clone()
    assert float(landmarks.landmark_loss(predicted, label, landmarks.landmark_weights())) == 0
    assert torch.equal(label, before)
    label[..., 2] = 0
    assert float(landmarks.landmark_loss(predicted, label, landmarks.landmark_weights())) == 0


@pytest.mark.parametrize("pairs", [landmarks.EYELID_PAIRS, landmarks.LIP_PAIRS])
def test_opening_loss_by_hand(pairs: tuple[tuple[int, int], ...]):
    predicted, label = torch.zeros(1, 68, 2), labels(1)
    upper, lower = pairs[0]
    predicted[0, upper] = torch.tensor([0.3, 0.4])  # 0.5 apart
    label[0, lower, :2] = torch.tensor([0.0, -0.2])  # 0.2 apart
    loss = landmarks.opening_loss(predicted, label, torch.tensor(pairs))
    assert float(loss) == pytest.approx(0.3 / len(pairs))


def test_closed_lids_have_a_finite_gradient():
    predicted = torch.zeros(1, 68, 2, requires_grad=True)
    label = labels(1)
    label[0, 37, 1] = 0.1
    landmarks.opening_loss(predicted, label, torch.tensor(landmarks.EYELID_PAIRS)).backward()
    assert torch.isfinite(predicted.grad).all()


# --------------------------------------------------------------------------- colours and codes


def test_photometric_loss_counts_masked_pixels_in_the_mean():
    predicted, photo = torch.zeros(1, 3, 2, 2), torch.ones(1, 3, 2, 2)
    mask = torch.tensor([[[[1.0, 0.0], [0.5, 0.0]]]])
    assert float(pictures.photometric_loss(predicted, photo, mask)) == pytest.approx(1.5 / 4)


def test_identity_loss_is_nought_for_the_same_direction_and_two_for_the_opposite():
    features = torch.tensor([[1.0, 2.0], [3.0, -1.0]])
    assert float(pictures.identity_loss(5 * features, features)) == pytest.approx(0, abs=1e-6)
    assert float(pictures.identity_loss(-features, features)) == pytest.approx(2)
    assert float(pictures.identity_loss(features[:1], torch.tensor([[-2.0, 1.0]]))) == pytest.approx(1)


def test_code_energy_is_a_sum_over_the_batch():
    assert float(pictures.code_energy(torch.tensor([[1.0, 2.0], [0.0, 3.0]]))) == 7


def test_white_light_is_free_and_coloured_light_costs():
    assert float(pictures.light_loss(torch.ones(2, 9, 1).expand(2, 9, 3))) == 0
    light = torch.zeros(1, 9, 3)
    light[0, 0] = torch.tensor([3.0, 0.0, 0.0])  # mean 1: squares 4, 1, 1
    assert float(pictures.light_loss(light)) == pytest.approx(6 / 27)


def test_the_jaw_may_open_but_neither_roll_nor_close():
    jaw = torch.tensor([[0.3, 0.0, 0.0], [-0.2, 0.1, 0.4]])
    assert float(pictures.jaw_roll_loss(jaw)) == pytest.approx(100 * 0.16 / 2)
    assert float(pictures.jaw_close_loss(jaw)) == pytest.approx(10 * 0.04 / 2)


def test_euler_angles_come_back_from_an_axis_angle():
    euler = torch.tensor([[0.3, -0.2, 0.1], [-0.4, 0.5, 0.6], [0.0, 0.0, 0.0]])
    back = pictures.euler_angles(euler_to_axis_angle(euler))
    torch.testing.assert_close(back, euler, atol=1e-6, rtol=0)


# --------------------------------------------------------------------------- detail


def test_smoothness_of_the_shading_by_hand():
    """A step of 1 between columns 1 and 2 of 4 x 4: two inner rows of three steps each, one of them 1."""
    shading = torch.zeros(1, 1, 4, 4)
    shading[..., 2:] = 1
    assert float(detail.shading_smoothness_loss(shading)) == pytest.approx(1 / 3)
    assert float(detail.shading_smoothness_loss(shading.mT)) == pytest.approx(1 / 3)
    corner = torch.zeros(1, 1, 4, 4)
    corner[0, 0, 0, 0] = 1
    assert float(detail.shading_smoothness_loss(corner)) == 0


def test_erosion_takes_two_texels_from_every_edge_the_map_s_included():
    mask = torch.ones(1, 1, 9, 9)
    assert detail.eroded(mask)[0, 0].nonzero().tolist() == [[r, c] for r in range(2, 7) for c in range(2, 7)]
    mask[0, 0, 4, 4] = 0
    inner = detail.eroded(mask)[0, 0]
    assert float(inner.sum()) == 0
    mask[0, 0, 4, 4] = 0.01  # anything but 0 counts
    assert float(detail.eroded(mask).sum()) == 25


def test_symmetry_counts_hidden_texels_only_and_leaves_the_other_side_alone():
    displacement = torch.zeros(1, 1, 12, 12)
    displacement[0, 0, 6, 1] = 0.5
    displacement.requires_grad_()
    visible = torch.ones(1, 1, 12, 12)
    visible[..., :6] = 0  # the left half is hidden: columns 0 to 7 after the erosion, and the border
    loss = detail.symmetry_loss(displacement, visible)
    # (6, 1) is hidden, and its mirror (6, 10) lies within the border of two: each differs from the other by 0.5
    assert float(loss.detach()) == pytest.approx(1.0)
    loss.backward()
    moved = displacement.grad[0, 0].nonzero().tolist()
    assert moved == [[6, 1], [6, 10]]
    assert displacement.grad[0, 0, 6].unique().tolist() == [-1, 0, 1]
    seen = detail.symmetry_loss(displacement, torch.ones(1, 1, 12, 12))
    assert float(seen.detach()) == pytest.approx(1.0)  # both lie at the border, which erosion hides


def test_a_visible_wrinkle_may_be_on_one_side():
    displacement = torch.zeros(1, 1, 12, 12)
    displacement[0, 0, 6, 4] = 0.5
    assert float(detail.symmetry_loss(displacement, torch.ones(1, 1, 12, 12))) == 0


def test_size_of_the_displacement_and_texture_difference_are_means():
    assert float(detail.displacement_loss(torch.tensor([[[[-1.0, 0.0], [2.0, 1.0]]]]))) == 1
    assert (
        float(detail.detail_photometric_loss(torch.zeros(1, 3, 2, 2), torch.full((1, 3, 2, 2), 0.25))) == 0.25
    )


def test_a_patch_is_cut_out_and_enlarged():
    maps = torch.arange(16.0).view(1, 1, 4, 4)
    assert torch.equal(detail.Patch(1, 3, 2, 4).cut(maps, 2), maps[:, :, 1:3, 2:4])
    assert detail.Patch(1, 3, 2, 4).cut(maps, 8).shape == (1, 1, 8, 8)
    assert detail.OFFICIAL_PATCH.bottom - detail.OFFICIAL_PATCH.top == 156


def test_the_patch_of_a_mask_is_a_square_around_it_inside_the_map():
    mask = torch.zeros(16, 16)
    mask[2:6, 3:13] = 1  # 4 rows, 10 columns
    assert detail.mask_patch(mask) == detail.Patch(0, 10, 3, 13)
    mask[14, 5] = 1
    assert detail.mask_patch(mask) == detail.Patch(2, 15, 1, 14)


# --------------------------------------------------------------------------- ID-MRF


def mrf_by_its_formula(generated: Tensor, target: Tensor) -> Tensor:
    """Specification 8.6 step by step, in float64 and with torch's own gradients."""
    mean = target.mean(1, keepdim=True)
    given, wanted = ((x - mean).flatten(2) for x in (generated, target))
    given, wanted = (x / x.norm(dim=1, keepdim=True) for x in (given, wanted))
    distance = (1 - torch.einsum("ncj,nci->nji", wanted, given)) / 2
    relative = distance / (distance.min(1, keepdim=True)[0] + 1e-5)
    weight = torch.exp((1 - relative) / 0.5)
    share = weight / weight.sum(1, keepdim=True)
    return -share.max(2)[0].mean(1).log()


def features(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=generator())


@pytest.mark.parametrize("at_once", [1, 2**25])
def test_mrf_and_its_gradient_are_those_of_the_formula(at_once: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(mrf, "ENTRIES_AT_ONCE", at_once)
    both = features(6, 8, 5, 6)
    generated, target = both[:3].clone().requires_grad_(), both[3:]
    exact = both[:3].double().requires_grad_()
    weights = torch.tensor([1.0, -2.0, 0.5])
    ours = mrf.mrf_losses(generated, target)
    theirs = mrf_by_its_formula(exact, target.double())
    torch.testing.assert_close(ours.double(), theirs, atol=1e-6, rtol=1e-5)
    (ours * weights).sum().backward()
    (theirs * weights).sum().backward()
    torch.testing.assert_close(
        generated.grad.double(), exact.grad, atol=1e-5 * float(exact.grad.abs().max()), rtol=0
    )


def test_mrf_of_a_picture_with_itself_is_nearly_nought_and_grows_with_differences():
    target, noise = features(2, 16, 6, 6).split(1)
    same, near, far = (float(mrf.mrf_losses(target + share * noise, target)) for share in (0, 0.7, 5))
    assert same < 1e-5 < near < far


def test_mrf_of_equal_places_is_finite_with_a_finite_gradient():
    """Masked parts: all their features are the same, or all channels are equal and have no direction at all."""
    target = features(1, 8, 4, 4)
    target[..., 2:] = target[..., 2:3, 2:3]
    target[..., 0, 0] = 1.0
    generated = target.clone().requires_grad_()
    loss = mrf.mrf_losses(generated, target)
    loss.sum().backward()
    assert torch.isfinite(loss).all()
    assert torch.isfinite(generated.grad).all()


def test_mrf_keeps_no_matrix_of_similarities():
    generated = features(2, 4, 16, 16).requires_grad_()
    kept: list[int] = []

    def keep(tensor: Tensor) -> Tensor:
        kept.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        mrf.mrf_losses(generated, features(2, 4, 16, 16)).sum()
    assert max(kept) <= generated.numel() < 2 * 256 * 256


# --------------------------------------------------------------------------- networks


def random_vgg() -> Vgg19:
    state, number, inputs = {}, 0, 3
    for count, width in ((2, 64), (2, 128), (4, 256), (1, 512)):
        for _ in range(count):
            shape = (width, inputs, 3, 3)
            state[f"features.{number}.weight"] = torch.randn(shape, generator=generator()) * math.sqrt(
                2 / (9 * inputs)
            )
            state[f"features.{number}.bias"] = torch.full((width,), 0.01)
            number, inputs = number + 2, width
        number += 1
    return Vgg19(state)


def test_vgg_stops_at_the_two_layers_of_the_loss():
    network = random_vgg()
    fine, coarse = network(torch.rand(1, 3, 32, 32, generator=generator()))
    assert fine.shape == (1, 256, 8, 8)
    assert coarse.shape == (1, 512, 4, 4)
    assert float(fine.min()) == 0  # of a ReLU
    assert not any(parameter.requires_grad for parameter in network.parameters())


def test_id_mrf_counts_the_coarse_layer_twice_and_sums_over_the_batch():
    network = random_vgg()
    images = torch.rand(4, 3, 32, 32, generator=generator())
    target = network(images[:2])
    generated = images[1:].roll(1, 0)[:2]
    single = network(generated)
    expected = mrf.mrf_losses(single[0], target[0]).sum() + 2 * mrf.mrf_losses(single[1], target[1]).sum()
    assert float(mrf.id_mrf_loss(network, generated, target)) == pytest.approx(float(expected), rel=1e-5)
    doubled = mrf.id_mrf_loss(network, torch.cat([generated, generated]), target)
    assert float(doubled) == pytest.approx(2 * float(expected), rel=1e-4)


@pytest.fixture(scope="module")
def recogniser() -> FaceRecognition:
    torch.manual_seed(0)
    network = ResNet("resnet50")
    network.initialise()
    for name, value in network.state_dict().items():
        if name.endswith("running_mean"):
            value.normal_(0, 0.1)
        elif name.endswith(("running_var", "bn3.weight")):
            value.uniform_(0.5, 1.5)
    return FaceRecognition(network.state_dict() | {"fc.weight": torch.zeros(1), "fc.bias": torch.zeros(1)})


def test_face_recognition_sees_blue_first_and_the_middle_of_the_crop(recogniser: FaceRecognition):
    images = torch.zeros(1, 3, 224, 224)
    images[:, 0, 10:214, 10:214] = 1  # red inside
    seen = recogniser.prepare(images)
    assert seen.shape == (1, 3, 224, 224)
    expected = [2 * (0 - 91.4953) - 1, 2 * (0 - 103.8827) - 1, 2 * (255 - 131.0912) - 1]
    for channel, value in enumerate(expected):
        torch.testing.assert_close(seen[0, channel], torch.full((224, 224), value), atol=1e-3, rtol=0)


def test_face_recognition_strides_in_the_first_convolution_and_pools_without_padding(
    recogniser: FaceRecognition,
):
    network = recogniser.network
    for earlier, later in pairwise((network.layer1, network.layer2, network.layer3, network.layer4)):
        assert earlier[-1].conv1.stride == (1, 1)
        assert (later[0].conv1.stride, later[0].conv2.stride) == ((2, 2), (1, 1))
    assert network.maxpool(torch.rand(1, 1, 112, 112)).shape[-1] == 56


def test_face_recognition_lets_gradients_through_to_the_picture_only(recogniser: FaceRecognition):
    images = torch.rand(1, 3, 64, 64, generator=generator(), requires_grad=True)
    answer = recogniser(images)
    assert answer.shape == (1, 2048)
    answer.square().sum().backward()
    assert float(images.grad.abs().max()) > 0
    assert all(parameter.grad is None for parameter in recogniser.parameters())


def test_half_precision_stays_near_and_answers_in_full(recogniser: FaceRecognition):
    images = torch.rand(2, 3, 64, 64, generator=generator())
    network = random_vgg()
    half = Vgg19({f"features.{n}": v for n, v in network.layers.state_dict().items()}, torch.bfloat16)
    for ours, rough in zip(network(images), half(images), strict=True):
        assert rough.dtype == torch.float32
        assert float((ours - rough).norm() / ours.norm()) < 0.03


def test_missing_networks_are_named_with_what_to_do(tmp_path: Path):
    with pytest.raises(
        ModelError, match=r"identity loss needs.*none\.pkl is not there.*fetch-models.*--without identity"
    ):
        load_face_recognition(tmp_path / "none.pkl")
    with pytest.raises(ModelError, match=r"ID-MRF loss needs VGG-19.*none\.pth is not there.*--without mrf"):
        load_vgg19(tmp_path / "none.pth")


def test_the_official_weights():
    coarse, wrinkles = CoarseWeights(), DetailWeights()
    assert (coarse.lmk, coarse.eyed, coarse.lipd, coarse.photo, coarse.id) == (1, 1, 0.5, 2, 0.2)
    assert (coarse.reg_shape, coarse.reg_exp, coarse.reg_tex, coarse.reg_light) == (1e-4, 1e-4, 1e-4, 1)
    assert (wrinkles.photo_D, wrinkles.mrf) == (2, 0.05)
    assert (wrinkles.reg_z, wrinkles.reg_diff, wrinkles.reg_sym) == (0.005, 0.005, 0.005)
    assert coarse.renders
    assert not CoarseWeights(photo=0, id=0).renders
