from dataclasses import replace

import pytest
import torch

from deca_cli.heads.albedo import Albedo
from deca_cli.heads.camera import project
from deca_cli.heads.model import HeadModel
from deca_cli.networks.codes import Codes, CodeSizes
from deca_cli.networks.deca import Deca
from deca_cli.networks.detail_decoder import DetailDecoder
from deca_cli.networks.encoder import Encoder
from deca_cli.networks.preprocessing import Preprocessing
from deca_cli.networks.resnet import ResNet
from small_head import random_albedo, random_head

LAYOUT = (("shape", 5), ("expression", 4), ("pose", 6), ("camera", 3), ("face_score", 1))
SIZES = CodeSizes(shape=5, albedo=3, expression=4, light=0, detail=0)
PREPROCESSING = Preprocessing(image_size=32, pixel_offset=-0.5, mean=0.45, std=0.25)


@pytest.mark.parametrize(
    ("backbone", "parameters", "features"),
    [("resnet18", 11_176_512, 512), ("resnet34", 21_284_672, 512), ("resnet50", 23_508_032, 2048)],
)
def test_backbones_have_the_published_number_of_parameters(backbone: str, parameters: int, features: int):
    with torch.device("meta"):
        network = ResNet(backbone)
    assert sum(parameter.numel() for parameter in network.parameters()) == parameters
    assert network.features == features


def test_the_official_encoder_has_the_official_names():
    with torch.device("meta"):
        state = Encoder("resnet50", 236, 1024).state_dict()
    assert state["encoder.conv1.weight"].shape == (64, 3, 7, 7)
    assert state["encoder.layer3.5.bn2.running_var"].shape == (256,)
    assert state["encoder.layer4.0.downsample.0.weight"].shape == (2048, 1024, 1, 1)
    assert state["layers.0.weight"].shape == (1024, 2048)
    assert state["layers.2.bias"].shape == (236,)
    assert not any("fc" in name for name in state)


def test_a_single_linear_layer_is_named_layers_0():
    with torch.device("meta"):
        names = [name for name in Encoder("resnet18", 7, None).state_dict() if name.startswith("layers")]
    assert names == ["layers.0.weight", "layers.0.bias"]


def test_the_stride_sits_in_the_3x3_convolution():
    with torch.device("meta"):
        block = ResNet("resnet50").layer2[0]
    assert (block.conv1.stride, block.conv2.stride, block.downsample[0].stride) == ((1, 1), (2, 2), (2, 2))


@pytest.mark.parametrize("size", [64, 96, 130])
def test_encoders_take_crops_of_any_size(size: int):
    torch.manual_seed(0)
    encoder = Encoder("resnet18", 7, None).eval()
    with torch.inference_mode():
        assert encoder(torch.rand(2, 3, size, size)).shape == (2, 7)


def test_residual_branches_start_at_zero():
    torch.manual_seed(0)
    network = ResNet("resnet34")
    network.initialise()
    block = network.layer1[1].eval()
    x = torch.rand(1, 64, 8, 8)
    torch.testing.assert_close(block(x), x, rtol=0, atol=0)  # only the shortcut is left, and x is positive
    assert sum(1 for _ in network.blocks()) == 16


def test_unknown_backbones_are_named():
    with pytest.raises(ValueError, match="resnet101"):
        ResNet("resnet101")


def test_the_detail_decoder_has_the_official_names_and_floors():
    with torch.device("meta"):
        decoder = DetailDecoder(50, 128)
    assert decoder.l1[0].weight.shape == (8192, 181)
    floors = {
        i: layer.eps for i, layer in enumerate(decoder.conv_blocks) if isinstance(layer, torch.nn.BatchNorm2d)
    }
    assert floors == {0: 1e-5, 3: 0.8, 7: 0.8, 11: 0.8, 15: 0.8, 19: 0.8}
    shapes = {
        i: tuple(layer.weight.shape[:2])
        for i, layer in enumerate(decoder.conv_blocks)
        if i in {2, 6, 10, 14, 18}
    }
    assert shapes == {2: (128, 128), 6: (64, 128), 10: (64, 64), 14: (32, 64), 18: (16, 32)}
    assert tuple(decoder.conv_blocks[21].weight.shape) == (1, 16, 3, 3)


def small_decoder() -> DetailDecoder:
    torch.manual_seed(0)
    return DetailDecoder(4, 3).eval()


def test_displacements_stay_within_a_centimetre():
    decoder = small_decoder()
    with torch.inference_mode():
        decoder.conv_blocks[21].bias.fill_(100)
        assert torch.equal(decoder(*codes_of(2)), torch.full((2, 1, 256, 256), 0.01))


