"""Expression-dependent wrinkles: codes -> displacement map (spec section 3.3)."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

OFFICIAL_LIMIT_M = 0.01
JAW_SIZE = 3
START_SIZE = 8  # pixels a side before the first of five doublings
OFFICIAL_NORM_EPS = 0.8  # the official weights were trained with it by mistake and need it (spec K1)
WIDTHS = (128, 128, 64, 64, 32, 16)


class DetailDecoder(nn.Module):
    """From jaw, expression and detail codes, in this order, to a displacement along the normals.

    Parameter names are the official ones, ``l1.0`` and ``conv_blocks.0`` to ``conv_blocks.21``.

    Args:
        expression_size: Width of the expression code.
        detail_size: Width of the detail code.
        norm_eps: Added to the variance in all normalisations but the first.
        limit_m: Largest displacement either way, metres.
    """

    def __init__(
        self,
        expression_size: int,
        detail_size: int,
        norm_eps: float = OFFICIAL_NORM_EPS,
        limit_m: float = OFFICIAL_LIMIT_M,
    ) -> None:
        super().__init__()
        self.limit_m = limit_m
        self.l1 = nn.Sequential(
            nn.Linear(JAW_SIZE + expression_size + detail_size, WIDTHS[0] * START_SIZE * START_SIZE)
        )
        layers: list[nn.Module] = [nn.BatchNorm2d(WIDTHS[0])]
        for inputs, outputs in pairwise(WIDTHS):
            layers += [
                nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False),
                nn.Conv2d(inputs, outputs, 3, padding=1),
                nn.BatchNorm2d(outputs, eps=norm_eps),
                nn.LeakyReLU(0.2, inplace=True),
            ]
        layers += [nn.Conv2d(WIDTHS[-1], 1, 3, padding=1), nn.Tanh()]
        self.conv_blocks = nn.Sequential(*layers)

    def forward(self, jaw_pose: Tensor, expression: Tensor, detail: Tensor) -> Tensor:
        """[B, 3] axis-angle, [B, E] and [B, D] codes -> [B, 1, 256, 256] metres."""
        start = self.l1(torch.cat([jaw_pose, expression, detail], dim=1))
        return self.conv_blocks(start.unflatten(1, (WIDTHS[0], START_SIZE, START_SIZE))) * self.limit_m
