"""Load and save model packs: a folder with a manifest, one head file and one safetensors file per network."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from deca_cli.errors import ModelError, OutputError
from deca_cli.heads.albedo import Albedo
from deca_cli.heads.assets import AlbedoAssets, HeadAssets, load_head
from deca_cli.heads.model import HeadModel
from deca_cli.networks.deca import Deca
from deca_cli.networks.detail_decoder import DetailDecoder
from deca_cli.networks.encoder import Encoder
from deca_cli.networks.layout import layout_width
from deca_cli.packs.folders import pack_folder
from deca_cli.packs.manifest import FILE_NAME, Manifest, manifest_text, read_manifest
from deca_cli.packs.weights import load_weights, save_weights

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

ENCODER = "encoder"
DETAIL_ENCODER = "detail_encoder"
DETAIL_DECODER = "detail_decoder"


@dataclass(frozen=True, eq=False)
class Pack:
    """A loaded model pack."""

    manifest: Manifest
    deca: Deca
    """In evaluation mode, on the device asked for, without gradients."""
    assets: HeadAssets
    """The head as plain arrays, for writers and renderers."""
    folder: Path

    @property
    def has_detail(self) -> bool:
        """Whether heads of this pack get a displacement."""
        return self.manifest.has_detail


def load_pack(name_or_path: str | Path, device: torch.device | str = "cpu") -> Pack:
    """Load a pack strictly: every tensor must be there and have the right shape.

    Args:
        name_or_path: `open` (bundled), `deca` (in the user's cache), or the path of a pack's folder.
        device: Where the networks go.

    Raises:
        ModelError: The pack or a file of it is missing, damaged or does not fit; the message names the part.
    """
    folder = pack_folder(name_or_path)
    manifest = read_manifest(folder / FILE_NAME)
    assets, albedo = load_head(folder / manifest.head)
    _check_head_fits(manifest, assets, albedo, folder)
    with torch.device("meta"):  # no random start values: they would cost more than the loading
        networks = build_networks(manifest)
    for name, network in networks.items():
        load_weights(network, folder / f"{name}.safetensors")
    deca = Deca(
        head=HeadModel(assets),
        albedo=None if albedo is None else Albedo(albedo),
        layout=manifest.layout,
        sizes=manifest.sizes,
        preprocessing=manifest.preprocessing,
        expression_range=manifest.expression_range,
        **networks,  # type: ignore[arg-type]
    )
    return Pack(manifest, deca.eval().requires_grad_(False).to(device), assets, folder)


def build_networks(manifest: Manifest) -> dict[str, torch.nn.Module]:
    """The networks by file name, which is also their name in `Deca`."""
    sizes = manifest.sizes
    networks: dict[str, torch.nn.Module] = {
        ENCODER: Encoder(manifest.backbone, layout_width(manifest.layout), manifest.hidden)
    }
    if manifest.detail_backbone is not None:
        networks[DETAIL_ENCODER] = Encoder(manifest.detail_backbone, sizes.detail, manifest.detail_hidden)
    if manifest.has_detail:
        networks[DETAIL_DECODER] = DetailDecoder(
            sizes.expression, sizes.detail, manifest.detail_norm_eps, manifest.detail_limit_m
        )
    return networks


def _check_head_fits(
    manifest: Manifest, assets: HeadAssets, albedo: AlbedoAssets | None, folder: Path
) -> None:
    have = {"shape": assets.shape_basis.shape[2], "expression": assets.expression_basis.shape[2]}
    if albedo is not None and manifest.sizes.albedo > 0:  # a head may hold colours that no encoder answers
        have["albedo"] = albedo.basis.shape[3]
    for name, size in have.items():
        expected = getattr(manifest.sizes, name)
        if size != expected:
            raise ModelError(
                f"The head of the pack {folder} has {size} {name} components, but its manifest says {expected}: "
                "the files belong to different packs; get the pack again."
            )


def save_pack(
    folder: Path,
    manifest: Manifest,
    head_file: Path,
    networks: Mapping[str, Mapping[str, Tensor]],
    *,
    dtype: torch.dtype = torch.float16,
    extras: Sequence[Path] = (),
) -> Path:
    """Write a pack in one step: a whole new folder takes the place of an older one.

    Files of an older pack that this one does not have (notes, licences) stay.

    Args:
        folder: Destination; must not exist, or be empty, or hold a pack.
        manifest: What to write beside the weights.
        head_file: A head written by `save_head`; copied byte for byte.
        networks: State dicts by name: `encoder`, and with detail `detail_decoder`, maybe `detail_encoder`.
        dtype: Type of matrices and kernels on disk; vectors (biases, normalisation) always stay float32.
        extras: Further files of the pack, such as `detail_mesh.npz`; copied byte for byte.

    Raises:
        OutputError: The folder cannot be written, or holds something else.
    """
    folder = Path(folder)
    if folder.exists() and any(folder.iterdir()) and not (folder / FILE_NAME).is_file():
        raise OutputError(f"Cannot save a model pack to {folder}: it holds other files. Choose a new folder.")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as temporary:
            new, old = Path(temporary, "new"), Path(temporary, "old")
            new.mkdir()
            shutil.copyfile(head_file, new / manifest.head)
            for extra in extras:
                shutil.copyfile(extra, new / extra.name)
            for name, state in networks.items():
                save_weights(state, new / f"{name}.safetensors", dtype)
            (new / FILE_NAME).write_text(manifest_text(manifest), encoding="utf-8")
            _carry_over(folder, new)
            _swap(new, folder, old)
    except OSError as error:
        raise OutputError(
            f"Cannot save the model pack to {folder}: {error}. Choose another folder."
        ) from error
    return folder


def _swap(new: Path, folder: Path, old: Path) -> None:
    """Put `new` in the place of `folder`; if that fails, the old one comes back."""
    if not folder.exists():
        new.rename(folder)
        return
    folder.rename(old)
    try:
        new.rename(folder)
    except OSError:
        old.rename(folder)
        raise


def _carry_over(folder: Path, new: Path) -> None:
    """Copy notes and licences of the older pack, but none of its weights."""
    for file in folder.glob("*") if folder.is_dir() else ():
        if file.is_file() and file.suffix not in (".safetensors", ".npz") and not (new / file.name).exists():
            shutil.copy2(file, new / file.name)
