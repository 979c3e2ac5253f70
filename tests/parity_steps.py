"""The training steps of the official release, and the same steps here, in float32 or with everything in float64."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import json
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import pytest
import torch
from torch.overrides import TorchFunctionMode

from deca_cli.networks.codes import Codes
from deca_cli.networks.layout import raw_to_codes
from deca_cli.render.barycentrics import surface_at_pixels
from deca_cli.render.fragments import DEFAULT_Z_OFFSET, Fragments
from deca_cli.render.rasterize import rasterize
from deca_cli.train.data.batch import PersonBatch
from deca_cli.train.losses.weights import CoarseWeights, DetailWeights
from deca_cli.train.objectives import rendering
from deca_cli.train.objectives.coarse import CoarseObjective
from deca_cli.train.objectives.detail import DetailNetworks, DetailObjective
from deca_cli.train.objectives.settings import OFFICIAL
from official_release import CODE_NAMES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from torch import Tensor

    from deca_cli.networks.deca import Deca
    from deca_cli.render.fragments import Rule
    from deca_cli.train.losses.face_recognition import FaceRecognition
    from deca_cli.train.losses.vgg19 import Vgg19
    from deca_cli.train.objectives.settings import Step

LOSS, GRADIENT = 1e-4, 1e-3  # of the README: relative to the value, and to the tensor's largest entry
# Convolutions before a normalisation: their biases' true gradient is nought, the stored one is rounding (README).
FREE_BIASES = tuple(f"conv_blocks.{layer}.bias" for layer in (2, 6, 10, 14, 18))
Gradients = dict[str, dict[str, "Tensor | None"]]  # by loss, then by code
Arrays = TypeVar("Arrays", Codes, PersonBatch)


class Case:
    """A stored step: the photos, the drawn order, and what the release made of them."""

    def __init__(self, folder: Path, name: str) -> None:
        self.name = name
        with np.load(folder / f"{name}.npz") as archive:
            self.arrays = dict(archive)
        with np.load(folder / "codes.npz") as archive:
            stored = dict(archive)
        self.numbers: dict[str, Any] = json.loads((folder / f"{name}.json").read_text())
        index = self.arrays["photo_index"]
        self.codes = Codes(
            **{ours: torch.from_numpy(stored[theirs][index]) for theirs, ours in CODE_NAMES.items()}
        )
        images = torch.from_numpy(stored["images_u8"][index]).float() / 255
        people = self.numbers["config"]["B"]
        self.batch = PersonBatch(
            images=images.unflatten(0, (people, -1)),
            landmarks=torch.from_numpy(self.arrays["landmark"]).unflatten(0, (people, -1)),
            masks=torch.from_numpy(self.arrays["mask_u8"]).float().unflatten(0, (people, -1)),
            names=("",) * len(index),
        )
        flat = torch.from_numpy(self.arrays["new_order"]).unflatten(0, (people, -1))
        self.order = flat - flat.amin(dim=1, keepdim=True)

    def double(self) -> Case:
        """The same with everything in float64."""
        case = copy.copy(self)
        case.codes, case.batch = _double(self.codes), _double(self.batch)
        return case

    def tracked(self) -> Codes:
        return Codes(**{name: value.clone().requires_grad_() for name, value in self.codes.items()})

    def official(self, loss: str, code: str) -> Tensor | None:
        """The stored gradient of a loss to a code of ours."""
        theirs = {ours: theirs for theirs, ours in CODE_NAMES.items()}[code]
        stored = self.arrays.get(f"grad_{loss}__{theirs}")
        return None if stored is None else torch.from_numpy(stored)


class _Float64(TorchFunctionMode):
    """Whatever asks for float32 gets float64."""

    def __torch_function__(self, func, types, args=(), kwargs=None):  # noqa: ANN204 - torch's own form
        given = dict(kwargs or {})
        if given.get("dtype") is torch.float32:
            given["dtype"] = torch.float64
        return (torch.Tensor.double if func is torch.Tensor.float else func)(*args, **given)


@contextlib.contextmanager
def exact_arithmetic() -> Iterator[None]:
    """Within, the program's float32 is float64; what comes in has to be float64 already."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        with _Float64():
            yield
    finally:
        torch.set_default_dtype(before)


def _double(value: Arrays) -> Arrays:
    tensors = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
    return dataclasses.replace(
        value, **{name: tensor.double() for name, tensor in tensors.items() if torch.is_tensor(tensor)}
    )


def gradients_of(term: Tensor, codes: Codes) -> dict[str, Tensor | None]:
    found = torch.autograd.grad(term, [v for _, v in codes.items()], retain_graph=True, allow_unused=True)
    return {name: gradient for (name, _), gradient in zip(codes.items(), found, strict=True)}


def summed(gradients: Iterable[Tensor | None]) -> Tensor | None:
    """Of all terms; cheaper than going back once more, and the total is their sum."""
    given = [gradient for gradient in gradients if gradient is not None]
    return torch.stack(given).sum(0) if given else None


def deviation(have: Tensor, want: Tensor) -> float:
    """Largest difference as a share of the tensor's largest entry."""
    want = want.double()
    return float((have.double() - want).abs().max() / want.abs().max())


