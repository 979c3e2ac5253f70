"""Settings of the training data; the names are those of the official `dataset` block where it has them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from deca_cli.errors import UsageError
from deca_cli.networks.preprocessing import BOX_SIDES

SPLITS = ("train", "held_out")


@dataclass(frozen=True)
class OfficialFolders:
    """Where one set of the official layout lies: a list and three roots with equal relative paths."""

    list: str = ""  # .npy array of strings
    images: str = ""
    landmarks: str = ""  # FAN landmarks, .npy [68, >= 2] pixels
    masks: str = ""  # segmentations, .npy [h, w]; left out: the whole picture counts as skin


@dataclass(frozen=True)
class Augmentation:
    """Changes beyond the official recipe; all off by default. Drawn in the workers, applied on the device."""

    flip: float = 0.0  # share of the pictures that are mirrored, landmarks too
    grey: float = 0.0  # share of the pictures without colour
    brightness: float = 0.0  # factor in 1 - b .. 1 + b
    contrast: float = 0.0  # factor in 1 - c .. 1 + c about the picture's mean
    saturation: float = 0.0  # factor in 1 - s .. 1 + s about the grey picture


@dataclass(frozen=True)
class DataSettings:
    """Which pictures, how many at a time, and how they are cut.

    Raises:
        UsageError: a value makes no sense; the message names it.
    """

    training_data: tuple[str, ...] = ("vggface2", "ethnicity")
    """Folders made by `deca train prepare` or `render-set`, or official sets: vggface2, vggface2hq, ethnicity, vox2."""
    eval_data: tuple[str, ...] = ("aflw2000",)
    """The same for validation; of prepared folders the held-out people, of vggface2 and vox2 their validation part."""
    batch_size: int = 2  # people per step and process
    K: int = 4  # pictures of each
    isSingle: bool = False  # official name: one picture of each, whatever K says  # noqa: N815
    num_workers: int = 2  # processes that decode; 0 = none, all in the training process
    image_size: int = 224  # S
    scale_min: float = 1.4  # side of the crop over the side of the 68-point box
    scale_max: float = 1.8
    trans_scale: float = 0.0  # largest shift of the crop in sides of that box, each way
    box_side: str = "mean"  # of that box: `mean` of width and height, or `max`; as the model pack says
    # Of the labels, as the model pack says: 0 repeats the official half-pixel shift.
    pixel_offset: float = 0.0
    least_pictures: int = 1  # people with fewer pictures are left out; with fewer than K some are shown twice
    prefetch: int = 2  # batches that each worker holds ready
    shuffle_shards: int = 8  # of tar datasets: so many shards are read side by side and shuffled together
    isTemporal: bool = False  # vox2: K consecutive frames instead of K random ones  # noqa: N815
    augmentation: Augmentation = field(default_factory=Augmentation)
    vggface2: OfficialFolders = field(default_factory=OfficialFolders)
    vggface2_val_list: str = ""  # the official validation list of vggface2
    vggface2hq: OfficialFolders = field(default_factory=OfficialFolders)
    ethnicity: OfficialFolders = field(default_factory=OfficialFolders)  # its `list`, and the BUPT roots
    vox2: OfficialFolders = field(default_factory=OfficialFolders)
    aflw2000: str = ""  # folder with pictures and .mat files

    def __post_init__(self) -> None:
        checks = {
            "batch_size": self.batch_size >= 1,
            "K": self.K >= 1,
            "num_workers": self.num_workers >= 0,
            "image_size": self.image_size >= 32,
            "scale_min": 0 < self.scale_min <= self.scale_max,
            "trans_scale": 0 <= self.trans_scale < 1,
            "box_side": self.box_side in BOX_SIDES,
            "pixel_offset": self.pixel_offset in {0.0, -0.5},
            "least_pictures": self.least_pictures >= 1,
            "prefetch": self.prefetch >= 1,
            "shuffle_shards": self.shuffle_shards >= 1,
        }
        shares = ("flip", "grey", "brightness", "contrast", "saturation")
        checks |= {f"augmentation.{name}": 0 <= getattr(self.augmentation, name) <= 1 for name in shares}
        wrong = [name for name, is_good in checks.items() if not is_good]
        if wrong:
            values = ", ".join(f"dataset.{name}={_value(self, name)}" for name in wrong)
            raise UsageError(f"Training data cannot be read with {values}. Change it in the configuration.")

    @property
    def per_person(self) -> int:
        """K, or 1 with `isSingle`."""
        return 1 if self.isSingle else self.K

    def for_validation(self) -> DataSettings:
        """The same without chance in how pictures are cut: the middle of the scales, no shift, nothing changed."""
        middle = (self.scale_min + self.scale_max) / 2
        return replace(
            self,
            training_data=self.eval_data,
            scale_min=middle,
            scale_max=middle,
            trans_scale=0.0,
            augmentation=Augmentation(),
        )


def _value(settings: DataSettings, name: str) -> object:
    value: object = settings
    for part in name.split("."):
        value = getattr(value, part)
    return value
