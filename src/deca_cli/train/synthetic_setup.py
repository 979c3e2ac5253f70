"""What a synthetic run is made of: schedule, seeds, optimiser, objective."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from deca_cli.packs.store import DETAIL_DECODER
from deca_cli.synthetic.draws import Draws
from deca_cli.synthetic.expressions import ExpressionSampler
from deca_cli.train.synthetic_appearance import AppearanceObjective, FaceColours
from deca_cli.train.synthetic_config import FILE_NAME as SETTINGS_FILE
from deca_cli.train.synthetic_detail import DetailObjective
from deca_cli.train.synthetic_flip import FlipConsistency
from deca_cli.train.synthetic_network import SyntheticNetwork
from deca_cli.train.synthetic_objective import SyntheticObjective

if TYPE_CHECKING:
    from collections.abc import Sequence

    from deca_cli.heads.albedo import Albedo
    from deca_cli.heads.model import HeadModel
    from deca_cli.networks.layout import Layout
    from deca_cli.synthetic.parts import HeadParts
    from deca_cli.train.settings import SyntheticSettings


def learning_rate_at(settings: SyntheticSettings, step: int, done: float) -> float:
    """Linear warm-up over steps, then half a cosine over the share ``done`` of the time or of the steps."""
    warm = min(1.0, (step + 1) / settings.warmup_steps)
    return settings.learning_rate * warm * 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))


def stream_seed(seed: int, rank: int, step: int) -> int:
    """Seed of the pictures that a process draws from a step on."""
    high, low = np.random.SeedSequence([seed, rank, step]).generate_state(2, np.uint32).tolist()
    return (high >> 1) << 32 | low


def make_network(layout: Layout, settings: SyntheticSettings) -> SyntheticNetwork:
    """Fresh networks as the settings want them."""
    return SyntheticNetwork(settings.backbone, layout, settings.gradient_shares)


def start_from(network: SyntheticNetwork, settings: SyntheticSettings) -> dict[str, Any]:
    """Take over the networks of the pack ``settings.init``; returns where that one came from."""
    folder = Path(settings.init or "")
    manifest = network.take_over(folder, settings.backbone)
    kept = ("steps", "faces_seen", "minutes", "processes", "settings")
    provenance = dict(manifest.provenance)
    if (folder / SETTINGS_FILE).is_file():
        provenance["settings"] = (folder / SETTINGS_FILE).read_text(encoding="utf-8")
    return {f"earlier_{name}": provenance[name] for name in kept if name in provenance}


def make_optimizer(network: SyntheticNetwork, settings: SyntheticSettings) -> torch.optim.Optimizer:
    """AdamW without weight decay on biases and normalisation, whose scale means something."""
    rates = {False: 1.0, True: settings.decoder_learning_rate}
    groups = [
        {
            "params": [
                parameter
                for name, parameter in network.named_parameters()
                if (name.startswith(DETAIL_DECODER), parameter.dim() > 1) == (in_decoder, is_matrix)
            ],
            "weight_decay": settings.weight_decay if is_matrix else 0.0,
            "rate": rates[in_decoder],
        }
        for in_decoder in (False, True)
        for is_matrix in (False, True)
    ]
    groups = [group for group in groups if group["params"]]
    return torch.optim.AdamW(groups, lr=settings.learning_rate)


def make_objective(
    head: HeadModel,
    albedo: Albedo | None,
    parts: HeadParts,
    layout: Layout,
    settings: SyntheticSettings,
    mirror_vertices: np.ndarray | None = None,
) -> SyntheticObjective:
    """What is judged: always the geometry, albedo and light where the head has colours, detail where asked for.

    Mirrored pictures need ``mirror_vertices`` [V] of the head.
    """
    weights, face = settings.weights, parts.face_vertices
    appearance = (
        None if albedo is None else AppearanceObjective(head, FaceColours(head, albedo, face), weights)
    )
    detail = DetailObjective(head, weights) if settings.detail_size else None
    variances = expression_variances(head.expression_names).to(face.device)
    objective = SyntheticObjective(head, face, layout, weights, variances, appearance, detail)
    if weights.flip:
        colours = None if appearance is None else appearance.colours
        place = objective.place
        objective.flip = FlipConsistency(head, mirror_vertices, face, weights, place, colours)
    return objective


def expression_variances(names: Sequence[str]) -> torch.Tensor:
    """[E] variances of the coefficients that the generator draws; 1 for those that it never moves."""
    drawn = ExpressionSampler(names, "cpu").sample(Draws(seed=0), 8192).var(0)
    return torch.where(drawn > 0, drawn, 1.0)


def clipped_groups(network: SyntheticNetwork) -> list[list[torch.nn.Parameter]]:
    """Parameters whose gradients are limited together: the encoder's, and the detail decoder's."""
    named = list(network.named_parameters())
    groups = [
        [p for name, p in named if name.startswith(DETAIL_DECODER) == inside] for inside in (False, True)
    ]
    return [group for group in groups if group]
