"""Random plausible adult heads: phenotype draws and local shape controls, as weights of linear shapes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from deca_cli.synthetic.head_source import SourceHead


HEAD_CONTROLS = ("cheek", "chin", "ear-", "eye-", "eyebrows", "forehead", "head-", "mouth", "neck", "nose")
SIDE_CORRELATION = 0.95
LARGEST_DEVIATION = 0.35  # of a control's own range
LIP_HEIGHTS = ("mouth-upperlip-height", "mouth-lowerlip-height", "mouth-scale-vert")
LIP_DEVIATION = 0.6  # lips are among what differs most between people: vermilion 3 to 13 mm high
TYPICAL_REACH = 0.002  # metres that one standard deviation may move a vertex
REACH = (  # exceptions, first match wins
    (("head-angle", "-trans-", "neck", "forehead-nubian"), 0.0015),
    (("ear-", "head-scale", "head-back-scale"), 0.0035),
)


def _reach(name: str) -> float:
    for parts, metres in REACH:
        if any(part in name for part in parts):
            return metres
    return TYPICAL_REACH


def local_deviations(source: SourceHead) -> np.ndarray:
    """Standard deviation of every local control [L]; 0 for controls of the body."""
    largest_up = np.linalg.norm(source.local_up, axis=-1).max(1)
    largest_down = np.linalg.norm(source.local_down, axis=-1).max(1)
    largest = np.maximum(largest_up, largest_down)
    deviations = np.zeros(len(source.local_names))
    for index, name in enumerate(source.local_names):
        stem = name[2:] if name[:2] in ("l-", "r-") else name
        if stem.startswith(HEAD_CONTROLS) and largest[index] > 1e-5:
            limit = LIP_DEVIATION if stem.startswith(LIP_HEIGHTS) else LARGEST_DEVIATION
            deviations[index] = min(limit, _reach(name) / largest[index])
    return deviations


def _draw_locals(rng: np.random.Generator, source: SourceHead, count: int) -> np.ndarray:
    """Local control values [count,L]; the two sides of a paired control are correlated."""
    deviations = local_deviations(source)
    values = rng.standard_normal((count, len(source.local_names)))
    own = np.sqrt(1.0 - SIDE_CORRELATION**2)
    for index, name in enumerate(source.local_names):
        if name.startswith("r-"):
            left = source.local_names.index("l-" + name[2:])
            values[:, index] = SIDE_CORRELATION * values[:, left] + own * values[:, index]
    return np.clip(values, -3.0, 3.0) * deviations


def _draw_phenotypes(rng: np.random.Generator, source: SourceHead, count: int) -> np.ndarray:
    """Phenotype values [count, P]. Ages: 0.5 is about 18 years, 2/3 is 25, 1 is 90."""
    ethnicity = rng.dirichlet((0.6, 0.6, 0.6), count)
    draws = {
        "gender": rng.beta(0.5, 0.5, count),
        "age": 0.5 + 0.5 * rng.beta(1.2, 1.5, count),
        "muscle": rng.beta(3.0, 3.0, count),
        "weight": rng.beta(2.0, 2.0, count),
        "height": rng.beta(4.0, 4.0, count),
        "proportions": rng.beta(2.0, 2.0, count),
        "cupsize": np.full(count, 0.5),
        "firmness": np.full(count, 0.5),
        "african": ethnicity[:, 0],
        "asian": ethnicity[:, 1],
        "caucasian": ethnicity[:, 2],
    }
    return np.stack([draws[label] for label in source.phenotype_labels], 1)


def _phenotype_weights(source: SourceHead, phenotypes: np.ndarray) -> np.ndarray:
    """Weights of the phenotype shapes [count,K], by anny's own interpolation."""
    import torch
    from anny.models.phenotype import make_phenotype_anchors, phenotype_blendshape_weights

    weights = phenotype_blendshape_weights(
        torch.from_numpy(phenotypes),
        list(source.phenotype_labels),
        make_phenotype_anchors(torch.float64),
        torch.from_numpy(source.phenotype_mask),
        extrapolate=False,
    )
    return np.asarray(weights)


def draw_weights(rng: np.random.Generator, source: SourceHead, count: int) -> np.ndarray:
    """Weights [count, K+2L] of `source.stacked_shapes()` for random heads."""
    phenotype = _phenotype_weights(source, _draw_phenotypes(rng, source, count))
    local = _draw_locals(rng, source, count)
    return np.concatenate([phenotype, np.maximum(local, 0.0), np.maximum(-local, 0.0)], 1)
