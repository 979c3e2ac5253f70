"""Published weights of a backbone (ImageNet) as a start."""

from __future__ import annotations

from typing import TYPE_CHECKING

from safetensors import SafetensorError
from safetensors.torch import load_file

from deca_cli.assets.checkpoints import load_checkpoint
from deca_cli.errors import ModelError
from deca_cli.packs.weights import fill

if TYPE_CHECKING:
    from pathlib import Path

    from deca_cli.networks.resnet import ResNet


def fill_backbone(backbone: ResNet, path: Path) -> None:
    """Load a file with torchvision's names; its classifier is left out.

    Args:
        backbone: the network that takes them.
        path: a `.pth` of torchvision or a `.safetensors` with the same names.

    Raises:
        ModelError: the file is missing, damaged or of another network.
    """
    try:
        content = load_file(path) if path.suffix == ".safetensors" else load_checkpoint(path, path.name)
    except (SafetensorError, OSError) as error:
        raise ModelError(f"The start weights {path} cannot be read ({error}). Get the file again.") from error
    if not isinstance(content, dict):
        raise ModelError(f"{path} does not hold named tensors. Give torchvision's weights of the backbone.")
    state = {str(name): value for name, value in content.items() if not str(name).startswith("fc.")}
    fill(backbone, state, str(path))
