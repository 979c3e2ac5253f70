"""A dataset of synthetic people, several photos each, whose truth is known: rendered from the open head."""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING

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
from deca_cli.train.data.truth import TruthWriter, write_albedo, write_displacements

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import numpy as np
    from torch import Tensor

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
    plain: bool = False  # nothing in front of the face, no cast shadows: what the losses can explain
    wrinkle_depth: float = 1.0  # factor on the depth of all wrinkles
    generator: GeneratorSettings = field(default_factory=GeneratorSettings)

    def __post_init__(self) -> None:
        if self.wrinkle_depth < 0:
            raise UsageError(f"Wrinkles cannot be {self.wrinkle_depth:g} times as deep: at least 0.")
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
        generator = uncovered(self.generator) if self.plain else self.generator
        return replace(
            generator,
            image_size=canvas_size(self.size),
            pose=replace(
                generator.pose,
                yaw_limit=self.yaw_limit,
                pitch_limit=25,
                roll_limit=30,
                uniform_share=0.35,
            ),
            crop=CropRange(factor=MARGIN, log_scale_std=0, shift_std=0, rough_share=0),
            no_face_share=0.0,
            degrade=self.degrade,
            detail=self.held_out_people > 0,
        )


def uncovered(generator: GeneratorSettings) -> GeneratorSettings:
    """Faces with nothing in front of them and no shadow on them."""
    return replace(
        generator,
        glasses_share=0.0,
        hand_share=0.0,
        object_share=0.0,
        patch_share=0.0,
        fringe_share=0.0,
        light=replace(generator.light, shadow=0.0),
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
    if generator.wrinkles is not None:
        generator.wrinkles.rest = generator.wrinkles.rest * settings.wrinkle_depth
        generator.wrinkles.gain = generator.wrinkles.gain * settings.wrinkle_depth
    truth = TruthWriter(folder, head_file)
    records = _draw_all(folder, settings, generator, truth, watch)
    truth.finish()
    made_by = {"command": "deca train render-set", **asdict(replace(settings, generator=drawn))}
    description = Description(MARGIN, drawn.image_size, settings.people, len(records), made_by=made_by)
    finish(folder, records, description)
    return len(records)


def _draw_all(
    folder: Path,
    settings: RenderSetSettings,
    generator: FaceGenerator,
    truth: TruthWriter,
    watch: Callable[[int], None],
) -> list[Record]:
    """Batch after batch; threads encode and write while the next one is drawn."""
    people, photos = person_names(settings), settings.photos
    names = [picture_name(index) for index in range(photos)]
    batch_size = GPU_BATCH if generator.draws.device.type == "cuda" else CPU_BATCH
    per_batch = max(batch_size // photos, 1)
    records: list[Record] = []
    waiting: deque[Future[list[Record]]] = deque()
    with ThreadPoolExecutor(usable_cores()) as pool:
        for number, first in enumerate(range(0, len(people), per_batch)):
            part = people[first : first + per_batch]
            if number and number % RENEW_EVERY == 0:
                generator.renew()
            batch = generator.batch(len(part) * photos, photos)
            truth.add(part, names, batch)
            waiting.extend(pool.submit(_write_person, folder, job) for job in _jobs(part, photos, batch))
            while len(waiting) > WAITING * per_batch:
                records += waiting.popleft().result()
                watch(len(records))
        for future in waiting:
            records += future.result()
            watch(len(records))
    return records


def person_names(settings: RenderSetSettings) -> list[tuple[str, str]]:
    """Name and split of every person; the held-out ones come last."""
    train = settings.people - settings.held_out_people
    return [
        (f"person_{index:05d}", "train" if index < train else "held_out") for index in range(settings.people)
    ]


@dataclass(frozen=True, eq=False)
class Job:
    """What is kept of one person, as plain arrays."""

    name: str
    split: str
    images: np.ndarray  # uint8 [K, S, S, 3]
    masks: np.ndarray  # uint8 [K, S, S]
    points: np.ndarray  # float64 [K, 68, 2] pixel indices
    albedo: np.ndarray  # uint8 [U, U, 3]
    displacement: (
        np.ndarray | None
    )  # float [K, D, D] metres; of held-out people, as it is larger than the pictures


def _jobs(people: list[tuple[str, str]], photos: int, batch: SyntheticBatch) -> list[Job]:
    """One job a person."""
    images, masks = _bytes(batch.images), (batch.skin_mask * 255).byte().cpu().numpy()
    albedo = _bytes(batch.albedo[::photos])
    points = ((batch.landmarks.double() + 1) / 2 * images.shape[1] - 0.5).cpu().numpy()
    jobs = []
    for index, (name, split) in enumerate(people):
        part = slice(index * photos, (index + 1) * photos)
        maps = None
        if split == "held_out" and batch.displacement is not None:
            maps = batch.displacement[part, 0].cpu().numpy()
        jobs.append(Job(name, split, images[part], masks[part], points[part], albedo[index], maps))
    return jobs


def _bytes(images: Tensor) -> np.ndarray:
    """[N, 3, H, W] in 0..1 -> uint8 [N, H, W, 3]."""
    return (images.clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).contiguous().cpu().numpy()


def _write_person(folder: Path, job: Job) -> list[Record]:
    """All files of a person."""
    names = [picture_name(index) for index in range(len(job.images))]
    write_albedo(folder, job.name, job.albedo)
    if job.displacement is not None:
        write_displacements(folder, job.name, names, job.displacement)
    return [
        write_picture(folder, job.name, name, image, points, mask, job.split)
        for name, image, points, mask in zip(names, job.images, job.points, job.masks, strict=True)
    ]


def picture_name(index: int) -> str:
    """Name of the picture of that number of a person."""
    return f"{index:03d}"
