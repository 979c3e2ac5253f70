"""Settings of the synthetic stage."""

from __future__ import annotations

from dataclasses import dataclass, field

from deca_cli.errors import UsageError
from deca_cli.networks.resnet import BACKBONES
from deca_cli.synthetic.settings import GeneratorSettings


@dataclass(frozen=True)
class LossWeights:
    """Weights of the terms in the order in which they are summed."""

    points_2d: float = 20.0  # NDC
    landmarks_2d: float = 60.0
    openings: float = 20.0
    points_3d: float = 120.0  # metres
    rotation: float = 4.0
    expression: float = 0.5
    expression_squared: float = 2.0  # share of the variance; without it rare actions get 0, their median
    gaze: float = 0.6  # more of it for the directions of the eyes
    brows: float = 0.6  # for the brows
    lids: float = 0.5  # for blinking, squinting and wide eyes
    mouth: float = 0.5  # for what rounds and moves the mouth
    expression_range: float = 0.5
    identity: float = 0.03
    dense: float = 0.25
    face_score: float = 0.5
    albedo: float = 2.0  # display values 0..1
    tone: float = 3.0  # the same, of the mean over the face
    albedo_code: float = 0.003
    photometric: float = 2.0  # display values 0..1
    light_colour: float = 0.05
    light_shape: float = 0.3  # relative to the first harmonic of each colour
    displacement: float = 2.0  # millimetres
    slope: float = 3.0  # tangent of the angle by which the normal turns, between neighbouring texels
    normals: float = 60.0  # angle between the normals of the surfaces, radians, mean over the face
    detail_code: float = 0.001
    # Times the weights above: mirrored pictures must get mirrored answers; 0 = not computed.
    flip: float = 0.0


@dataclass(frozen=True)
class GradientShares:
    """How much of the gradient of a part's terms reaches the encoder's backbone: 0 = none, 1 = all.

    What a picture hides cannot be learnt from it; with less than 1 the attempt disturbs the coarse answers less.
    """

    appearance: float = 0.5  # albedo and light
    detail: float = 0.25


@dataclass(frozen=True)
class Curriculum:
    """Easy pictures first: narrower poses, fewer degradations, less in front of the face.

    Raises:
        UsageError: values that make no sense.
    """

    share: float = 0.0  # of the run, over which pictures get harder; 0 = as hard as ever from the beginning
    start: float = 0.25  # factor of limits and shares at the start
    levels: int = 3  # steps up to the full settings; at each a recorded generator is recorded anew

    def __post_init__(self) -> None:
        if not (0 <= self.share <= 1 and 0 <= self.start <= 1):
            raise UsageError(
                f"curriculum.share and curriculum.start must lie between 0 and 1, but are {self.share} and {self.start}."
            )
        if not 1 <= self.levels <= 20:
            raise UsageError(f"curriculum.levels must lie between 1 and 20, but is {self.levels}.")


@dataclass(frozen=True)
class SyntheticSettings:
    """Everything that shapes a run; saved with the pack.

    Raises:
        UsageError: values that make no sense.
    """

    backbone: str = "resnet18"
    init: str | None = None  # pack whose networks the run starts from
    minutes: float = 10.0
    max_steps: int = 1_000_000
    batch_size: int = 256  # per process
    per_person: int = 2  # pictures of each person in a batch
    detail_size: int = 128  # of the wrinkle code; 0 = no detail
    detail_faces: int = 64  # of a batch whose displacement is decoded and judged
    learning_rate: float = 1.5e-3
    decoder_learning_rate: float = 0.5  # of the detail decoder, times the learning rate
    weight_decay: float = 0.05
    warmup_steps: int = 300
    gradient_clip: float = 5.0  # of the encoder, and of the detail decoder by itself
    ema: float = 0.999
    seed: int = 0
    compiled: bool = False  # compile the networks: a minute at the start, then faster steps
    renew_every: int = 500  # steps after which new backgrounds are painted; only then a run is saved
    save_every_s: float = 100.0
    validation_faces: int = 512
    flip_share: float = 0.25  # of a batch that is seen mirrored, too, if weights.flip is not 0
    weights: LossWeights = field(default_factory=LossWeights)
    curriculum: Curriculum = field(default_factory=Curriculum)
    gradient_shares: GradientShares = field(default_factory=GradientShares)
    generator: GeneratorSettings = field(default_factory=GeneratorSettings)

    def __post_init__(self) -> None:
        if self.backbone not in BACKBONES:
            raise UsageError(f"backbone must be one of {', '.join(BACKBONES)}, but is {self.backbone!r}.")
        if self.batch_size < 2 or self.minutes <= 0 or self.max_steps < 1:
            raise UsageError(
                f"Training needs batch_size >= 2 (got {self.batch_size}), minutes > 0 (got {self.minutes}) and "
                f"max_steps >= 1 (got {self.max_steps})."
            )
        if self.per_person < 1 or self.batch_size % self.per_person:
            raise UsageError(
                f"batch_size must be a multiple of per_person, but they are {self.batch_size} and {self.per_person}."
            )
        if self.detail_size and (self.detail_faces < 1 or self.detail_faces % self.per_person):
            raise UsageError(
                f"detail_faces must be a positive multiple of per_person, but they are {self.detail_faces} and "
                f"{self.per_person}. Set detail_size to 0 to train without detail."
            )
        if 0 < self.validation_faces < self.per_person or self.per_person > 64:
            raise UsageError(
                f"validation_faces (now {self.validation_faces}) must be 0 or at least per_person, and per_person (now "
                f"{self.per_person}) at most 64."
            )
        if not 0 < self.flip_share <= 1 or self.weights.flip < 0:
            raise UsageError(
                f"flip_share must be above 0 and at most 1 (got {self.flip_share}) and weights.flip at least 0 "
                f"(got {self.weights.flip}). Set weights.flip to 0 to train without mirrored pictures."
            )
        if self.generator.image_size % 8:
            raise UsageError(
                f"image_size must be a multiple of 8 (JPEG blocks), but is {self.generator.image_size}."
            )
