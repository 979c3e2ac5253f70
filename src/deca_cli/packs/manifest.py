"""The manifest of a model pack: a small TOML file that says everything but the weights."""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any

from deca_cli.errors import ModelError
from deca_cli.networks.codes import CodeSizes
from deca_cli.networks.detail_decoder import OFFICIAL_LIMIT_M, OFFICIAL_NORM_EPS
from deca_cli.networks.layout import Layout, check_layout
from deca_cli.networks.preprocessing import Preprocessing
from deca_cli.networks.resnet import BACKBONES
from deca_cli.packs.toml import to_toml
from deca_cli.render.uv import DETAIL_NORMALS

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["Manifest", "Preprocessing", "manifest_text", "parse_manifest", "read_manifest"]

FORMAT = 1
FILE_NAME = "manifest.toml"


@dataclass(frozen=True)
class Manifest:
    """What a pack is, how its networks are built, where it comes from and how good it is.

    Raises:
        ValueError: Values that do not fit together.
    """

    name: str
    licence: str
    backbone: str
    """`resnet18`, `resnet34` or `resnet50`."""
    layout: Layout
    """Names and sizes of the encoder's outputs, see `deca_cli.networks.layout`."""
    sizes: CodeSizes
    preprocessing: Preprocessing
    head: str = "head.npz"
    """The head file inside the pack."""
    hidden: int | None = None
    """Width of the encoder's hidden layer; none = a single linear layer."""
    expression_range: tuple[float, float] | None = None
    """Limits of the expression code; (0, 1) when it is a vector of ARKit coefficients."""
    least_face_score: float = 0.5
    """Face score from which on a find counts as a face; only for packs whose layout has `face_score`."""
    detail_backbone: str | None = None
    """Backbone of the detail encoder; none = the coarse encoder answers the detail code, or there is no detail."""
    detail_hidden: int | None = None
    detail_norm_eps: float = OFFICIAL_NORM_EPS
    """Added to the variances in the detail decoder; the official weights need 0.8."""
    detail_limit_m: float = OFFICIAL_LIMIT_M
    """Largest displacement either way, metres."""
    detail_normals: str = "faceted"
    """How pictures get normals of the detail (`deca_cli.render.uv.DETAIL_NORMALS`): `faceted` as the official release
    does, or `smooth`, which does not show the triangles of the coarse mesh."""
    provenance: Mapping[str, Any] = field(default_factory=dict)
    """What the weights were made from: seed, package version, data, time; texts and numbers."""
    accuracy: Mapping[str, Any] = field(default_factory=dict)
    """What was measured, with the data it was measured on; texts and numbers."""

    def __post_init__(self) -> None:
        check_layout(self.layout)
        for backbone in (self.backbone, self.detail_backbone):
            if backbone is not None and backbone not in BACKBONES:
                raise ValueError(f"unknown backbone {backbone!r}, known are {', '.join(BACKBONES)}")
        for name, size in self.layout:
            expected = getattr(self.sizes, name, size)
            if size != expected:
                raise ValueError(f"output `{name}` has size {size}, but the sizes say {expected}")
        sources = ("detail" in dict(self.layout)) + (self.detail_backbone is not None)
        if sources != self.has_detail:
            raise ValueError(
                "a detail code needs one source, either `detail_backbone` or `detail` in the layout, and without a "
                f"code there is none; sizes.detail is {self.sizes.detail}, sources are {sources}"
            )
        for name in ("detail_norm_eps", "detail_limit_m"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be positive, but is {getattr(self, name)}")
        if self.detail_normals not in DETAIL_NORMALS:
            raise ValueError(
                f"detail_normals must be one of {', '.join(DETAIL_NORMALS)}, but is {self.detail_normals!r}"
            )
        if "/" in self.head or "\\" in self.head:
            raise ValueError(f"the head file must lie in the pack itself, but is {self.head!r}")

    @property
    def has_detail(self) -> bool:
        """Whether heads of the pack get a displacement."""
        return self.sizes.detail > 0


def read_manifest(path: Path) -> Manifest:
    """Read a manifest file.

    Raises:
        ModelError: It is missing, no TOML, of another format, or its values do not fit.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ModelError(
            f"Cannot read {path} ({error}): a model pack is a folder with that file in it."
        ) from error
    try:
        return parse_manifest(text)
    except (ValueError, TypeError, KeyError) as error:
        raise ModelError(
            f"{path} is not a manifest of this version ({error}): update deca-cli or get the pack again."
        ) from error


def parse_manifest(text: str) -> Manifest:
    """Build a manifest from its TOML text.

    Raises:
        ValueError: Not TOML, another format, unknown, missing or unfit values.
        TypeError: A value of the wrong kind.
    """
    table = tomllib.loads(text)
    version = table.pop("format", None)
    if version != FORMAT:
        raise ValueError(f"format is {version}, expected {FORMAT}")
    known = {entry.name for entry in fields(Manifest)}
    unknown = sorted(table.keys() - known)
    if unknown:
        raise ValueError(f"unknown entries {', '.join(unknown)}")
    missing = [
        name
        for name in ("name", "licence", "backbone", "layout", "sizes", "preprocessing")
        if name not in table
    ]
    if missing:
        raise ValueError(f"missing entries {', '.join(missing)}")
    table["layout"] = tuple((str(name), int(size)) for name, size in table["layout"])
    table["sizes"] = CodeSizes(**table["sizes"])
    table["preprocessing"] = Preprocessing(**table["preprocessing"])
    if "expression_range" in table:
        low, high = table["expression_range"]
        table["expression_range"] = (float(low), float(high))
    return Manifest(**table)


def manifest_text(manifest: Manifest) -> str:
    """The TOML text of a manifest; `parse_manifest` gives the same manifest back."""
    table = {"format": FORMAT} | {
        name: value for name, value in asdict(manifest).items() if value is not None
    }
    return to_toml(table)
