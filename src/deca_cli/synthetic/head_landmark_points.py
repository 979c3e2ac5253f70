"""Where the 68 iBUG landmarks lie on the mean open head."""

from __future__ import annotations

import numpy as np

from deca_cli.synthetic.head_regions import Parts
from deca_cli.synthetic.head_source import SourceHead

VERTICES = (
    1543, 1533, 1535, 1509, 1563, 1645, 1525, 1565, 1566, 3625, 3587, 3700, 3623, 3572, 3596, 3594, 3604,
    255, 224, 222, 205, 209, 2354, 2350, 2366, 2368, 2394,
    132, 131, 201, 1409, 358, 285, 317, 2424, 2489,
    16, 1353, 1370, 66, 47, 41, 2220, 3437, 3420, 2170, 2195, 2201,
    500, 1706, 460, 466, 2589, 3757, 2619, 2603, 2615, 496, 490, 478,
    444, 471, 474, 2597, 2574, 2606, 493, 481,
)  # fmt: skip


def landmark_targets(source: SourceHead, mean: np.ndarray, parts: Parts) -> np.ndarray:
    """Positions [68,3] near the surface of the mean head [V,3]; the subject's left half counts."""
    del parts
    targets = mean[list(VERTICES)].copy()
    return targets
