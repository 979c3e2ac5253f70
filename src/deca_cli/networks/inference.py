"""Encoders made ready to run fast: lower precision, normalisation folded into the convolutions, channels last.

Vertices, cameras and the rasteriser stay in float32, because half precision would move vertices by millimetres. The detail
decoder's convolutions run in TF32 on a GPU unless the precision is ``fp32``.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from deca_cli.networks.detail_decoder import START_SIZE, WIDTHS
from deca_cli.networks.resnet import BasicBlock, Bottleneck

if TYPE_CHECKING:
    from deca_cli.networks.deca import Deca
    from deca_cli.networks.detail_decoder import DetailDecoder
    from deca_cli.networks.encoder import Encoder
    from deca_cli.networks.resnet import ResNet

Precision = Literal["fp32", "tf32", "bf16"]
PRECISIONS: tuple[Precision, ...] = ("fp32", "tf32", "bf16")


def ready_encoder(encoder: Encoder, precision: Precision) -> nn.Module:
    """A copy of an encoder in evaluation mode that gives the same answers within the precision, faster.

    Args:
        encoder: in evaluation mode; not changed.
        precision: ``fp32`` keeps every layer as it is (only the memory layout changes on a GPU); ``tf32`` and
            ``bf16`` fold batch normalisation into the convolutions, which rounds differently in the last digits.
            Whether float32 convolutions use TF32 is a setting of torch, see `set_convolution_precision`.

    Returns:
        A module [B, 3, S, S] -> float32 [B, outputs].
    """
    if precision == "fp32":
        return _Plain(encoder)
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    return _Folded(encoder, dtype)


def ready_deca(deca: Deca, precision: Precision, *, compiled: bool = False) -> Deca:
    """The same model with encoders of `ready_encoder`; the geometry is shared with the given one.

    The detail decoder, too, gets folded normalisation and another memory layout, unless the precision is ``fp32``. It
    takes and gives float32 always, never bfloat16, because it makes millimetres; on a GPU its convolutions run in TF32
    unless the precision is ``fp32``, see `set_convolution_precision`.

    Args:
        deca: the model.
        precision: of the encoders; vertices and cameras stay in float32.
        compiled: run the encoders through ``torch.compile``; the first call of every batch size then takes long.
    """
    encoders: list[nn.Module | None] = [
        None if encoder is None else ready_encoder(encoder, precision)
        for encoder in (deca.encoder, deca.detail_encoder)
    ]
    if compiled:
        for encoder in encoders:
            if encoder is not None:
                encoder.compile(dynamic=False)
    decoder: nn.Module | None = deca.detail_decoder
    if precision != "fp32" and deca.detail_decoder is not None:
        decoder = _FoldedDetailDecoder(deca.detail_decoder)
    fast = copy.copy(deca)
    fast._modules = dict(deca._modules)  # noqa: SLF001 - copy.copy shares the table, and the original must keep its own
    fast._modules |= {"encoder": encoders[0], "detail_encoder": encoders[1], "detail_decoder": decoder}  # noqa: SLF001
    return fast


def set_convolution_precision(precision: Precision) -> None:
    """Let torch run float32 convolutions on a GPU in TF32 (about three decimal digits), or not; a process-wide setting.

    They do unless the precision is ``fp32``: those of the encoders (with ``bf16`` those are not float32), and those of the
    detail decoder, which make the displacement map. Matrix products stay in full float32 either way, and with them vertices
    and cameras; the rasteriser does not ask torch.
    """
    torch.backends.cudnn.allow_tf32 = precision != "fp32"
    torch.backends.cuda.matmul.allow_tf32 = False


class _Plain(nn.Module):
    """An encoder as it is, with channels last in memory on a GPU."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.on_gpu = next(encoder.parameters()).is_cuda
        self.network = copy.deepcopy(encoder) if self.on_gpu else encoder
        if self.on_gpu:
            self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, images: Tensor) -> Tensor:
        if self.on_gpu:
            images = images.contiguous(memory_format=torch.channels_last)
        return self.network(images)


class _Folded(nn.Module):
    """An encoder whose normalisation layers are part of the convolutions."""

    def __init__(self, encoder: Encoder, dtype: torch.dtype) -> None:
        super().__init__()
        network: ResNet = encoder.encoder
        self.dtype = dtype
        self.stem = FoldedConvolution(network.conv1, network.bn1)
        self.maxpool = network.maxpool
        self.blocks = nn.ModuleList(_FoldedBlock(block) for block in network.blocks())
        self.layers = copy.deepcopy(encoder.layers)
        self.eval().requires_grad_(False)
        for part in (self.stem, self.blocks):
            part.to(dtype=dtype, memory_format=torch.channels_last)  # type: ignore[call-overload]
        device = next(self.layers.parameters()).device
        fused = device.type == "cuda" and fused_convolutions_work(device, dtype)
        for module in self.modules():
            if isinstance(module, FoldedConvolution):
                module.fused = fused

    def forward(self, images: Tensor) -> Tensor:
        x = images.to(dtype=self.dtype, memory_format=torch.channels_last)
        x = self.maxpool(self.stem(x))
        for block in self.blocks:
            x = block(x)
        # The linear layers are a thousandth of the work and decide about the codes: they stay in float32.
        return self.layers(x.mean(dim=(2, 3), dtype=torch.float32))


