"""The stages: which weights move, and what one step does with a batch."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor, nn

from deca_cli.assets.catalogue import IDENTITY, VGG19
from deca_cli.assets.store import is_here, path_of
from deca_cli.errors import ModelError, UsageError
from deca_cli.networks.layout import raw_to_codes
from deca_cli.train.config.settings import DETAIL
from deca_cli.train.objectives.coarse import CoarseObjective
from deca_cli.train.objectives.detail import DetailNetworks, DetailObjective
from deca_cli.train.objectives.settings import ObjectiveSettings, Step
from deca_cli.train.output_rates import OutputRates
from deca_cli.train.synthetic_losses import outside_range

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from torch.optim import Optimizer

    from deca_cli.assets.catalogue import Asset
    from deca_cli.networks.codes import Codes
    from deca_cli.networks.deca import Deca
    from deca_cli.train.config.settings import TrainSettings
    from deca_cli.train.data.batch import PersonBatch
    from deca_cli.train.losses.face_recognition import FaceRecognition
    from deca_cli.train.losses.vgg19 import Vgg19
    from deca_cli.train.models import Trainee
    from deca_cli.train.processes import Process

WITHOUT = {"identity": "id", "mrf": "mrf"}  # what `--without` names -> the weight that it sets to 0


class Stage(Protocol):
    """What the loop needs to know of a stage."""

    trainee: Trainee
    trained: nn.Module
    """Holds the weights that move, and nothing else with gradients."""

    def set_training(self, *, on: bool) -> None:
        """Batch statistics for what is trained, or stored statistics everywhere."""

    def tune(self, optimizer: Optimizer) -> None:
        """Give the optimizer of `trained` what is peculiar to the stage, once, before its first step."""

    def step(self, trained: nn.Module, batch: PersonBatch, order: Tensor, *, pictures: bool) -> Step:
        """Judge a batch; `trained` is the stage's own module, or a wrapper around it that shares gradients."""


def without(settings: TrainSettings, names: tuple[str, ...]) -> TrainSettings:
    """The settings with those terms switched off.

    Raises:
        UsageError: there is no such term.
    """
    unknown = [name for name in names if name not in WITHOUT]
    if unknown:
        raise UsageError(f"--without {unknown[0]}: only {' and '.join(WITHOUT)} can be left out.")
    coarse, detail = settings.loss.coarse, settings.loss.detail
    if "identity" in names:
        coarse = replace(coarse, id=0.0)
    if "mrf" in names:
        detail = replace(detail, mrf=0.0)
    return replace(settings, loss=replace(settings.loss, coarse=coarse, detail=detail))


def make_stage(trainee: Trainee, settings: TrainSettings, process: Process) -> Stage:
    """Put a stage together on the process's device.

    Raises:
        ModelError: a network that a loss needs is not installed, or the model has no colours; the message says how to train
            without the term.
    """
    trainee.deca.to(process.device)
    trainee.deca.requires_grad_(False)
    if process.device.type == "cuda":  # the layout in which convolutions are quickest there
        for network in trainee.networks().values():
            network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if settings.stage == DETAIL:
        return DetailStage(trainee, settings, process)
    return CoarseStage(trainee, settings, process)


def uses_bf16(settings: TrainSettings, process: Process) -> bool:
    """Whether networks compute in bf16."""
    wanted = settings.train.precision
    return wanted == "bf16" or (wanted == "auto" and process.device.type == "cuda")


class CoarseNetwork(nn.Module):
    """Pictures -> the encoder's raw answer. Features in the precision of autocast, the answer itself in float32: half
    precision would round the pose by half a degree.
    """  # noqa: D205 - one sentence

    def __init__(self, deca: Deca) -> None:
        super().__init__()
        self.encoder = deca.encoder
        self.mean, self.std = deca.preprocessing.mean, deca.preprocessing.std

    def forward(self, images: Tensor) -> Tensor:
        """[N, 3, S, S] RGB in 0..1 -> [N, outputs] float32."""
        prepared = (images - self.mean) / self.std
        if images.device.type == "cuda":
            prepared = prepared.contiguous(memory_format=torch.channels_last)
        features = self.encoder.encoder(prepared)
        with torch.autocast(images.device.type, enabled=False):
            answer: Tensor = self.encoder.layers(features.float())
        return answer


