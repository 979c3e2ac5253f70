"""What the generator draws and how often; every share can be set to 0 to switch the effect off."""

from __future__ import annotations

from dataclasses import dataclass, field

from deca_cli.synthetic.degrade import CameraShares
from deca_cli.synthetic.light import LightShares
from deca_cli.synthetic.sampling import CropRange, PoseRange
from deca_cli.synthetic.skin_style import SkinShares


@dataclass(frozen=True)
class GeneratorSettings:
    """Sizes in pixels or texels, shares of the pictures that show an effect."""

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
