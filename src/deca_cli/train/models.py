"""What a stage trains: the head, its networks, and where their first weights come from."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from deca_cli.errors import ModelError, UsageError
from deca_cli.heads.albedo import Albedo
from deca_cli.heads.assets import AlbedoAssets, HeadAssets, load_head
from deca_cli.heads.model import HeadModel
from deca_cli.networks.codes import CodeSizes
from deca_cli.networks.deca import Deca
from deca_cli.networks.detail_decoder import OFFICIAL_NORM_EPS, DetailDecoder
from deca_cli.networks.encoder import Encoder
from deca_cli.networks.layout import Layout, layout_width, split_raw
from deca_cli.networks.preprocessing import Preprocessing
from deca_cli.packs.folders import pack_folder
from deca_cli.packs.manifest import FILE_NAME, Manifest, read_manifest
from deca_cli.packs.store import DETAIL_DECODER, DETAIL_ENCODER, ENCODER, Pack, load_pack
from deca_cli.train.config.settings import DETAIL
from deca_cli.train.imagenet import fill_backbone

if TYPE_CHECKING:
    from deca_cli.train.config.build import Loaded
    from deca_cli.train.config.settings import TrainSettings

TYPICAL_SIZE_M = 0.18  # side of the box around the 68 landmarks of an adult
FIRST_LIGHT = 3.0  # first coefficient of a white light that shows the albedo a little darker than it is
SMALL = 0.004  # spread of the first answers' weights: training starts near the mean face
OPEN_NORM_EPS = 1e-5


@dataclass(frozen=True, eq=False)
class Trainee:
    """A model in training."""

    deca: Deca
    manifest: Manifest
    """Of the pack that the run will leave; without provenance and accuracy."""
    head_file: Path
    origin: dict[str, Any]
    """Where the first weights came from, for the pack's provenance."""

    def networks(self) -> dict[str, nn.Module]:
        """Everything with weights, by file name in a pack."""
        names = (ENCODER, DETAIL_ENCODER, DETAIL_DECODER)
        return {name: getattr(self.deca, name) for name in names if getattr(self.deca, name) is not None}


def build_model(loaded: Loaded) -> tuple[Trainee, TrainSettings]:
    """Build the networks of a stage.

    Args:
        loaded: settings; with `pretrained_modelpath` the networks of that pack or run go on being trained.

    Returns:
        The model on the CPU, and the settings with everything that follows from head and start filled in.

    Raises:
        ModelError: head or start are missing or do not fit.
        UsageError: settings contradict the head or the start.
    """
    settings = loaded.settings
    start = _start(settings.pretrained_modelpath) if settings.pretrained_modelpath else None
    head_file = _head_file(settings, start, loaded.written)
    assets, albedo = load_head(head_file)
    albedo = albedo if settings.model.use_tex else None
    if start is not None and "model.head" not in loaded.written:
        settings = replace(settings, model=replace(settings.model, head=str(head_file)))
    settings = _resolve(settings, loaded.written, assets, albedo, start)
    manifest = _manifest(settings, head_file, assets, albedo)
    trainee = Trainee(_networks(manifest, assets, albedo), manifest, head_file, _origin(settings, start))
    _initialise(trainee.deca)
    if settings.model.imagenet:
        fill_backbone(trainee.deca.encoder.encoder, Path(settings.model.imagenet).expanduser())
    if start is not None:
        _take_over(trainee.deca, start)
    return trainee, settings


def _start(path: str) -> Pack:
    if Path(path).expanduser().is_file():
        raise UsageError(
            f"The run cannot start from the file {path}: give the folder of a run or model pack. An official model.tar "
            "becomes a pack with `deca fetch-models deca --from FOLDER`."
        )
    return load_pack(path)


def _head_file(settings: TrainSettings, start: Pack | None, written: frozenset[str]) -> Path:
    name = settings.model.head
    if start is not None and "model.head" not in written:
        return start.folder / start.manifest.head
    if name.endswith(".npz"):
        return Path(name).expanduser()
    folder = pack_folder(name)
    return folder / read_manifest(folder / FILE_NAME).head