def codes_of(batch: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    return torch.ones(batch, 3), torch.ones(batch, 4), torch.ones(batch, 3)


def test_the_detail_decoder_reads_jaw_then_expression_then_detail():
    decoder = small_decoder()
    parts = torch.arange(1.0, 4)[None], torch.arange(4.0, 8)[None], torch.arange(8.0, 11)[None]
    seen = []
    decoder.l1.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    with torch.inference_mode():
        decoder(*parts)
    assert seen[0].tolist() == [[*range(1, 11)]]


def small_deca(**changes: object) -> Deca:
    torch.manual_seed(0)
    parts = {
        "head": HeadModel(random_head()),
        "encoder": Encoder("resnet18", 19, None),
        "layout": LAYOUT,
        "sizes": SIZES,
        "preprocessing": PREPROCESSING,
        "expression_range": (0.0, 1.0),
        "albedo": Albedo(random_albedo()),
    }
    return Deca(**parts | changes).eval()


def test_crops_become_codes_and_a_score():
    with torch.inference_mode():
        encoding = small_deca().encode(torch.rand(2, 3, 32, 32))
    assert {name: tuple(value.shape) for name, value in encoding.codes.items()} == {
        "shape": (2, 5),
        "albedo": (2, 3),
        "expression": (2, 4),
        "pose": (2, 6),
        "camera": (2, 3),
        "light": (2, 0, 3),
        "detail": (2, 0),
    }
    assert encoding.face_score.shape == (2,)
    assert encoding.codes.expression.min() >= 0


def test_the_encoder_sees_normalised_crops():
    deca = small_deca()
    assert torch.allclose(deca.prepare(torch.full((1, 3, 32, 32), 0.7)), torch.ones(1))
    official = replace(PREPROCESSING, mean=0.0, std=1.0)
    image = torch.rand(1, 3, 32, 32)
    assert torch.equal(small_deca(preprocessing=official).prepare(image), image)


def test_the_answer_for_a_face_does_not_depend_on_its_neighbours():
    deca, images = small_deca(), torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        together = deca.encode(images).codes
        alone = Codes.concat([deca.encode(images[i : i + 1]).codes for i in range(3)])
    for (name, one), (_, other) in zip(together.items(), alone.items(), strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=0, msg=name)


def random_codes(batch: int) -> Codes:
    generator = torch.Generator().manual_seed(0)
    values = {
        name: torch.randn(value.shape, generator=generator) / 3
        for name, value in Codes.zeros(SIZES, batch).items()
    }
    return Codes(**values)


def test_heads_carry_world_points_and_projected_points_that_agree():
    deca, codes = small_deca(), random_codes(2)
    head = deca.decode(codes)
    assert head.vertices.shape == (2, 40, 3)
    torch.testing.assert_close(head.projected, project(head.vertices, codes.camera))
    torch.testing.assert_close(head.landmarks3d, project(head.landmarks3d_world, codes.camera))
    assert head.landmarks2d.shape == (2, 68, 3)
    assert head.displacement is None
    assert not deca.has_detail


def test_decoding_writes_nothing_into_the_codes():
    codes = random_codes(2)
    before = {name: value.clone() for name, value in codes.items()}
    small_deca().decode(codes)
    for name, value in codes.items():
        assert torch.equal(value, before[name]), name


def test_landmarks_on_triangles_that_face_away_are_not_visible():
    deca = small_deca()
    codes = replace(Codes.zeros(SIZES, 1), camera=torch.tensor([[8.0, 0, 0]]))
    behind = replace(codes, pose=torch.tensor([[0, torch.pi, 0, 0, 0, 0]]))
    front, back = deca.decode(codes), deca.decode(behind)
    towards = deca.head.on_landmarks(front.normals)[0, :, 2]
    assert front.landmarks_visible[0].tolist() == (towards > -0.1).tolist()
    sure = towards.abs() > 0.11
    assert sure.any()
    assert (front.landmarks_visible ^ back.landmarks_visible)[0, sure].all()


def test_the_displacement_follows_the_expression():
    sizes = replace(SIZES, detail=3)
    detail = {
        "sizes": sizes,
        "detail_encoder": Encoder("resnet18", 3, None),
        "detail_decoder": small_decoder(),
    }
    deca = small_deca(**detail)
    with torch.inference_mode():
        codes = deca.encode(torch.rand(1, 3, 32, 32)).codes
        assert codes.detail.shape == (1, 3)
        calm, smiling = (
            deca.displacement(replace(codes, expression=torch.full((1, 4), x))) for x in (0.0, 1.0)
        )
        assert torch.equal(deca.decode(replace(codes, expression=torch.zeros(1, 4))).displacement, calm)
    assert not torch.equal(calm, smiling)


def test_an_encoder_of_the_wrong_width_is_refused():
    with pytest.raises(ValueError, match="gives 18 numbers, but the layout names 19"):
        small_deca(encoder=Encoder("resnet18", 18, None))


@pytest.mark.parametrize(
    "values",
    [{"image_size": 8}, {"crop_factor": 0}, {"std": 0}, {"box_side": "median"}, {"pixel_offset": 0.5}],
)
def test_preprocessing_that_makes_no_sense_is_refused(values: dict):
    with pytest.raises(ValueError, match=next(iter(values))):
        Preprocessing(**values)
