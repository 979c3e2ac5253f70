"""Settings of the synthetic stage."""

from __future__ import annotations

from dataclasses import dataclass, field

from deca_cli.errors import UsageError
from deca_cli.synthetic.settings import GeneratorSettings


@dataclass(frozen=True)
class LossWeights:
    """Weights of the terms in the order in which they are summed."""

    points_2d: float = 10.0  # NDC
    landmarks_2d: float = 20.0
    openings: float = 10.0
    points_3d: float = 80.0  # metres
    rotation: float = 4.0
    expression: float = 1.0
    expression_range: float = 0.5
    identity: float = 0.03
    dense: float = 0.25
    face_score: float = 0.5


@dataclass(frozen=True)
class SyntheticSettings:
    """Everything that shapes a run; saved with the pack.

    Raises:
        UsageError: values that make no sense.
    """

    backbone: str = "resnet18"
    init: str | None = None  # pack whose encoder the run starts from
    minutes: float = 10.0
    max_steps: int = 1_000_000
    batch_size: int = 256  # per process
    learning_rate: float = 1.5e-3
    weight_decay: float = 0.05
    warmup_steps: int = 300
    gradient_clip: float = 5.0
    ema: float = 0.999
    seed: int = 0
    save_every_s: float = 120.0
    validation_faces: int = 512
    weights: LossWeights = field(default_factory=LossWeights)
    generator: GeneratorSettings = field(default_factory=GeneratorSettings)

    def __post_init__(self) -> None:
        if self.batch_size < 2 or self.minutes <= 0 or self.max_steps < 1:
            raise UsageError(
                f"Training needs batch_size >= 2 (got {self.batch_size}), minutes > 0 (got {self.minutes}) and "
                f"max_steps >= 1 (got {self.max_steps})."
            )
        if self.generator.image_size % 8:
            raise UsageError(
                f"image_size must be a multiple of 8 (JPEG blocks), but is {self.generator.image_size}."
            )
