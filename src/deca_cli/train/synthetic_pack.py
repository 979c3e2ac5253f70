"""The pack that a synthetic run leaves: averaged weights, settings, and how good they are on unseen faces."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from deca_cli.networks.codes import CodeSizes
from deca_cli.packs.manifest import Manifest
from deca_cli.packs.store import DETAIL_DECODER, ENCODER, save_pack
from deca_cli.synthetic.generator import FaceGenerator
from deca_cli.train.synthetic_config import FILE_NAME, settings_text
from deca_cli.train.synthetic_detail import detail_request
from deca_cli.train.synthetic_network import LIMIT_M, NORM_EPS, DetailRequest
from deca_cli.train.synthetic_setup import make_network

if TYPE_CHECKING:
    from deca_cli.heads.model import HeadModel
    from deca_cli.networks.layout import Layout
    from deca_cli.networks.preprocessing import Preprocessing
    from deca_cli.synthetic.generator import SyntheticBatch
    from deca_cli.synthetic.parts import HeadParts
    from deca_cli.train.settings import SyntheticSettings
    from deca_cli.train.synthetic_objective import SyntheticObjective

VALIDATION_SEED = 10_000_019  # far from every training seed
VALIDATION_BATCH = 64
LEAST_FACE_SCORE = 0.99  # half faces, clothes and noise that look like a face score below, faces above 0.999
SHOWN = {  # errors on unseen faces, and their names in the manifest
    "nme": "synthetic_nme_percent",
    "tone_off": "synthetic_tone_error",
    "picture_off": "synthetic_picture_error",
    "displacement_share": "synthetic_displacement_error_share",
}


@dataclass(frozen=True)
class PackWriter:
    """Writes packs of one run."""

    head_file: Path
    folder: Path
    layout: Layout
    preprocessing: Preprocessing
    settings: SyntheticSettings

    def write(
        self,
        head: HeadModel,
        state: dict[str, Tensor],
        provenance: dict[str, Any],
        accuracy: dict[str, float],
    ) -> Path:
        """Save averaged weights; ``state`` is that of a `SyntheticNetwork`."""
        networks = {name: _inside(state, f"{name}.") for name in (ENCODER, DETAIL_DECODER)}
        sizes = dict(self.layout)
        manifest = Manifest(
            name=self.folder.parent.name,
            licence="Apache-2.0",
            backbone=self.settings.backbone,
            layout=self.layout,
            sizes=CodeSizes(
                shape=head.shape_size,
                albedo=sizes.get("albedo", 0),
                expression=head.expression_size,
                light=sizes.get("light", 0),
                detail=sizes.get("detail", 0),
            ),
            preprocessing=self.preprocessing,
            head=self.head_file.name,
            expression_range=(0.0, 1.0),
            least_face_score=LEAST_FACE_SCORE,
            detail_norm_eps=NORM_EPS,
            detail_limit_m=LIMIT_M,
            detail_normals="smooth",
            provenance=provenance,
            accuracy=accuracy,
        )
        with tempfile.TemporaryDirectory() as temporary:
            settings = Path(temporary, FILE_NAME)
            settings.write_text(settings_text(self.settings), encoding="utf-8")
            filled = {name: network for name, network in networks.items() if network}
            return save_pack(self.folder, manifest, self.head_file, filled, extras=[settings])


def _inside(state: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}


class Validation:
    """Faces that are never trained on.

    Args:
        head: the head model.
        parts: of it.
        settings: of the training; these faces are drawn alike, but all pictures show one.
    """

    def __init__(self, head: HeadModel, parts: HeadParts, settings: SyntheticSettings) -> None:
        drawn = replace(settings.generator, no_face_share=0.0, fused=False, graph=False)
        check = FaceGenerator(head, parts, drawn, VALIDATION_SEED)
        each = min(VALIDATION_BATCH, settings.validation_faces)
        each -= each % settings.per_person
        self.settings = settings
        self.batches = [
            check.batch(each, settings.per_person) for _ in range(settings.validation_faces // max(each, 1))
        ]

    @torch.no_grad()
    def measure(
        self,
        state: dict[str, Tensor],
        layout: Layout,
        objective: SyntheticObjective,
        preprocessing: Preprocessing,
    ) -> dict[str, float]:
        """Mean errors of a network with these weights: landmarks in percent, tone, picture, share of wrinkles left."""
        if not self.batches:
            return {}
        s, device = self.settings, self.batches[0].images.device
        network = make_network(layout, s).to(device)
        network.load_state_dict(state)
        network.eval()
        found: dict[str, list[float]] = {}
        for batch in self.batches:
            request = request_for(batch, s)
            answer = network((batch.images - preprocessing.mean) / preprocessing.std, request)
            for name, value in objective(answer, batch, request)[1].items():
                found.setdefault(name, []).append(float(value))
        return {name: round(sum(found[name]) / len(found[name]), 4) for name in SHOWN if name in found}


def request_for(batch: SyntheticBatch, settings: SyntheticSettings) -> DetailRequest | None:
    """Whose wrinkles of a batch are decoded, or none without a detail code."""
    if not settings.detail_size or batch.other_expression is None:
        return None
    return detail_request(
        len(batch.images), settings.detail_faces, settings.per_person, batch.other_expression
    )
