"""How good a stage is on people whom it never trains on."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from deca_cli.errors import InputError, UsageError
from deca_cli.heads.camera import project
from deca_cli.render.normals import degrees_between, vertex_normals
from deca_cli.render.uv import displaced_normals, uv_to_ndc, world2uv
from deca_cli.train.data.loader import PersonLoader
from deca_cli.train.data.truth import FOLDER, Truth, read_truth
from deca_cli.train.objectives.coarse import CoarseObjective
from deca_cli.train.objectives.detail import DetailObjective
from deca_cli.train.processes import Process
from deca_cli.train.stages import CoarseStage, DetailStage, codes_of, within_range

if TYPE_CHECKING:
    from deca_cli.heads.model import HeadModel
    from deca_cli.networks.codes import Codes
    from deca_cli.train.config.settings import TrainSettings
    from deca_cli.train.data.batch import PersonBatch
    from deca_cli.train.data.settings import DataSettings
    from deca_cli.train.stages import Stage

INNER = slice(17, 68)
VALIDATION_SEED = 10_000_019
PEOPLE, PICTURES = 8, 4  # in a batch


TRAIN_PEOPLE = 24  # people of the training set who are measured, too
SEEN = "train_"  # before the names of their numbers


class Validation:
    """Held-out people, decoded once and kept on the device, and beside them some people of the training set.

    Measured are, where the model and the data allow it: `nme_percent` (inner landmarks, in percent of sqrt(w h) of the
    label's box), `photometric` (mean difference of colours within the mask), on rendered sets the neutral face against the
    true one, `shape_mm` after rotation and shift, `shape_scaled_mm` after scaling as well (one photo does not tell how large
    a head is), and `mean_head_mm` and `mean_head_scaled_mm` for the mean head in place of the answer; in the detail stage
    `detail_photometric` and `flat_photometric` (in UV space, with the answered displacement and with none) and on rendered
    sets, over the face, `displacement_mm` and `flat_displacement_mm`: mean distance of the answered displacement and of none
    from the true one, but for a constant, which no picture shows, and `normal_degrees` and `flat_normal_degrees`: mean angle
    between their normals. The same names with `train_` before them are those of people who are trained on: what lies between is
    overfitting.

    Args:
        stage: what is measured.
        settings: of the run.
        device: of the stage.

    Raises:
        InputError: there are no held-out people, or the data cannot be read.
    """

    def __init__(self, stage: Stage, settings: TrainSettings, device: torch.device) -> None:
        self.stage = stage
        # The same pictures in every stage, so that the stages can be compared.
        data = replace(
            settings.dataset.for_validation(), num_workers=0, batch_size=PEOPLE, K=PICTURES, isSingle=False
        )
        deca = stage.trainee.deca
        coarse = replace(
            settings.loss.coarse, photo=1.0, id=0.0, lmk=0.0, eyed=0.0, lipd=0.0,
            reg_shape=0.0, reg_exp=0.0, reg_tex=0.0, reg_light=0.0, shape_consistency=False, useSeg=True,
        )  # fmt: skip
        has_colours = deca.albedo is not None and deca.sizes.light > 0
        self.colours = CoarseObjective(deca, coarse) if has_colours else None
        detail = replace(settings.loss.detail, photo_D=1.0, mrf=0.0, reg_z=0.0, reg_diff=0.0, reg_sym=0.0)
        self.detail = DetailObjective(deca, detail) if isinstance(stage, DetailStage) else None
        self.face = face_vertices(deca.head)
        people = settings.train.val_people
        self.groups = {"": self._people(data, people, "held_out", device)}
        if settings.dataset.training_data == settings.dataset.eval_data:
            self.groups[SEEN] = self._people(data, min(people, TRAIN_PEOPLE), "train", device)

    def _people(self, data: DataSettings, people: int, split: str, device: torch.device) -> list[Known]:
        """Batches of some people with what is known about them."""
        loader = PersonLoader(data.training_data, data, Process(0, 1, device), VALIDATION_SEED, split=split)
        count = -(-min(people, loader.people) // data.batch_size)
        batches = list(islice(loader.batches(), count))
        folders = data.training_data
        if len(folders) != 1 or not (Path(folders[0]) / FOLDER).is_dir():
            return [Known(batch) for batch in batches]
        truth = read_truth(Path(folders[0]))
        return [self._known(batch, truth) for batch in batches]

    def _known(self, batch: PersonBatch, truth: Truth) -> Known:
        """The batch with what the set knows about it; nothing if it is of another head, whose vertices do not correspond."""
        device = batch.images.device
        neutral = truth.neutral_mm([name.rpartition("/")[0] for name in batch.names])
        if neutral.shape[1] != self.stage.trainee.deca.head.vertex_count:
            return Known(batch)
        face = torch.from_numpy(neutral / 1000).to(device)[:, self.face]
        maps = [truth.displacement(name) for name in batch.names] if self.detail is not None else [None]
        known = [texels for texels in maps if texels is not None]
        if len(known) < len(batch.names):
            return Known(batch, face)
        return Known(batch, face, torch.from_numpy(np.stack(known)).to(device)[:, None])

    @torch.no_grad()
    def measure(self) -> dict[str, float]:
        """Means over all batches of a group that have the number; the stage is in training mode afterwards."""
        self.stage.set_training(on=False)
        means: dict[str, float] = {}
        for prefix, group in self.groups.items():
            sums: dict[str, Tensor] = {}
            counts: Counter[str] = Counter()  # not every batch has every number
            for known in group:
                for name, value in self._measure_batch(known).items():
                    sums[name] = sums.get(name, torch.zeros_like(value)) + value.double()
                    counts[name] += 1
            means |= {prefix + name: float(value) / counts[name] for name, value in sums.items()}
        self.stage.set_training(on=True)
        return means

    def _measure_batch(self, known: Known) -> dict[str, Tensor]:
        stage, deca, batch = self.stage, self.stage.trainee.deca, known.batch
        images = batch.images.flatten(0, 1)
        codes = self._codes(images)
        order = torch.arange(batch.per_person, device=images.device).expand(batch.people, -1)
        found = {"nme_percent": landmark_error(deca.head, codes, batch.landmarks.flatten(0, 1))}
        if self.colours is not None:
            found["photometric"] = self.colours(codes, batch, order).total
        if known.neutral is not None:
            found |= self._shapes(codes.shape, known.neutral)
        if self.detail is not None and isinstance(stage, DetailStage):
            displacement = stage.trained(images, codes, order).float()
            found["detail_photometric"] = self.detail(codes, displacement, batch, order).total
            flat = torch.zeros_like(displacement)
            found["flat_photometric"] = self.detail(codes, flat, batch, order).total
            if known.displacement is not None and known.displacement.shape[-1] == displacement.shape[-1]:
                found |= self._wrinkles(self.detail, codes, displacement[: len(images)], known.displacement)
        return found

    def _wrinkles(
        self, objective: DetailObjective, codes: Codes, answer: Tensor, true: Tensor
    ) -> dict[str, Tensor]:
        """Displacements [N, 1, U, U] in metres against the true ones, over the face: millimetres and degrees."""
        head = self.stage.trainee.deca.head
        mask, fixed = head.face_eye_mask, head.fixed_displacement
        weight = mask / mask.sum()
        vertices = head(codes.shape, codes.expression, codes.pose)
        surface = world2uv(
            objective.chart, torch.cat([vertices, vertex_normals(vertices, head.faces)], dim=2)
        )
        places, directions = surface.split((3, 3), dim=1)
        target = displaced_normals(places, directions, true, torch.zeros_like(fixed), mask)
        found = {}
        for prefix, values in (("", answer), ("flat_", torch.zeros_like(answer))):
            difference = (mask * values + fixed - mask * true) * 1000
            offset = (difference * weight).sum((2, 3), keepdim=True)
            found[prefix + "displacement_mm"] = ((difference - offset).abs() * weight).sum((1, 2, 3)).mean()
            normals = displaced_normals(places, directions, values, fixed, mask)
            found[prefix + "normal_degrees"] = (degrees_between(normals, target) * weight).sum((1, 2)).mean()
        return found

    def _shapes(self, shape: Tensor, true: Tensor) -> dict[str, Tensor]:
        """How far the neutral face [N, S] lies from the true one [N, P, 3], in millimetres."""
        head = self.stage.trainee.deca.head
        still = shape.new_zeros(len(shape), head.expression_size)
        answer, mean = (head.unposed(code, still)[:, self.face] for code in (shape, torch.zeros_like(shape)))
        return {
            "shape_mm": 1000 * aligned_distance(answer, true, scaled=False),
            "shape_scaled_mm": 1000 * aligned_distance(answer, true, scaled=True),
            "mean_head_mm": 1000 * aligned_distance(mean, true, scaled=False),
            "mean_head_scaled_mm": 1000 * aligned_distance(mean, true, scaled=True),
        }

    def _codes(self, images: Tensor) -> Codes:
        stage = self.stage
        if isinstance(stage, DetailStage):
            return stage.codes(images)
        assert isinstance(stage, CoarseStage)  # noqa: S101 - tells mypy
        return within_range(codes_of(stage.trained(images), stage.trainee.deca), stage.trainee)


@dataclass(frozen=True, eq=False)
class Known:
    """Some people, and where they are known their neutral faces [N, face vertices, 3] and displacements [N, 1, U, U], metres."""

    batch: PersonBatch
    neutral: Tensor | None = None
    displacement: Tensor | None = None


def make_validation(
    stage: Stage, settings: TrainSettings, device: torch.device, *, must_be: bool
) -> Validation | None:
    """Validation, or none where it is switched off or, if need be, there is nobody to look at.

    Raises:
        InputError: `must_be` and there are no held-out people.
        UsageError: `must_be` and the data for validation are not set up.
    """
    if not settings.train.val_steps or not settings.dataset.eval_data:
        return None
    try:
        return Validation(stage, settings, device)
    except (
        InputError,
        UsageError,
    ):  # nobody is held out, or the official sets of the defaults are not set up
        if must_be:
            raise
        return None


def landmark_error(head: HeadModel, codes: Codes, labels: Tensor) -> Tensor:
    """Mean distance of the 51 inner landmarks to labels [N, 68, 3] in percent of sqrt(w h) of the labels' box."""
    vertices = head(codes.shape, codes.expression, codes.pose)
    points = project(head.landmarks(vertices, codes.pose).contour, codes.camera)[..., :2]
    size = labels[..., :2].amax(1) - labels[..., :2].amin(1)
    distance = (points - labels[..., :2])[:, INNER].norm(dim=-1).mean(1)
    return 100 * (distance / size.prod(1).sqrt()).mean()


def face_vertices(head: HeadModel) -> Tensor:
    """int64: the vertices within the head's own mask of the face."""
    grid = uv_to_ndc(head.uv_coordinates)
    mask = F.grid_sample(head.face_eye_mask[None, None], grid[None, None], align_corners=False)[0, 0, 0]
    inside = torch.zeros(head.vertex_count, dtype=torch.bool, device=mask.device)
    inside[head.faces[mask[head.uv_faces] > 0.5]] = True
    return inside.nonzero()[:, 0]


def aligned_distance(points: Tensor, truth: Tensor, *, scaled: bool) -> Tensor:
    """Mean distance of corresponding points [N, P, 3] after the best rotation and shift, if wanted scale (Umeyama 1991)."""
    points, truth = points.double(), truth.double()
    a, b = points - points.mean(1, keepdim=True), truth - truth.mean(1, keepdim=True)
    u, singular, vh = torch.linalg.svd(a.mT @ b)
    signs = torch.ones_like(singular)
    signs[:, 2] = torch.det(u @ vh)
    turned = a @ (u * signs[:, None, :] @ vh)
    if scaled:
        turned = turned * ((singular * signs).sum(1) / a.square().sum((1, 2)))[:, None, None]
    return (turned - b).norm(dim=-1).mean()


def as_row(values: dict[str, float]) -> dict[str, float]:
    """Numbers short enough to be read and compared."""
    return {
        name: float(np.format_float_positional(value, 5, fractional=False)) for name, value in values.items()
    }
