"""Readers of the two networks that only training's losses need (spec section 1.6). Nothing in a file is run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from deca_cli.assets.checkpoints import load_checkpoint
from deca_cli.assets.pickles import read_pickle
from deca_cli.errors import ModelError
from deca_cli.networks.resnet import ResNet
from deca_cli.packs.weights import check_state

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from torch import Tensor

VGGFACE2_PEOPLE = 8631
# Convolutions of VGG-19 by stage, as (number, channels); a max-pool follows each stage.
VGG19_STAGES = ((2, 64), (2, 128), (4, 256), (4, 512), (4, 512))


def read_identity_network(path: Path) -> dict[str, Tensor]:
    """The tensors of `resnet50_ft_weight.pkl` (VGGFace2), by their names in the file.

    Raises:
        ModelError: The file is missing or damaged, or its tensors are not exactly those of the network.
    """
    content = read_pickle(path)
    if not isinstance(content, dict) or not all(isinstance(value, np.ndarray) for value in content.values()):
        raise ModelError(
            f"{path} does not hold named arrays: it is not `resnet50_ft_weight.pkl` of VGGFace2."
        )
    state = {str(name): torch.from_numpy(np.array(value)) for name, value in content.items()}
    with torch.device("meta"):
        expected: dict[str, Tensor] = dict(ResNet("resnet50").state_dict())
        expected["fc.weight"] = torch.empty(VGGFACE2_PEOPLE, 2048)
        expected["fc.bias"] = torch.empty(VGGFACE2_PEOPLE)
    check_state(expected, state, str(path))
    return state


def read_vgg19_features(path: Path) -> dict[str, Tensor]:
    """The tensors `features.N.weight` and `features.N.bias` of torchvision's VGG-19; its classifier is left out.

    Raises:
        ModelError: The file is missing or damaged, or its tensors are not exactly those of the network.
    """
    content = load_checkpoint(path, "vgg19-dcbb9e9d.pth")
    if not isinstance(content, dict) or not all(
        isinstance(value, torch.Tensor) for value in content.values()
    ):
        raise ModelError(f"{path} does not hold named tensors: it is not VGG-19 of torchvision.")
    state = {name: value for name, value in content.items() if not str(name).startswith("classifier.")}
    check_state(_vgg19_shapes(), state, str(path))
    return state


def _vgg19_shapes() -> Mapping[str, Tensor]:
    """Tensors without content, by name; a convolution and its ReLU take two numbers, a pool one."""
    shapes: dict[str, Tensor] = {}
    number, inputs = 0, 3
    for count, channels in VGG19_STAGES:
        for _ in range(count):
            shapes[f"features.{number}.weight"] = torch.empty(channels, inputs, 3, 3, device="meta")
            shapes[f"features.{number}.bias"] = torch.empty(channels, device="meta")
            number, inputs = number + 2, channels
        number += 1
    return shapes
