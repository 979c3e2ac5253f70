"""What shapes a run of `deca train pretrain|coarse|detail`. Names and defaults are the official ones where there are any."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from deca_cli.errors import UsageError
from deca_cli.networks.resnet import BACKBONES
from deca_cli.train.data.settings import DataSettings
from deca_cli.train.losses.weights import CoarseWeights, DetailWeights

PRETRAIN, COARSE, DETAIL = STAGES = ("pretrain", "coarse", "detail")
OUTPUTS = ("auto", "official", "open")
SCHEDULES = ("constant", "cosine")
OPTIMIZERS = ("adam", "adamw")
PRECISIONS = ("auto", "bf16", "float32")


@dataclass(frozen=True)
class ModelSettings:
    """The head and the networks that are trained. A size that is none is taken from the head.

    Raises:
        UsageError: values that make no sense.
    """

    head: str = "open"
    """`open`, an installed pack (`deca`), the folder of a pack or run, or a head file (.npz)."""
    backbone: str = "resnet50"
    """Of both encoders: resnet18, resnet34 or resnet50."""
    hidden: int = 1024
    """Width of the encoders' hidden layer; 0 = a single linear layer."""
    outputs: str = "auto"
    """What the encoder answers: `official` (axis-angle, camera) or `open` (6D rotation, logarithm of the scale); `auto`
    is `open` for heads with named expressions, which have no use for a jaw angle."""
    imagenet: str = ""
    """File with published weights of the backbone to start from (.pth or .safetensors); empty = random."""
    n_shape: int | None = None
    n_tex: int | None = None
    n_exp: int | None = None
    n_light: int = 27
    n_detail: int = 128
    uv_size: int = 256
    max_z: float = 0.01
    """Largest displacement in metres."""
    use_tex: bool = True
    """Whether the head's albedo is used; without it nothing photometric can be learned."""
    jaw_type: str = "aa"
    """`aa` = axis-angle, `euler` (outputs `official` only)."""

    def __post_init__(self) -> None:
        _choice("model.backbone", self.backbone, tuple(BACKBONES))
        _choice("model.outputs", self.outputs, OUTPUTS)
        _choice("model.jaw_type", self.jaw_type, ("aa", "euler"))
        if (self.uv_size, self.max_z) != (256, 0.01):
            raise UsageError(
                f"model.uv_size is {self.uv_size} and model.max_z {self.max_z}, but the detail decoder is built for 256 and "
                "0.01. Leave both out."
            )
        if self.n_light not in (0, 27):
            raise UsageError(f"model.n_light must be 27 or 0, but is {self.n_light}.")
        if self.hidden < 0 or self.n_detail < 1:
            raise UsageError(
                f"model.hidden ({self.hidden}) must be >= 0, model.n_detail ({self.n_detail}) >= 1."
            )


@dataclass(frozen=True)
class LoopSettings:
    """The loop: how long, how fast, what is kept and shown.

    Raises:
        UsageError: values that make no sense.
    """

    train_detail: bool = False
    max_epochs: int = 500
    max_steps: int = 1_000_000
    max_minutes: float = 0.0
    """Stop by the clock as well; 0 = do not. The learning rate then follows the time, and a repetition differs."""
    seed: int = 0
    lr: float = 1e-4
    shape_rate: float = 1.0
    """Learning rate of the answer for the shape (its rows of the encoder's last layer) over that of all other weights."""
    optimizer: str = "adam"
    weight_decay: float = 0.0
    """Of kernels and matrices only."""
    warmup_steps: int = 0
    schedule: str = "constant"
    clip: float = 0.0
    """Longest gradient; 0 = never shortened."""
    ema: float = 0.0
    """Share of the old moving average that stays at each step; 0 = no average, the last weights are the result."""
    precision: str = "auto"
    """Of the networks: `bf16`, `float32`, or `auto` = bf16 on a GPU. Geometry is always float32."""
    cuda_graphs: Literal["auto", True, False] = "auto"
    """Record a whole step once and replay it, which spares the launches of its kernels; small batches gain. `auto` records
    on GPUs, and goes on with ordinary steps where a step cannot be recorded."""
    sync_batch_norm: bool = True
    """Normalise over the whole batch of all processes, as one process would."""
    log_steps: int = 10
    vis_steps: int = 200
    checkpoint_steps: int = 500
    val_steps: int = 500
    val_people: int = 64
    """Held-out people looked at in a validation, at most."""
    keep_last: int = 3
    """Checkpoints that stay, beside the best."""
    archive: int = 0
    """Every so many checkpoints one stays for good; 0 = none. The official program meant 10 and kept all."""
    write_summary: bool = True
    """Files for TensorBoard."""
    resume: bool = True

    def __post_init__(self) -> None:
        _choice("train.schedule", self.schedule, SCHEDULES)
        _choice("train.optimizer", self.optimizer, OPTIMIZERS)
        _choice("train.precision", self.precision, PRECISIONS)
        least = {
            "max_epochs": 1, "max_steps": 1, "log_steps": 1, "vis_steps": 0, "checkpoint_steps": 1, "val_steps": 0,
            "val_people": 1, "keep_last": 1, "archive": 0, "warmup_steps": 0, "clip": 0, "max_minutes": 0, "weight_decay": 0,
        }  # fmt: skip
        for name, limit in least.items():
            if not getattr(self, name) >= limit:
                raise UsageError(f"train.{name} must be at least {limit}, but is {getattr(self, name)}.")
        if not self.shape_rate > 0:
            raise UsageError(f"train.shape_rate must be more than 0, but is {self.shape_rate}.")
        if not self.lr > 0 or not 0 <= self.ema < 1:
            raise UsageError(f"train.lr ({self.lr}) must be > 0 and train.ema ({self.ema}) in [0, 1).")


@dataclass(frozen=True)
class RangeWeights:
    """Terms beside the official ones, for heads whose expressions have limits."""

    expression_range: float = 1.0
    """Mean square of what expression coefficients leave their range by; FLAME has no range."""


@dataclass(frozen=True)
class LossSettings:
    """Weights of all terms."""

    coarse: CoarseWeights = field(default_factory=CoarseWeights)
    detail: DetailWeights = field(default_factory=DetailWeights)
    range: RangeWeights = field(default_factory=RangeWeights)


@dataclass(frozen=True)
class TrainSettings:
    """Everything that shapes a run; saved with the run and in every checkpoint.

    Raises:
        UsageError: an unknown stage, or settings that the stage cannot have.
    """

    stage: str
    output_dir: str = ""
    pretrained_modelpath: str = ""
    """Run or pack whose networks the stage starts from; empty = fresh ones."""
    model: ModelSettings = field(default_factory=ModelSettings)
    dataset: DataSettings = field(default_factory=DataSettings)
    loss: LossSettings = field(default_factory=LossSettings)
    train: LoopSettings = field(default_factory=LoopSettings)

    def __post_init__(self) -> None:
        _choice("stage", self.stage, STAGES)


def _choice(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise UsageError(f"{name} is {value!r}, but must be one of {', '.join(allowed)}.")
