"""What the numbers of an expression mean: the expressions of one head, with names or without."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from deca_cli.heads.assets import load_head
from deca_cli.packs.folders import OPEN, pack_folder
from deca_cli.packs.manifest import FILE_NAME, read_manifest

if TYPE_CHECKING:
    from deca_cli.heads.assets import HeadAssets
    from deca_cli.packs.store import Pack

ARKIT_LIMITS = (0.0, 1.0)


@dataclass(frozen=True, eq=False)
class ExpressionSpace:
    """The expressions of one head."""

    model: str  # name of the model pack, for comparing and for messages
    head: HeadAssets
    limits: tuple[float, float] | None  # least and greatest coefficient; None = unbounded

    @property
    def names(self) -> tuple[str, ...]:
        """ARKit names of the coefficients, or empty where they have none (FLAME)."""
        return tuple(self.head.expression_names)

    @property
    def size(self) -> int:
        """Number of coefficients."""
        return int(self.head.expression_basis.shape[2])

    def same_as(self, other: ExpressionSpace) -> bool:
        """Whether numbers of the one can be used as numbers of the other."""
        return self.head is other.head or (self.model == other.model and self.size == other.size)


@lru_cache(maxsize=2)
def space_of(pack: Pack) -> ExpressionSpace:
    """The expressions of a loaded pack; the same object each time, so that what is computed for it is kept."""
    return ExpressionSpace(pack.manifest.name, pack.assets, pack.deca.expression_range)


@lru_cache(maxsize=4)
def named_space(name_or_path: str) -> ExpressionSpace:
    """The expressions of a pack of which only the head is needed, not the networks.

    Raises:
        ModelError: there is no such pack, or its head is damaged.
    """
    folder = pack_folder(name_or_path)
    manifest = read_manifest(folder / FILE_NAME)
    head, _ = load_head(folder / manifest.head)
    return ExpressionSpace(manifest.name, head, manifest.expression_range)


@lru_cache(maxsize=1)
def arkit_space() -> ExpressionSpace:
    """ARKit's 52 coefficients, with the bundled open head as their meaning."""
    head, _ = load_head(pack_folder(OPEN) / "head.npz")
    return ExpressionSpace(OPEN, head, ARKIT_LIMITS)
