"""What the synthetic stage trains: the networks of a pack, and a helper that only training needs."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from deca_cli.errors import ModelError
from deca_cli.networks.detail_decoder import JAW_SIZE, DetailDecoder
from deca_cli.networks.encoder import Encoder
from deca_cli.networks.layout import Layout, layout_width, split_raw
from deca_cli.packs.manifest import FILE_NAME, Manifest, read_manifest
from deca_cli.packs.store import DETAIL_DECODER, ENCODER
from deca_cli.packs.weights import load_weights

if TYPE_CHECKING:
    from pathlib import Path

    from deca_cli.heads.model import HeadModel
    from deca_cli.train.settings import GradientShares

DENSE_POINTS = 320
TYPICAL_SCALE = 11.0  # NDC per metre when a head fills its crop
TYPICAL_LIGHT = 3.0  # first harmonic: shades a face with about 0.85
NORM_EPS = 1e-5  # of all normalisations in the detail decoder
LIMIT_M = 0.003  # of the displacement; the deepest folds drawn are 2 mm
APPEARANCE = ("albedo", "light")
DETAIL = "detail"


def synthetic_layout(head: HeadModel, albedo_size: int, detail_size: int) -> Layout:
    """What the encoder of a synthetic pack answers; no light without an albedo that it could fall on."""
    outputs = (
        ("shape", head.shape_size),
        ("expression", head.expression_size),
        ("rotation_6d", 6),
        ("log_camera", 3),
        ("face_score", 1),
        ("albedo", albedo_size),
        ("light", 27 if albedo_size else 0),
        (DETAIL, detail_size),
    )
    return tuple((name, size) for name, size in outputs if size)


class DetailRequest(NamedTuple):
    """Whose wrinkles are to be decoded (M faces of the batch)."""

    rows: Tensor  # int64 [M]
    partners: Tensor  # int64 [M], another picture of the same person, or the same
    other_expression: Tensor  # [M, E], an expression of that person that is on no picture


class Answer(NamedTuple):
    """What the network says about N pictures."""

    raw: Tensor  # [N, outputs], see the layout
    dense: Tensor  # [N, P, 3] x, y, log sigma
    displacement: Tensor | None  # [2 M, 1, U, U] metres: the pictures' own, then under the other expression


def scale_gradient(values: Tensor, share: float) -> Tensor:
    """The values themselves; on the way back only that share of the gradient passes."""
    return values if share == 1 else values * share + values.detach() * (1 - share)


class SyntheticNetwork(nn.Module):
    """The pack's encoder and detail decoder, and beside them a layer for dense points that only training needs."""

    def __init__(self, backbone: str, layout: Layout, shares: GradientShares) -> None:
        super().__init__()
        self.layout = layout
        self.shares = dict.fromkeys(APPEARANCE, shares.appearance) | {DETAIL: shares.detail}
        sizes = dict(layout)
        self.encoder = Encoder(backbone, layout_width(layout), None)
        self.encoder.encoder.initialise()
        self._start_near_the_mean_face(self.answer, layout)
        self.dense = nn.Linear(self.encoder.encoder.features, DENSE_POINTS * 3)
        nn.init.normal_(self.dense.weight, std=0.004)
        self.detail_decoder = _flat_decoder(sizes["expression"], sizes[DETAIL]) if DETAIL in sizes else None

    @property
    def answer(self) -> nn.Linear:
        """The layer that turns features into answers; part of the encoder."""
        layer = self.encoder.layers[0]
        assert isinstance(layer, nn.Linear)  # noqa: S101  # a fact for the type checker: no hidden layer was asked for
        return layer

    @staticmethod
    @torch.no_grad()
    def _start_near_the_mean_face(answer: nn.Linear, layout: Layout) -> None:
        nn.init.normal_(answer.weight, std=0.004)
        answer.bias.zero_()
        parts = split_raw(answer.bias[None], layout)
        parts["rotation_6d"].copy_(answer.bias.new_tensor([[1, 0, 0, 0, 1, 0]]))
        parts["log_camera"][:, 0] = math.log(TYPICAL_SCALE)
        if "light" in parts:
            parts["light"][:, :3] = TYPICAL_LIGHT

    def forward(self, images: Tensor, request: DetailRequest | None = None) -> Answer:
        """[N, 3, S, S] prepared images -> raw codes, dense points and the displacements asked for."""
        features = self.encoder.encoder(images)
        # Half precision would round the pose by half a degree, so the answers are computed in full.
        with torch.autocast(images.device.type, enabled=False):
            features = features.float()
            dense = self.dense(features).unflatten(1, (DENSE_POINTS, 3))
            parts = self._parts(features)
            raw = torch.cat(list(parts.values()), 1)
        return Answer(raw, dense, None if request is None else self._displacement(parts, request))

    def _parts(self, features: Tensor) -> dict[str, Tensor]:
        """The answers by name; some pass only a share of their gradient on."""
        sizes = [size for _, size in self.layout]
        weights, biases = self.answer.weight.split(sizes), self.answer.bias.split(sizes)
        return {
            name: F.linear(scale_gradient(features, self.shares.get(name, 1.0)), weight, bias)
            for (name, _), weight, bias in zip(self.layout, weights, biases, strict=True)
        }

    def _displacement(self, parts: dict[str, Tensor], request: DetailRequest) -> Tensor:
        """Own pictures under the expression that the encoder sees; partners' codes under the other expression."""
        if self.detail_decoder is None:
            raise ValueError("a network without a detail code cannot decode displacements")
        seen = parts["expression"].detach().clamp(0, 1)[request.rows]
        expression = torch.cat([seen, request.other_expression])
        code = torch.cat([parts[DETAIL][request.rows], parts[DETAIL][request.partners]])
        jaw = code.new_zeros(len(code), JAW_SIZE)
        return self.detail_decoder(jaw, expression, code).float()

    def compile_parts(self) -> None:
        """Compile the large parts in place; names of weights stay."""
        self.encoder.encoder.compile()
        if self.detail_decoder is not None:
            self.detail_decoder.compile()

    def take_over(self, folder: Path, backbone: str) -> Manifest:
        """Start from a pack: its backbone, its answers of the same name and size, its detail decoder if it fits.

        Raises:
            ModelError: the pack has another backbone, or lacks or damages a file.
        """
        manifest = read_manifest(folder / FILE_NAME)
        if (manifest.backbone, manifest.hidden) != (backbone, None):
            raise ModelError(
                f"The run cannot start from {folder}: its encoder is a {manifest.backbone}, but a {backbone} with one "
                "linear layer is wanted. Choose the same backbone."
            )
        earlier = Encoder(backbone, layout_width(manifest.layout), None)
        load_weights(earlier, folder / f"{ENCODER}.safetensors")
        self.encoder.encoder.load_state_dict(earlier.encoder.state_dict())
        answer = earlier.layers[0]
        assert isinstance(answer, nn.Linear)  # noqa: S101  # hidden is None, see above
        self._take_answers(answer, manifest.layout)
        if self.detail_decoder is not None and manifest.has_detail:
            state = load_file(folder / f"{DETAIL_DECODER}.safetensors")
            shapes = {name: value.shape for name, value in self.detail_decoder.state_dict().items()}
            if all(shapes.get(name) == value.shape for name, value in state.items()):
                load_weights(self.detail_decoder, folder / f"{DETAIL_DECODER}.safetensors")
        return manifest

    @torch.no_grad()
    def _take_answers(self, earlier: nn.Linear, layout: Layout) -> None:
        """Copy the rows of those outputs that both have in the same size."""
        for mine, theirs in ((self.answer.weight, earlier.weight), (self.answer.bias, earlier.bias)):
            sizes = [size for _, size in layout]
            found = dict(zip((name for name, _ in layout), theirs.split(sizes), strict=True))
            wanted = mine.split([size for _, size in self.layout])
            for (name, size), rows in zip(self.layout, wanted, strict=True):
                if name in found and len(found[name]) == size:
                    rows.copy_(found[name])


def _flat_decoder(expression_size: int, detail_size: int) -> DetailDecoder:
    """A decoder that starts without any displacement."""
    decoder = DetailDecoder(expression_size, detail_size, NORM_EPS, LIMIT_M)
    last = decoder.conv_blocks[-2]
    assert isinstance(last, nn.Conv2d)  # noqa: S101  # a fact for the type checker
    nn.init.zeros_(last.weight)
    if last.bias is not None:
        nn.init.zeros_(last.bias)
    return decoder
