"""Measure a model pack on synthetic faces whose truth is known and that no training has seen."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from deca_cli.errors import ModelError
from deca_cli.evaluate.synthetic_scans import Predicted, ScanErrors, measure_scans
from deca_cli.evaluate.synthetic_wrinkles import WrinkleErrors, Wrinkles
from deca_cli.heads.rotations import matrix_to_euler_degrees
from deca_cli.render.lighting import sh_basis
from deca_cli.synthetic.generator import FaceGenerator
from deca_cli.synthetic.parts import find_parts
from deca_cli.synthetic.settings import GeneratorSettings
from deca_cli.train.settings import LossWeights
from deca_cli.train.synthetic_appearance import AppearanceObjective, FaceColours

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from deca_cli.packs.store import Pack
    from deca_cli.synthetic.generator import SyntheticBatch

SEED = 30_000_023  # far from every training and validation seed
BATCH = 32
INNER = slice(17, 68)
LUMINANCE = (0.2126, 0.7152, 0.0722)  # of linear sRGB; used on display values as an order of brightness


@dataclass(frozen=True)
class TruthRequest:
    """How much is measured."""

    faces: int = 512
    scans: int = 48  # of these faces, measured as scans; the slow part
    seed: int = SEED


@dataclass(frozen=True)
class FaceRows:
    """One number per face."""

    nme: NDArray[np.float64]  # [N] percent of sqrt(w h), inner 51 points
    yaw: NDArray[np.float64]  # [N] degrees
    expression: NDArray[np.float64]  # [N, E] predicted
    true_expression: NDArray[np.float64]  # [N, E]
    tone: NDArray[
        np.float64
    ]  # [N] mean brightness of the predicted albedo of the face; NaN without an albedo
    true_tone: NDArray[np.float64]  # [N]
    picture: NDArray[np.float64]  # [N] mean difference of albedo times light and the picture, display values


@dataclass(frozen=True)
class SyntheticResult:
    """Everything that was measured."""

    faces: FaceRows
    expression_names: tuple[str, ...]
    wrinkles: WrinkleErrors | None
    scans: ScanErrors


class _Truth:
    """Draws faces and compares a pack with them."""

    def __init__(self, pack: Pack, seed: int) -> None:
        self.deca = pack.deca
        head, preprocessing = self.deca.head, self.deca.preprocessing
        settings = GeneratorSettings(image_size=preprocessing.image_size, no_face_share=0.0, detail=True)
        settings = replace(settings, crop=replace(settings.crop, factor=preprocessing.crop_factor))
        parts = find_parts(head, pack.assets, settings.texture_size)
        self.generator = FaceGenerator(head, parts, settings, seed)
        self.appearance = None
        if self.deca.albedo is not None and pack.manifest.sizes.albedo and pack.manifest.sizes.light:
            colours = FaceColours(head, self.deca.albedo, parts.face_vertices)
            self.appearance = AppearanceObjective(head, colours, LossWeights())

    def rows(self, batch: SyntheticBatch, codes_of: dict[str, Tensor], marks: Tensor) -> FaceRows:
        """Compare one batch."""
        size = batch.landmarks.amax(1) - batch.landmarks.amin(1)
        off = (marks - batch.landmarks)[:, INNER].norm(dim=-1).mean(1) / size.prod(1).sqrt()
        tone, true_tone, picture = self._colours(batch, codes_of)
        values = {
            "nme": 100 * off,
            "yaw": matrix_to_euler_degrees(batch.rotation)[:, 0],
            "expression": codes_of["expression"],
            "true_expression": batch.expression,
            "tone": tone,
            "true_tone": true_tone,
            "picture": picture,
        }
        return FaceRows(**{name: value.double().cpu().numpy() for name, value in values.items()})

    def _colours(self, batch: SyntheticBatch, codes_of: dict[str, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Brightness of albedo and true albedo, and how far the shaded albedo is from the picture; [N] each."""
        if self.appearance is None:
            nothing = torch.full_like(batch.is_face, torch.nan)
            return nothing, nothing, nothing
        weights = batch.images.new_tensor(LUMINANCE)
        colours = self.appearance.colours
        albedo = colours.of(codes_of["albedo"])
        seen_picture, normals, seen = self.appearance.seen_points(batch)
        shaded = albedo * torch.einsum("nkc,nkp->ncp", codes_of["light"], sh_basis(normals))
        off = ((shaded - seen_picture).abs().mean(1) * seen).sum(1) / seen.sum(1).clamp_min(1)
        off = torch.where(seen.sum(1) > 0, off, torch.nan)
        return albedo.mean(2) @ weights, colours.of_maps(batch.albedo).mean(2) @ weights, off


@torch.inference_mode()
def evaluate_synthetic(
    pack: Pack, request: TruthRequest, progress: Callable[[str, int, int], None]
) -> SyntheticResult:
    """Measure a pack.

    Args:
        pack: on the device that does the work; its head needs named vertex regions, as the open head has.
        request: how much.
        progress: told what is done, how much of it, and of how much.

    Raises:
        ModelError: the pack's head is not one that can be drawn.
    """
    if not pack.assets.region_names:
        raise ModelError(
            f"The synthetic faces are drawn with the pack's own head, and the head `{pack.assets.name}` has no named "
            "parts to dress. Only open packs can be measured so; measure others with `deca evaluate now`."
        )
    truth, deca = _Truth(pack, request.seed), pack.deca
    wrinkles = Wrinkles(deca.head) if pack.has_detail else None
    rows: list[FaceRows] = []
    kept: list[Predicted] = []
    for start in range(0, request.faces, BATCH):
        batch = truth.generator.batch(min(BATCH, request.faces - start))
        codes = deca.encode(batch.images).codes
        head = deca.decode(codes)
        named = dict(codes.items())
        rows.append(truth.rows(batch, named, head.landmarks3d[..., :2]))
        if wrinkles is not None:
            other = deca.displacement(
                replace(codes, expression=_needed(batch.other_expression), pose=torch.zeros_like(codes.pose))
            )
            wrinkles.add(batch, named, _needed(head.displacement), _needed(other))
        if start < request.scans:
            kept.append((batch, named, head.displacement))
        progress("faces", min(start + BATCH, request.faces), request.faces)
    scans = measure_scans(deca.head, kept, request.scans, lambda n: progress("scans", n, request.scans))
    joined = {name: np.concatenate([getattr(row, name) for row in rows]) for name in vars(rows[0])}
    return SyntheticResult(
        FaceRows(**joined),
        deca.head.expression_names,
        None if wrinkles is None else wrinkles.errors(),
        scans,
    )


def _needed(value: Tensor | None) -> Tensor:
    if value is None:
        raise ValueError("a batch without wrinkles, or a pack without detail")
    return value
