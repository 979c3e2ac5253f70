"""Codes of a clip into what its pictures need, batch after batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from deca_cli.heads.camera import project
from deca_cli.render.normals import vertex_normals
from deca_cli.render.passes import SHAPE_FACING

if TYPE_CHECKING:
    from deca_cli.networks.codes import Codes
    from deca_cli.pipeline.captures import Decoder


@dataclass(frozen=True, eq=False)
class Posed:
    """A batch of decoded heads, as far as pictures need them."""

    normals: Tensor  # [B, V, 3] head frame
    projected: Tensor  # [B, V, 3] NDC of the camera
    detail: Tensor | None  # [B, 3, U, U] normals in UV space
    facing_limit: Tensor | None = None  # [B, V], see `export.clay`; None: that of the release


class Poser:
    """Decodes the frames of one clip in order.

    The displacement follows the expression. The detail decoder takes longer than all else on a CPU, so it runs only for
    frames whose face is not that of the frame before: a head that turns or rests costs nothing.

    Args:
        decoder: of the model.
        detail: whether wrinkles are shown.
    """

    def __init__(self, decoder: Decoder, *, detail: bool) -> None:
        self.decoder = decoder
        self.detail = detail and decoder.pack.has_detail
        self.last: tuple[Tensor, Tensor] | None = None  # what decides the last frame's displacement, and that

    @torch.inference_mode()
    def pose(self, codes: Codes) -> Posed:
        """The next frames."""
        deca = self.decoder.pack.deca
        vertices = deca.head(codes.shape, codes.expression, codes.pose)
        normals = vertex_normals(vertices, deca.head.faces)
        displacement = self._displacement(codes) if self.detail else None
        fine = self.decoder.detail_normals(vertices, normals, displacement)
        return Posed(normals, project(vertices, codes.camera), fine, self._facing_limit(normals))

    def _facing_limit(self, normals: Tensor) -> Tensor | None:
        """[B, V]; seen from behind, the face is the inside of a hollow, too."""
        values = self.decoder.topology.facing_limit
        if values is None:
            return None
        limit = torch.from_numpy(values).to(normals)
        frontal = normals[:, limit > SHAPE_FACING, 2].mean(dim=1, keepdim=True) > 0
        return torch.where(frontal, limit, SHAPE_FACING)

    def _displacement(self, codes: Codes) -> Tensor:
        """[B, 1, U, U] metres."""
        deciding = torch.cat([codes.pose[:, 3:], codes.expression, codes.detail], dim=1)
        known = [] if self.last is None else [self.last[1]]
        before = torch.full_like(deciding[:1], torch.nan) if self.last is None else self.last[0]
        changed = (deciding != torch.cat([before, deciding[:-1]])).any(dim=1)
        if changed.any():
            made = self.decoder.pack.deca.displacement(codes.select(changed))
            assert made is not None  # noqa: S101 - `has_detail`; tells mypy
            known.append(made)
        shown = torch.cat(known)[changed.cumsum(0) - int(self.last is None)]
        self.last = deciding[-1:].clone(), shown[-1:].clone()
        return shown
