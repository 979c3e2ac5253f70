"""The codes between encoder and decoder: the one list of names and sizes."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True)
class CodeSizes:
    """Numbers per code; 0 = the model has no such code. The defaults are DECA's (spec section 3.2)."""

    shape: int = 100
    albedo: int = 50
    expression: int = 50
    pose: int = 6
    camera: int = 3
    light: int = 27
    detail: int = 128


@dataclass(frozen=True, eq=False)
class Codes:
    """What the encoder says about a batch of crops. Absent codes have width 0."""

    shape: Tensor  # [B, S] identity, standard deviations
    albedo: Tensor  # [B, N] skin colour, standard deviations
    expression: Tensor  # [B, E] expression; ARKit coefficients in 0..1 for the open head
    pose: Tensor  # [B, 6] axis-angle of head and jaw, radians
    camera: Tensor  # [B, 3] s, tx, ty of `deca_cli.heads.camera.project`
    light: Tensor  # [B, 9, 3] spherical harmonics by band and colour, or [B, 0, 3]
    detail: Tensor  # [B, D] wrinkles, unbounded

    @property
    def batch_size(self) -> int:
        """Number of faces."""
        return len(self.shape)

    def to(self, device: torch.device | str) -> Codes:
        """Copy to a device."""
        return Codes(**{name: value.to(device) for name, value in self.items()})

    def select(self, index: int | slice | Tensor) -> Codes:
        """The chosen faces; a single number gives a batch of one."""
        chosen = slice(index, index + 1 or None) if isinstance(index, int) else index
        return Codes(**{name: value[chosen] for name, value in self.items()})

    def items(self) -> list[tuple[str, Tensor]]:
        """Pairs of name and tensor in the order of the fields."""
        return [(entry.name, getattr(self, entry.name)) for entry in fields(self)]

    @staticmethod
    def concat(parts: Sequence[Codes]) -> Codes:
        """Join batches."""
        names = [entry.name for entry in fields(Codes)]
        return Codes(**{name: torch.cat([getattr(part, name) for part in parts]) for name in names})

    @staticmethod
    def zeros(sizes: CodeSizes, batch: int, device: torch.device | str = "cpu") -> Codes:
        """The mean head, straight ahead, with scale 0: give it a camera with `dataclasses.replace`."""
        flat = {e.name: torch.zeros(batch, getattr(sizes, e.name), device=device) for e in fields(CodeSizes)}
        flat["light"] = flat["light"].unflatten(1, (sizes.light // 3, 3))
        return Codes(**flat)


@dataclass(frozen=True, eq=False)
class Encoding:
    """The encoder's answer for a batch of crops."""

    codes: Codes
    face_score: Tensor | None  # [B] in 0..1, how sure it is that this is a face; none if the model cannot say
