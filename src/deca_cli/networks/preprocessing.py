"""What an encoder expects of its crops; part of every model pack."""

from __future__ import annotations

from dataclasses import dataclass

BOX_SIDES = ("mean", "max")


@dataclass(frozen=True)
class Preprocessing:
    """How crops are cut and prepared. The defaults are DECA's (spec section 2, K2, K10, K11).

    Raises:
        ValueError: A value makes no sense.
    """

    image_size: int = 224
    """Side S of the crop in pixels."""
    crop_factor: float = 1.375
    """Side of the crop over the side of the box around the 68 landmarks."""
    box_side: str = "mean"
    """Side of a box: `mean` of width and height, or `max` of them."""
    pixel_offset: float = 0.0
    """From NDC to crop pixel indices: -0.5 is exact, 0 repeats the official half-pixel shift."""
    mean: float = 0.0
    """Subtracted from the crop (0..1) before the encoder sees it."""
    std: float = 1.0
    """The crop is divided by it after that."""

    def __post_init__(self) -> None:
        if self.image_size < 32:
            raise ValueError(f"image_size must be at least 32 pixels, but is {self.image_size}")
        if self.crop_factor <= 0 or self.std <= 0:
            raise ValueError(f"crop_factor ({self.crop_factor}) and std ({self.std}) must be positive")
        if self.box_side not in BOX_SIDES:
            raise ValueError(f"box_side must be one of {', '.join(BOX_SIDES)}, but is {self.box_side!r}")
        if self.pixel_offset not in (0.0, -0.5):
            raise ValueError(f"pixel_offset must be 0 or -0.5, but is {self.pixel_offset}")
