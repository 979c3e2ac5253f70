"""The face recognition network of the identity loss: ResNet-50 trained on VGGFace2 (Cao et al. 2018), Caffe style."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

from deca_cli.assets.loss_networks import read_identity_network
from deca_cli.errors import ModelError
from deca_cli.networks.resnet import BasicBlock, Bottleneck, ResNet

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

MEAN_BGR = (91.4953, 103.8827, 131.0912)
MARGIN = 10  # pixels cut off at every side of a 224 crop
CROP, INPUT = 224, 224


class FaceRecognition(nn.Module):
    """Crops -> 2048 features that tell people apart (spec section 8.5). Frozen; gradients reach the pictures only.

    Differences from the encoder's ResNet-50 [K17]: the stride sits in the first 1x1 convolution of a block, and the
    max-pool has no padding and rounds its size up.

    Args:
        weights: tensors by their names in `resnet50_ft_weight.pkl`; the classifier is not used.
        dtype: of the arithmetic inside; features are float32.
    """

    mean: Tensor

    def __init__(self, weights: Mapping[str, Tensor], dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        network = ResNet("resnet50")
        network.load_state_dict({k: v for k, v in weights.items() if not k.startswith("fc.")})
        network.maxpool = nn.MaxPool2d(3, 2, ceil_mode=True)
        for stage in (network.layer2, network.layer3, network.layer4):
            block = cast("Bottleneck", stage[0])
            block.conv1.stride, block.conv2.stride = (2, 2), (1, 1)
        _fold_norms(network.eval())
        network.to(dtype).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.network = network.requires_grad_(False)
        self.dtype = dtype
        self.register_buffer("mean", torch.tensor(MEAN_BGR).view(3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """[N, 3, S, S] RGB in 0..1 -> [N, 2048] float32."""
        with torch.autocast(images.device.type, enabled=False):
            prepared = self.prepare(images.float()).to(self.dtype)
            features: Tensor = self.network(prepared.contiguous(memory_format=torch.channels_last))
            return features.float()

    def prepare(self, images: Tensor) -> Tensor:
        """The official transform: BGR of 0..255 less the mean, 2 x - 1 *after* that [K13], 204 x 204 out of the middle
        of 224 x 224 (of other sizes: the same share), enlarged to 224.
        """  # noqa: D205 - one sentence
        bgr = images.flip(1) * 255 - self.mean
        side = images.shape[-1]
        margin = round(MARGIN * side / CROP)
        middle = (2 * bgr - 1)[:, :, margin : side - margin, margin : side - margin]
        return F.interpolate(middle, (INPUT, INPUT), mode="bilinear", align_corners=False)


def load_face_recognition(path: Path, dtype: torch.dtype = torch.float32) -> FaceRecognition:
    """Read the network.

    Args:
        path: `resnet50_ft_weight.pkl`.
        dtype: see `FaceRecognition`.

    Raises:
        ModelError: The file is missing, damaged or not this network.
    """
    if not path.is_file():
        raise ModelError(
            f"The identity loss needs the face recognition network, but {path} is not there. Fetch it with "
            "`deca fetch-models identity`, or train without this term: `--without identity`."
        )
    return FaceRecognition(read_identity_network(path), dtype)


def _fold_norms(network: ResNet) -> None:
    """Put every batch normalisation into the convolution before it: a frozen network needs half the kernels."""
    network.conv1 = fuse_conv_bn_eval(network.conv1, network.bn1)
    network.add_module("bn1", nn.Identity())
    for block in network.blocks():
        _fold_block(block)


def _fold_block(block: BasicBlock | Bottleneck) -> None:
    for number in ("1", "2", "3"):
        convolution, norm = getattr(block, f"conv{number}", None), getattr(block, f"bn{number}", None)
        if convolution is not None and norm is not None:
            block.add_module(f"conv{number}", fuse_conv_bn_eval(convolution, norm))
            block.add_module(f"bn{number}", nn.Identity())
    if block.downsample is not None:
        fused = fuse_conv_bn_eval(
            cast("nn.Conv2d", block.downsample[0]), cast("nn.BatchNorm2d", block.downsample[1])
        )
        block.add_module("downsample", nn.Sequential(fused))
