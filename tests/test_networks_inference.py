"""Encoders made ready to run fast say the same."""

import pytest
import torch

from deca_cli.networks.detail_decoder import DetailDecoder
from deca_cli.networks.encoder import Encoder
from deca_cli.networks.inference import (
    PRECISIONS,
    FoldedConvolution,
    _FoldedDetailDecoder,
    ready_encoder,
    set_convolution_precision,
)


@pytest.fixture(params=["resnet18", "resnet50"])
def encoder(request):
    """With statistics that are not those of a fresh network."""
    torch.manual_seed(0)
    network = Encoder(request.param, 9, 16)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.uniform_(module.bias, -0.3, 0.3)
            torch.nn.init.uniform_(module.running_mean, -0.3, 0.3)
            torch.nn.init.uniform_(module.running_var, 0.5, 1.5)
    return network.eval().requires_grad_(False)


@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 0.0), ("tf32", 2e-5), ("bf16", 4e-2)])
def test_a_ready_encoder_agrees_within_its_precision(encoder, precision, tolerance):
    images = torch.rand(2, 3, 96, 96)
    expected = encoder(images)
    found = ready_encoder(encoder, precision)(images)
    assert found.dtype == torch.float32
    spread = (expected - expected.mean(0)).abs().max() + expected.abs().max()
    assert (found - expected).abs().max() <= tolerance * spread


@pytest.mark.parametrize("precision", PRECISIONS)
def test_float32_convolutions_may_use_tf32_unless_the_precision_is_fp32_and_matrix_products_never(precision):
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    before = cudnn.allow_tf32, matmul.allow_tf32
    try:
        set_convolution_precision(precision)
        assert (cudnn.allow_tf32, matmul.allow_tf32) == (precision != "fp32", False)
    finally:
        cudnn.allow_tf32, matmul.allow_tf32 = before


def test_the_given_encoder_is_not_changed(encoder):
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    ready_encoder(encoder, "bf16")
    for name, value in encoder.state_dict().items():
        assert value.dtype == before[name].dtype
        torch.testing.assert_close(value, before[name], rtol=0, atol=0)


def test_a_folded_convolution_is_convolution_then_normalisation():
    torch.manual_seed(1)
    convolution, norm = torch.nn.Conv2d(3, 5, 3, 2, padding=1, bias=False), torch.nn.BatchNorm2d(5)
    torch.nn.init.uniform_(norm.running_var, 0.1, 2)
    torch.nn.init.normal_(norm.running_mean)
    x = torch.randn(2, 3, 9, 9)
    expected = norm.eval()(convolution(x))
    torch.testing.assert_close(
        FoldedConvolution(convolution, norm, relu=False)(x), expected, rtol=1e-5, atol=1e-5
    )
    residual = torch.randn_like(expected)
    torch.testing.assert_close(
        FoldedConvolution(convolution, norm)(x, residual), (expected + residual).relu(), rtol=1e-5, atol=1e-5
    )


def test_a_folded_detail_decoder_gives_the_same_displacement_to_a_hundredth_of_a_micrometre():
    torch.manual_seed(2)
    decoder = DetailDecoder(4, 6)
    for module in decoder.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.normal_(module.bias, std=0.2)
            torch.nn.init.normal_(module.running_mean, std=0.2)
            torch.nn.init.uniform_(module.running_var, 0.5, 1.5)
    decoder.eval().requires_grad_(False)
    codes = torch.randn(2, 3), torch.rand(2, 4), torch.randn(2, 6)
    expected = decoder(*codes)
    assert expected.std() > 1e-4  # metres
    torch.testing.assert_close(_FoldedDetailDecoder(decoder)(*codes), expected, rtol=0, atol=1e-8)
