"""VGG-19 (Simonyan and Zisserman 2014) up to the two layers that the ID-MRF loss looks at."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from deca_cli.assets.loss_networks import VGG19_STAGES, read_vgg19_features
from deca_cli.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

MEAN = (0.485, 0.456, 0.406)
DEVIATION = (0.229, 0.224, 0.225)
# Torchvision's numbers of the ReLUs after the first convolution of stages 3 and 4. The official release calls them
# relu3_2 and relu4_2, because it counts ReLUs too [K13].
FINE, COARSE = 11, 20


class Vgg19(nn.Module):
    """Pictures -> features of the ReLUs 11 and 20 of torchvision's numbering. Frozen.

    Args:
        weights: tensors by torchvision's names, `features.0.weight` and so on; those of later layers are not used.
        dtype: of the arithmetic inside; features are float32.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, weights: Mapping[str, Tensor], dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        layers = _layers()
        layers.load_state_dict(
            {
                name.removeprefix("features."): value
                for name, value in weights.items()
                if int(name.split(".")[1]) < COARSE
            }
        )
        layers.to(dtype).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.layers = layers.eval().requires_grad_(False)
        self.dtype = dtype
        self.register_buffer("mean", torch.tensor(MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("deviation", torch.tensor(DEVIATION).view(3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """[N, 3, H, W] RGB in 0..1 -> [N, 256, H/4, W/4] and [N, 512, H/8, W/8], float32."""
        with torch.autocast(images.device.type, enabled=False):
            x = ((images.float() - self.mean) / self.deviation).to(self.dtype)
            x = x.contiguous(memory_format=torch.channels_last)
            fine = self.layers[: FINE + 1](x)
            coarse = self.layers[FINE + 1 :](fine)
            return fine.float(), coarse.float()


def load_vgg19(path: Path, dtype: torch.dtype = torch.float32) -> Vgg19:
    """Read the network.

    Args:
        path: `vgg19-dcbb9e9d.pth`.
        dtype: see `Vgg19`.

    Raises:
        ModelError: The file is missing, damaged or not this network.
    """
    if not path.is_file():
        raise ModelError(
            f"The ID-MRF loss needs VGG-19, but {path} is not there. Fetch it with `deca fetch-models identity`, or "
            "train without this term: `--without mrf`."
        )
    return Vgg19(read_vgg19_features(path), dtype)


def _layers() -> nn.Sequential:
    """Layers 0 to 20 by torchvision's numbers."""
    layers: list[nn.Module] = []
    inputs = 3
    for count, width in VGG19_STAGES:
        for _ in range(count):
            layers += [nn.Conv2d(inputs, width, 3, padding=1), nn.ReLU(inplace=True)]
            inputs = width
        layers.append(nn.MaxPool2d(2, 2))
    return nn.Sequential(*layers[: COARSE + 1])
