"""A dataset of synthetic people, several photos each, whose truth is known: rendered from the open head."""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from deca_cli.atomic import make_folder
from deca_cli.cores import usable_cores
from deca_cli.errors import UsageError
from deca_cli.heads.assets import load_head
from deca_cli.heads.model import HeadModel
from deca_cli.synthetic.generator import FaceGenerator
from deca_cli.synthetic.parts import find_parts
from deca_cli.synthetic.sampling import CropRange
from deca_cli.synthetic.settings import GeneratorSettings
from deca_cli.train.data.cut import canvas_size
from deca_cli.train.data.manifest import Description
from deca_cli.train.data.store import check_free, finish, write_picture
from deca_cli.train.data.truth import TruthWriter

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from deca_cli.synthetic.generator import SyntheticBatch
    from deca_cli.train.data.manifest import Record

MARGIN = 1.9
GPU_BATCH, CPU_BATCH = 96, 24
WAITING = 6  # batches that may wait for the encoders
RENEW_EVERY = 20  # batches after which new background textures are painted


@dataclass(frozen=True)
class RenderSetSettings:
    """What is rendered.

    Raises:
        UsageError: numbers that make no sense.
    """

    people: int = 200
    photos: int = 8  # of each
    size: int = 224  # side of the crops that will be trained on; pictures are stored larger, with a margin
    held_out: float = 0.1  # share of the people, at the end of the list, at least one where there are two
    seed: int = 0
    degrade: bool = True  # noise, blur, JPEG, exposure; without: clean renderings
    yaw_limit: float = 60.0  # degrees
    generator: GeneratorSettings = field(default_factory=GeneratorSettings)

    def __post_init__(self) -> None:
        if self.people < 1 or self.photos < 1 or not 0 <= self.held_out < 1 or self.size < 32:
            raise UsageError(
                f"Cannot render {self.people} people with {self.photos} photos of {self.size} pixels, "
                f"{self.held_out:g} of them held out: at least 1 person, 1 photo, 32 pixels, and a share below 1."
            )

    @property
    def held_out_people(self) -> int:
        """How many people are kept for validation."""
        wanted = max(round(self.people * self.held_out), 1) if self.held_out > 0 else 0
        return min(wanted, self.people - 1)

    def drawn(self) -> GeneratorSettings:
        """Faces in every picture, in the middle of the stored crop."""
        return replace(
            self.generator,
            image_size=canvas_size(self.size),
            pose=replace(
                self.generator.pose,
                yaw_limit=self.yaw_limit,
                pitch_limit=25,
                roll_limit=30,
                uniform_share=0.35,
            ),
            crop=CropRange(factor=MARGIN, log_scale_std=0, shift_std=0, rough_share=0),
            no_face_share=0.0,
            degrade=self.degrade,
        )


def render_set(
    head_file: Path,
    folder: Path,
    settings: RenderSetSettings,
    device: str,
    watch: Callable[[int], None] = lambda _: None,
) -> int:
    """Render a dataset with truth; the same seed, device and torch give the same dataset.

    Args:
        head_file: the head that is drawn.
        folder: of the dataset; new, empty, or left unfinished by an earlier run, which is then done again.
        settings: what is rendered.
        device: where.
        watch: told the number of finished pictures now and then.

    Returns:
        The number of pictures.

    Raises:
        ModelError: the head cannot be used.
        OutputError: the dataset cannot be written.
        UsageError: the folder holds something else.
    """
    check_free(folder)
    make_folder(folder)
    assets, _ = load_head(head_file)
    head = HeadModel(assets).to(device)
    drawn = settings.drawn()
    generator = FaceGenerator(head, find_parts(head, assets, drawn.texture_size), drawn, settings.seed)
    truth = TruthWriter(folder, head_file)
    names = person_names(settings)
    records: list[Record] = []
    waiting: deque[Future[list[Record]]] = deque()
    per_batch = max((GPU_BATCH if device.startswith("cuda") else CPU_BATCH) // settings.photos, 1)
    with ThreadPoolExecutor(usable_cores()) as pool:
        for number, first in enumerate(range(0, len(names), per_batch)):
            people = names[first : first + per_batch]
            if number and number % RENEW_EVERY == 0:
                generator.renew()
            batch = generator.batch(len(people) * settings.photos, settings.photos)
            truth.add(people, [picture_name(index) for index in range(settings.photos)], batch)
            for job in _jobs(folder, people, settings.photos, batch):
                waiting.append(pool.submit(write_pictures, *job))
            while len(waiting) > WAITING * per_batch:
                records += waiting.popleft().result()
                watch(len(records))
        for future in waiting:
            records += future.result()
            watch(len(records))
    truth.finish()
    made_by = {"command": "deca train render-set", **asdict(replace(settings, generator=drawn))}
    finish(folder, records, Description(MARGIN, drawn.image_size, len(names), len(records), made_by=made_by))
    return len(records)


def person_names(settings: RenderSetSettings) -> list[tuple[str, str]]:
    """Name and split of every person; the held-out ones come last."""
    train = settings.people - settings.held_out_people
    return [
        (f"person_{index:05d}", "train" if index < train else "held_out") for index in range(settings.people)
    ]


Job = tuple["Path", tuple[str, str], np.ndarray, np.ndarray, np.ndarray]


def _jobs(folder: Path, people: list[tuple[str, str]], photos: int, batch: SyntheticBatch) -> list[Job]:
    """One job a person, on plain arrays."""
    images = (batch.images.clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).contiguous().cpu().numpy()
    masks = (batch.skin_mask * 255).byte().cpu().numpy()
    size = images.shape[1]
    points = ((batch.landmarks.double() + 1) / 2 * size - 0.5).cpu().numpy()
    parts = [slice(index * photos, (index + 1) * photos) for index in range(len(people))]
    return [
        (folder, person, images[part], masks[part], points[part])
        for person, part in zip(people, parts, strict=True)
    ]


def write_pictures(
    folder: Path, person: tuple[str, str], images: np.ndarray, masks: np.ndarray, points: np.ndarray
) -> list[Record]:
    """All pictures of a person."""
    name, split = person
    return [
        write_picture(folder, name, picture_name(index), image, place, mask, split)
        for index, (image, mask, place) in enumerate(zip(images, masks, points, strict=True))
    ]


def picture_name(index: int) -> str:
    """Name of the picture of that number of a person."""
    return f"{index:03d}"
