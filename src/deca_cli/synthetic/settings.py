"""What the generator draws and how often; every share can be set to 0 to switch the effect off."""

from __future__ import annotations

from dataclasses import dataclass, field

from deca_cli.synthetic.sampling import CropRange, PoseRange


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
    background_textures: int = 192  # kept at a time
    degrade: bool = True
    fused: bool = False  # compile the pixel arithmetic (minutes of training on a GPU pay for it)