def _resolve(
    settings: TrainSettings,
    written: frozenset[str],
    assets: HeadAssets,
    albedo: AlbedoAssets | None,
    start: Pack | None,
) -> TrainSettings:
    """Fill in what follows from the head and from the networks that training goes on with."""
    model, data = settings.model, settings.dataset
    sizes = {
        "n_shape": assets.shape_basis.shape[2],
        "n_exp": assets.expression_basis.shape[2],
        "n_tex": 0 if albedo is None else albedo.basis.shape[3],
    }
    for name, size in sizes.items():
        wanted = getattr(model, name)
        if wanted is not None and wanted != size:
            raise UsageError(
                f"model.{name} is {wanted}, but the head {model.head} has {size} components. Leave it out, or choose another "
                "head with model.head."
            )
    named = bool(assets.expression_names)
    outputs = model.outputs if model.outputs != "auto" else ("open" if named else "official")
    model = replace(model, **sizes, outputs=outputs, n_light=0 if albedo is None else model.n_light)
    if "dataset.pixel_offset" not in written:
        data = replace(data, pixel_offset=-0.5 if named else 0.0)
    if start is None:
        return replace(settings, model=model, dataset=data)
    manifest = start.manifest
    follows: dict[str, Any] = {
        "model.backbone": manifest.backbone,
        "model.hidden": manifest.hidden or 0,
        "model.outputs": "open" if "rotation_6d" in dict(manifest.layout) else "official",
        "model.jaw_type": "euler" if "pose_euler_jaw" in dict(manifest.layout) else "aa",
        "dataset.image_size": manifest.preprocessing.image_size,
        "dataset.pixel_offset": manifest.preprocessing.pixel_offset,
        "dataset.box_side": manifest.preprocessing.box_side,
    }
    model = replace(model, **_inside(follows, "model.", written, model, settings))
    data = replace(data, **_inside(follows, "dataset.", written, data, settings))
    return replace(settings, model=model, dataset=data)


def _inside(
    follows: dict[str, Any], group: str, written: frozenset[str], have: object, settings: TrainSettings
) -> dict[str, Any]:
    """The values of one group; a written one must not contradict the start."""
    values = {key.removeprefix(group): value for key, value in follows.items() if key.startswith(group)}
    for name, value in values.items():
        if f"{group}{name}" in written and getattr(have, name) not in (value, "auto"):
            raise UsageError(
                f"{group}{name} is {getattr(have, name)!r}, but {settings.pretrained_modelpath}, which the run starts from, has "
                f"{value!r}. Leave it out, or start with fresh networks (no --init)."
            )
    return values


def _layout(settings: TrainSettings) -> Layout:
    model = settings.model
    sizes = {"shape": model.n_shape or 0, "albedo": model.n_tex or 0, "expression": model.n_exp or 0}
    if model.outputs == "open":
        sizes |= {"rotation_6d": 6, "log_camera": 3}
    else:
        sizes |= {"pose" if model.jaw_type == "aa" else "pose_euler_jaw": 6, "camera": 3}
    sizes["light"] = model.n_light
    return tuple((name, size) for name, size in sizes.items() if size)


def _manifest(
    settings: TrainSettings, head_file: Path, assets: HeadAssets, albedo: AlbedoAssets | None
) -> Manifest:
    model, data = settings.model, settings.dataset
    is_open, has_detail = model.outputs == "open", settings.stage == DETAIL
    sizes = CodeSizes(
        shape=assets.shape_basis.shape[2],
        albedo=0 if albedo is None else albedo.basis.shape[3],
        expression=assets.expression_basis.shape[2],
        light=model.n_light,
        detail=model.n_detail if has_detail else 0,
    )
    return Manifest(
        name="run",
        licence="as its data and head",
        backbone=model.backbone,
        hidden=model.hidden or None,
        layout=_layout(settings),
        sizes=sizes,
        preprocessing=Preprocessing(
            data.image_size,
            round((data.scale_min + data.scale_max) / 2, 6),
            data.box_side,
            data.pixel_offset,
            *((0.45, 0.25) if is_open else (0.0, 1.0)),
        ),
        head=head_file.name,
        expression_range=(0.0, 1.0) if assets.expression_names else None,
        detail_backbone=model.backbone if has_detail else None,
        detail_hidden=(model.hidden or None) if has_detail else None,
        detail_norm_eps=OPEN_NORM_EPS if is_open else OFFICIAL_NORM_EPS,
        detail_normals="smooth" if is_open else "faceted",
    )