class CoarseStage:
    """Pretrain and coarse: E_flame learns; they differ in their weights only (spec section 8.1)."""

    def __init__(self, trainee: Trainee, settings: TrainSettings, process: Process) -> None:
        self.trainee, self.settings = trainee, settings
        self.is_bf16 = uses_bf16(settings, process)
        self.device = process.device
        self.trained: nn.Module = CoarseNetwork(trainee.deca).requires_grad_(True)
        weights = settings.loss.coarse
        identity = _identity_network(self.is_bf16).to(process.device) if weights.id > 0 else None
        self.objective = CoarseObjective(
            trainee.deca, weights, identity, ObjectiveSettings(processes=process.world)
        )

    def set_training(self, *, on: bool) -> None:
        """See `Stage`."""
        self.trained.train(on)

    def tune(self, optimizer: Optimizer) -> None:
        """Another learning rate for the rows of the last layer that answer the shape, if `train.shape_rate` says so."""
        rate, deca = self.settings.train.shape_rate, self.trainee.deca
        if rate == 1:
            return
        layer = deca.encoder.layers[-1]
        assert isinstance(layer, nn.Linear)  # noqa: S101 - tells mypy
        factors = [rate if name == "shape" else 1.0 for name, size in deca.layout for _ in range(size)]
        OutputRates(optimizer, layer, torch.tensor(factors))

    def step(self, trained: nn.Module, batch: PersonBatch, order: Tensor, *, pictures: bool) -> Step:
        """See `Stage`."""
        with _precision(self.device, self.is_bf16):
            raw = trained(batch.images.flatten(0, 1))
        codes = codes_of(raw, self.trainee.deca)
        step = self.objective(codes, batch, order, pictures=pictures)
        return self._keep_in_range(step, codes)

    def _keep_in_range(self, step: Step, codes: Codes) -> Step:
        """Lead expressions back into the range that the head knows; a head without range needs nothing."""
        weight = self.settings.loss.range.expression_range
        if self.trainee.manifest.expression_range is None or not weight:
            return step
        term = weight * outside_range(codes.expression).mean()
        return Step(step.total + term, step.terms | {"expression_range": term}, step.pictures)


class DetailStage:
    """E_detail and D_detail learn; E_flame answers in evaluation mode and without gradients (spec section 8.1)."""

    def __init__(self, trainee: Trainee, settings: TrainSettings, process: Process) -> None:
        self.trainee, self.settings = trainee, settings
        self.is_bf16 = uses_bf16(settings, process)
        self.device = process.device
        self.coarse = CoarseNetwork(trainee.deca)
        self.trained: nn.Module = DetailNetworks(trainee.deca).requires_grad_(True)
        weights = settings.loss.detail
        mrf = _vgg19(self.is_bf16).to(process.device) if weights.photo_D * weights.mrf > 0 else None
        self.objective = DetailObjective(
            trainee.deca, weights, mrf, ObjectiveSettings(processes=process.world)
        )

    def set_training(self, *, on: bool) -> None:
        """See `Stage`."""
        self.trained.train(on)
        self.coarse.eval()

    def tune(self, optimizer: Optimizer) -> None:
        """See `Stage`; nothing is peculiar here."""

    def step(self, trained: nn.Module, batch: PersonBatch, order: Tensor, *, pictures: bool) -> Step:
        """See `Stage`."""
        images = batch.images.flatten(0, 1)
        codes = self.codes(images)
        with _precision(self.device, self.is_bf16):
            displacement = trained(images, codes, order)
        return self.objective(codes, displacement, batch, order, pictures=pictures)

    @torch.no_grad()
    def codes(self, images: Tensor) -> Codes:
        """[N, 3, S, S] -> codes of the frozen encoder, expressions within the head's range."""
        with _precision(self.device, self.is_bf16):
            raw = self.coarse(images)
        return within_range(codes_of(raw, self.trainee.deca), self.trainee)


def codes_of(raw: Tensor, deca: Deca) -> Codes:
    """Raw answers [N, outputs] -> codes; expressions may leave their range."""
    return raw_to_codes(raw, deca.layout, deca.sizes).codes


def within_range(codes: Codes, trainee: Trainee) -> Codes:
    """Codes as the finished pack gives them."""
    limits = trainee.manifest.expression_range
    return codes if limits is None else replace(codes, expression=codes.expression.clamp(*limits))


def _precision(device: torch.device, is_bf16: bool) -> AbstractContextManager:
    # Casts kept for the rest of a step would outlive a recorded one.
    return torch.autocast(device.type, torch.bfloat16, cache_enabled=False) if is_bf16 else nullcontext()


def _identity_network(is_bf16: bool) -> FaceRecognition:
    from deca_cli.train.losses.face_recognition import load_face_recognition

    _demand(IDENTITY, "The identity term (loss.id)", "identity")
    return load_face_recognition(path_of(IDENTITY), _dtype(is_bf16))


def _vgg19(is_bf16: bool) -> Vgg19:
    from deca_cli.train.losses.vgg19 import load_vgg19

    _demand(VGG19, "The ID-MRF term (loss.mrf)", "mrf")
    return load_vgg19(path_of(VGG19), _dtype(is_bf16))


def _dtype(is_bf16: bool) -> torch.dtype:
    return torch.bfloat16 if is_bf16 else torch.float32


def _demand(asset: Asset, what: str, name: str) -> None:
    if not is_here(asset):
        raise ModelError(
            f"{what} needs {asset.purpose}, but {path_of(asset)} is not there. Fetch it with `deca fetch-models "
            f"{asset.group}`, or train without this term: --without {name}."
        )