class FoldedConvolution(nn.Module):
    """Convolution, normalisation, perhaps a sum, perhaps ReLU; one operation of cuDNN where that works."""

    weight: Tensor
    bias: Tensor

    def __init__(self, convolution: nn.Conv2d, norm: nn.BatchNorm2d, *, relu: bool = True) -> None:
        super().__init__()
        self.relu = relu
        assert norm.running_var is not None  # noqa: S101 - batch normalisation as in these networks keeps statistics
        assert norm.running_mean is not None  # noqa: S101
        factor = norm.weight.double() / (norm.running_var.double() + norm.eps).sqrt()
        weight = convolution.weight.double() * factor[:, None, None, None]
        offset = 0.0 if convolution.bias is None else convolution.bias.double()
        bias = norm.bias.double() + (offset - norm.running_mean.double()) * factor
        self.register_buffer("weight", weight.detach().float(), persistent=False)
        self.register_buffer("bias", bias.detach().float(), persistent=False)
        self.stride = list(convolution.stride)
        self.padding = [int(size) for size in convolution.padding]
        self.fused = False

    def forward(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        """[B, C, H, W] -> [B, D, h, w]; the residual is added before ReLU."""
        if self.fused and self.relu and not torch.compiler.is_compiling():
            shape = (self.stride, self.padding, [1, 1], 1)
            if residual is None:
                return torch.cudnn_convolution_relu(x, self.weight, self.bias, *shape)
            return torch.cudnn_convolution_add_relu(x, self.weight, residual, 1.0, self.bias, *shape)
        y = F.conv2d(x, self.weight, self.bias, self.stride, self.padding)
        if residual is not None:
            y = y + residual
        return F.relu(y, inplace=True) if self.relu else y


class _FoldedDetailDecoder(nn.Module):
    """A detail decoder whose normalisation layers are part of the convolutions before them, channels last in memory."""

    def __init__(self, decoder: DetailDecoder) -> None:
        super().__init__()
        self.limit_m = decoder.limit_m
        self.first = copy.deepcopy(decoder.l1)
        layers = list(decoder.conv_blocks)
        self.start_norm = copy.deepcopy(layers[0])
        folded: list[nn.Module] = []
        for layer, following in zip(layers[1:], [*layers[2:], None], strict=True):
            if isinstance(layer, nn.Conv2d) and isinstance(following, nn.BatchNorm2d):
                folded.append(FoldedConvolution(layer, following, relu=False))
            elif not isinstance(layer, nn.BatchNorm2d):
                folded.append(copy.deepcopy(layer))
        self.layers = nn.Sequential(*folded)
        self.eval().requires_grad_(False)
        self.layers.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, jaw_pose: Tensor, expression: Tensor, detail: Tensor) -> Tensor:
        """As `DetailDecoder.forward`."""
        start = self.first(torch.cat([jaw_pose, expression, detail], dim=1)).unflatten(
            1, (WIDTHS[0], START_SIZE, START_SIZE)
        )
        start = self.start_norm(start).contiguous(memory_format=torch.channels_last)
        return self.layers(start).contiguous() * self.limit_m


class _FoldedBlock(nn.Module):
    """A residual block of folded convolutions."""

    def __init__(self, block: BasicBlock | Bottleneck) -> None:
        super().__init__()
        pairs = [(block.conv1, block.bn1), (block.conv2, block.bn2)]
        if isinstance(block, Bottleneck):
            pairs.append((block.conv3, block.bn3))
        self.path = nn.ModuleList(FoldedConvolution(*pair) for pair in pairs)
        shortcut = block.downsample
        self.shortcut = None if shortcut is None else FoldedConvolution(shortcut[0], shortcut[1], relu=False)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        residual = x if self.shortcut is None else self.shortcut(x)
        *first, last = self.path
        for convolution in first:
            x = convolution(x)
        return last(x, residual)


def fused_convolutions_work(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether cuDNN's convolution with bias, sum and ReLU gives the right numbers here; not every version has it."""
    generator = torch.Generator().manual_seed(0)
    shapes = ((2, 64, 14, 14), (64, 64, 3, 3), (64,), (2, 64, 14, 14))
    x, weight, bias, residual = (torch.randn(shape, generator=generator) / 8 for shape in shapes)
    expected = F.relu(F.conv2d(x, weight, bias, 1, 1) + residual)
    channels_last = torch.channels_last
    x, weight, residual = (
        tensor.to(device, dtype, memory_format=channels_last) for tensor in (x, weight, residual)
    )
    bias = bias.to(device, dtype)
    shape = ([1, 1], [1, 1], [1, 1], 1)
    try:
        found = torch.cudnn_convolution_add_relu(x, weight, residual, 1.0, bias, *shape)
        torch.cudnn_convolution_relu(x, weight, bias, *shape)
        error = (found.float().cpu() - expected).abs().max()
    except (RuntimeError, NotImplementedError):
        return False
    return bool(error < 0.02)