def _networks(manifest: Manifest, assets: HeadAssets, albedo: AlbedoAssets | None) -> Deca:
    sizes = manifest.sizes
    detail: dict[str, Any] = {}
    if manifest.detail_backbone is not None:
        detail = {
            "detail_encoder": Encoder(manifest.detail_backbone, sizes.detail, manifest.detail_hidden),
            "detail_decoder": DetailDecoder(sizes.expression, sizes.detail, manifest.detail_norm_eps),
        }
    return Deca(
        head=HeadModel(assets),
        encoder=Encoder(manifest.backbone, layout_width(manifest.layout), manifest.hidden),
        layout=manifest.layout,
        sizes=sizes,
        preprocessing=manifest.preprocessing,
        # Codes leave the range in training and are led back by a term of their own: a clamp has no gradient outside.
        expression_range=None,
        albedo=None if albedo is None else Albedo(albedo),
        **detail,
    )


@torch.no_grad()
def _initialise(deca: Deca) -> None:
    """First weights: the encoder answers the mean face in the middle of the crop, the decoder hardly a wrinkle."""
    deca.encoder.encoder.initialise()
    answer = deca.encoder.layers[-1]
    assert isinstance(answer, nn.Linear)  # noqa: S101 - tells mypy
    nn.init.normal_(answer.weight, std=SMALL)
    answer.bias.zero_()
    parts = split_raw(answer.bias[None], deca.layout)
    scale = 2 / (TYPICAL_SIZE_M * deca.preprocessing.crop_factor)  # NDC per metre
    if "log_camera" in parts:
        parts["log_camera"][:, 0] = math.log(scale)
        parts["rotation_6d"].copy_(answer.bias.new_tensor([[1, 0, 0, 0, 1, 0]]))
    else:
        parts["camera"][:, 0] = scale
    if "light" in parts:
        parts["light"][:, :3] = FIRST_LIGHT  # [9, 3] row by row: the constant band of red, green, blue
    if deca.detail_encoder is not None and deca.detail_decoder is not None:
        deca.detail_encoder.encoder.initialise()
        last = deca.detail_decoder.conv_blocks[-2]
        assert isinstance(last, nn.Conv2d)  # noqa: S101 - tells mypy
        last.weight.mul_(0.1)
        assert last.bias is not None  # noqa: S101 - tells mypy
        last.bias.zero_()


def _take_over(deca: Deca, start: Pack) -> None:
    """Go on with the weights of a pack; answers that it does not have stay fresh.

    Raises:
        ModelError: its networks are of another shape.
    """
    source = start.deca.encoder.state_dict()
    target = deca.encoder.state_dict()
    last = f"layers.{len(deca.encoder.layers) - 1}."
    for name in (f"{last}weight", f"{last}bias"):
        source[name] = _rows(source[name], start.manifest.layout, target[name], deca.layout)
    _load(deca.encoder, source, start)
    same_detail = (
        start.manifest.detail_backbone is not None and deca.sizes.detail == start.manifest.sizes.detail
    )
    if deca.detail_encoder is not None and deca.detail_decoder is not None and same_detail:
        assert start.deca.detail_encoder is not None  # noqa: S101 - tells mypy
        assert start.deca.detail_decoder is not None  # noqa: S101 - tells mypy
        _load(deca.detail_encoder, start.deca.detail_encoder.state_dict(), start)
        _load(deca.detail_decoder, start.deca.detail_decoder.state_dict(), start)


def _rows(values: Tensor, layout: Layout, fresh: Tensor, wanted: Layout) -> Tensor:
    """Rows of the last layer [outputs, ...] in another order; rows for answers that were not there stay fresh."""
    have = dict(zip((name for name, _ in layout), values.split([size for _, size in layout]), strict=True))
    parts = fresh.split([size for _, size in wanted])
    return torch.cat([have.get(name, part) for (name, _), part in zip(wanted, parts, strict=True)])


def _load(network: nn.Module, state: dict[str, Tensor], start: Pack) -> None:
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise ModelError(
            f"The networks of {start.folder} do not fit the settings ({str(error).splitlines()[-1].strip()}). "
            "Choose the same head and sizes, or start with fresh networks."
        ) from error


def _origin(settings: TrainSettings, start: Pack | None) -> dict[str, Any]:
    if start is None:
        return {"start": settings.model.imagenet or "random"}
    earlier = start.manifest.provenance
    found = {"start": str(settings.pretrained_modelpath), "start_stage": earlier.get("stage", "unknown")}
    if "steps" in earlier:
        found["start_steps"] = earlier["steps"]
    return found