# --------------------------------------------------------------------------- which triangle a pixel shows


def exact_triangles(case: Case, deca: Deca) -> Tensor:
    """Of the doubled batch of the coarse stage, with vertices in float64, as the model has to be: int32 [M, S, S]."""
    exact = case.double()
    seen: list[Tensor] = []

    def drawn(vertices: Tensor, faces: Tensor, height: int, width: int, *, rule: Rule) -> Fragments:
        fragments = rasterize(vertices, faces, height, width, rule=rule)
        seen.append(fragments.triangle)
        return fragments

    with exact_arithmetic(), pytest.MonkeyPatch.context() as patch, torch.no_grad():
        patch.setattr(rendering, "rasterize", drawn)
        objective = CoarseObjective(deca, CoarseWeights(id=0), None, OFFICIAL)
        objective(exact.codes, exact.batch, exact.order)
    return seen[0]


@contextlib.contextmanager
def given_triangles(triangle: Tensor) -> Iterator[list[Tensor]]:
    """Within, the objectives see these triangles; their weights still come from the vertices and carry gradients.

    The list gets the triangles that would have been seen.
    """
    seen: list[Tensor] = []

    def drawn(vertices: Tensor, faces: Tensor, height: int, width: int, *, rule: Rule) -> Fragments:
        if len(vertices) != len(triangle):  # pictures to look at
            return rasterize(vertices, faces, height, width, rule=rule)
        seen.append(rasterize(vertices.detach(), faces, height, width, rule=rule).triangle)
        surface = surface_at_pixels(vertices, faces, triangle, rule, DEFAULT_Z_OFFSET)
        return Fragments(triangle, *surface, "reference")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rendering, "rasterize", drawn)
        yield seen


# --------------------------------------------------------------------------- the steps


def coarse_given_codes(case: Case, deca: Deca, recogniser: FaceRecognition) -> tuple[Step, Gradients]:
    """The coarse losses of the stored codes, and their gradients to them."""
    codes = case.tracked()
    objective = CoarseObjective(deca, CoarseWeights(), recogniser, OFFICIAL)
    step = objective(codes, case.batch, case.order, pictures=True)
    given = {name: gradients_of(term, codes) for name, term in step.terms.items()}
    given["all_loss"] = {name: summed(g[name] for g in given.values()) for name in CODE_NAMES.values()}
    return step, given


def coarse_through_encoder(case: Case, deca: Deca, recogniser: FaceRecognition) -> tuple[Step, Deca]:
    """A whole coarse step in training mode; the model given back is a copy whose encoder has its gradients."""
    deca = copy.deepcopy(deca)
    deca.encoder.train().requires_grad_(True)
    raw = deca.encoder(case.batch.images.flatten(0, 1))
    codes = raw_to_codes(raw, deca.layout, deca.sizes).codes
    step = CoarseObjective(deca, CoarseWeights(), recogniser, OFFICIAL)(codes, case.batch, case.order)
    step.total.backward()
    return step, deca


def detail_given_codes(
    case: Case, deca: Deca, vgg: Vgg19
) -> tuple[Step, Gradients, dict[str, list[Tensor | None]]]:
    """The detail losses of the stored codes, and their gradients to codes and to the tensors of D_detail."""
    deca, codes = detail_trained(deca), case.tracked()
    displacement = DetailNetworks(deca).decode(codes, case.order)
    judged = displacement.detach().requires_grad_()
    step = DetailObjective(deca, DetailWeights(), vgg, OFFICIAL)(
        codes, judged, case.batch, case.order, pictures=True
    )
    assert deca.detail_decoder is not None
    names, parameters = [name for name, _ in codes.items()], [*deca.detail_decoder.parameters()]
    found: dict[str, list[Tensor | None]] = {}
    for name, term in step.terms.items():
        (pull,) = torch.autograd.grad(term, judged, retain_graph=True)
        inputs = [value for _, value in codes.items()] + parameters
        found[name] = [*torch.autograd.grad(displacement, inputs, pull, retain_graph=True, allow_unused=True)]
    found["all_loss"] = [summed(some) for some in zip(*found.values(), strict=True)]
    to_codes = {loss: dict(zip(names, gradients, strict=False)) for loss, gradients in found.items()}
    return step, to_codes, {loss: gradients[len(names) :] for loss, gradients in found.items()}


def detail_through_encoders(case: Case, deca: Deca, vgg: Vgg19) -> tuple[Step, Deca]:
    """A whole detail step in training mode; the model given back is a copy whose detail networks have their gradients."""
    deca = detail_trained(deca)
    images = case.batch.images.flatten(0, 1)
    with torch.no_grad():
        codes = raw_to_codes(deca.encoder(images), deca.layout, deca.sizes).codes
    displacement = DetailNetworks(deca)(images, codes, case.order)
    step = DetailObjective(deca, DetailWeights(), vgg, OFFICIAL)(codes, displacement, case.batch, case.order)
    step.total.backward()
    return step, deca


def detail_trained(deca: Deca) -> Deca:
    """A copy with its detail networks in training mode; all that the detail stage trains wants gradients."""
    deca = copy.deepcopy(deca)
    DetailNetworks(deca).train().requires_grad_(True)
    return deca
