"""Crop -> one row of raw numbers; `deca_cli.networks.layout` says what they mean."""

from __future__ import annotations

from torch import Tensor, nn

from deca_cli.networks.resnet import ResNet


class Encoder(nn.Module):
    """ResNet features and one or two linear layers (spec section 3.1).

    Parameter names are the official ones: ``encoder.*``, ``layers.0``, and with a hidden layer ``layers.2``.

    Args:
        backbone: ``resnet18``, ``resnet34`` or ``resnet50``.
        outputs: Width of the answer.
        hidden: Width of the hidden layer with ReLU; none = a single linear layer. DECA has 1024.
    """

    def __init__(self, backbone: str, outputs: int, hidden: int | None) -> None:
        super().__init__()
        self.encoder = ResNet(backbone)
        self.outputs = outputs
        features = self.encoder.features
        if hidden is None:
            self.layers = nn.Sequential(nn.Linear(features, outputs))
        else:
            self.layers = nn.Sequential(nn.Linear(features, hidden), nn.ReLU(), nn.Linear(hidden, outputs))

    def forward(self, images: Tensor) -> Tensor:
        """[B, 3, S, S] prepared images -> [B, outputs] without activation."""
        return self.layers(self.encoder(images))
