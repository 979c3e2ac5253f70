"""What the generator draws and how often; every share can be set to 0 to switch the effect off."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING

from deca_cli.errors import UsageError
from deca_cli.synthetic.degrade import CameraShares
from deca_cli.synthetic.light import LightShares
from deca_cli.synthetic.sampling import CropRange, PoseRange
from deca_cli.synthetic.skin_style import SkinShares

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True)
class GeneratorSettings:
    """Sizes in pixels or texels, shares of the pictures that show an effect.

    Raises:
        UsageError: a share is not between 0 and 1.
    """

    image_size: int = 160
    texture_size: int = 192
    pose: PoseRange = field(default_factory=PoseRange)
    crop: CropRange = field(default_factory=CropRange)
    hair_share: float = 1.0
    glasses_share: float = 0.22
    hand_share: float = 0.10
    object_share: float = 0.10
    patch_share: float = 0.10
    bust_share: float = 0.88
    shadow_size: int = 128
    no_face_share: float = 0.08
    crowd_share: float = 0.15
    wrinkle_share: float = 0.92  # of the people; the others' skin stays smooth under any expression
    ageing_share: float = 0.9  # of the people; their hair gets grey as their skin gets old
    thin_lips_share: float = 0.6
    detail: bool = False  # give the truth of the wrinkles with every batch
    fringe_share: float = 0.32
    glare_share: float = 0.5  # of the glasses
    skin: SkinShares = field(default_factory=SkinShares)
    light: LightShares = field(default_factory=LightShares)
    camera: CameraShares = field(default_factory=CameraShares)
    background_textures: int = 192  # kept at a time
    degrade: bool = True
    fused: bool = False  # compile the pixel arithmetic (minutes of training on a GPU pay for it)
    graph: bool = False  # CUDA only: record a batch once and replay it, which spares the launches

    def __post_init__(self) -> None:
        for name, value in self._shares():
            if not 0 <= value <= 1:
                raise UsageError(
                    f"{name} of the generator is a share and must lie between 0 (never) and 1 (always), but is {value}."
                )

    def _shares(self) -> Iterator[tuple[str, float]]:
        """Every share with its name, those of the parts as ``part.name``."""
        for name, part in (("skin", self.skin), ("light", self.light), ("camera", self.camera)):
            yield from ((f"{name}.{share.name}", getattr(part, share.name)) for share in fields(part))
        yield "pose.uniform_share", self.pose.uniform_share
        yield "crop.rough_share", self.crop.rough_share
        own = (field.name for field in fields(self) if field.name.endswith("_share"))
        yield from ((name, getattr(self, name)) for name in own)
