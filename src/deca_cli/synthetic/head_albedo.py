"""The albedo basis of the open head: principal components of procedurally painted skins.

Values are display values (gamma 2.2) in [0, 1], red, green, blue, as DECA's own albedo models have them: shading
multiplies them directly (spec section 6.4).
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from deca_cli.heads.assets import AlbedoAssets, HeadAssets
from deca_cli.heads.model import HeadModel
from deca_cli.synthetic.draws import Draws
from deca_cli.synthetic.parts import HeadParts, find_parts, uv_values
from deca_cli.synthetic.shading import draw_albedo
from deca_cli.synthetic.skin import SkinPainter
from deca_cli.synthetic.skin_style import sample_skin

CHUNK = 50


def build_albedo(
    assets: HeadAssets, *, seed: int, size: int = 192, skins: int = 1500, components: int = 50
) -> AlbedoAssets:
    """Paint random skins and keep their mean and leading components, one unit = one standard deviation.

    Args:
        assets: the head, with vertex regions.
        seed: of the random skins.
        size: side of the maps in texels.
        skins: number of painted skins.
        components: number of components kept.
    """
    head = HeadModel(assets)
    parts = find_parts(head, assets, size)
    painted = torch.cat(list(_paint_skins(head, parts, seed, size, skins)))  # [skins, 3 size size]
    mean = painted.mean(0)
    deviations = (painted - mean).double()
    values, vectors = torch.linalg.eigh(deviations @ deviations.T)
    order = values.argsort(descending=True)[:components]
    directions = vectors[:, order].T @ deviations  # length of row k = sqrt(eigenvalue k)
    basis = directions / (skins - 1) ** 0.5
    largest = basis.abs().argmax(1)
    basis = basis * basis[torch.arange(components), largest].sign()[:, None]  # the sign is the solver's whim
    return AlbedoAssets(
        mean=mean.reshape(3, size, size).numpy(),
        basis=np.moveaxis(basis.float().reshape(components, 3, size, size).numpy(), 0, -1).copy(),
    )


def _paint_skins(head: HeadModel, parts: HeadParts, seed: int, size: int, skins: int) -> list[Tensor]:
    """Flat display-valued maps, in chunks; texels outside the chart carry the skin colour around them."""
    draws = Draws(seed)
    painter = SkinPainter(parts.fields, draws)
    rest, _ = uv_values(head, parts.eye_directions, size)
    chunks = []
    for start in range(0, skins, CHUNK):
        count = min(CHUNK, skins - start)
        style = sample_skin(draws, count)
        linear = painter.paint(style, draws.integers(painter.variants, 4, count))
        chunks.append(draw_albedo(linear, rest, style).flatten(1))
    return chunks
