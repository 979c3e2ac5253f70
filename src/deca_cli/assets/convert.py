"""Turn the official files into a model pack, once."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from deca_cli.assets.albedo_file import read_albedo
from deca_cli.assets.dense_template import read_dense_template
from deca_cli.assets.official import read_deca_checkpoint, read_flame_head
from deca_cli.errors import ModelError
from deca_cli.heads.assets import save_head
from deca_cli.networks.codes import CodeSizes
from deca_cli.networks.layout import DECA_LAYOUT
from deca_cli.networks.preprocessing import Preprocessing
from deca_cli.packs import detail_mesh
from deca_cli.packs.manifest import Manifest
from deca_cli.packs.store import DETAIL_DECODER, DETAIL_ENCODER, ENCODER, build_networks, save_pack
from deca_cli.packs.weights import check_state

if TYPE_CHECKING:
    from torch import Tensor

    from deca_cli.heads.assets import AlbedoAssets

CHECKPOINT_NAMES = {ENCODER: "E_flame", DETAIL_ENCODER: "E_detail", DETAIL_DECODER: "D_detail"}
HEAD_FILES = (
    "generic_model.pkl",
    "landmark_embedding.npy",
    "head_template.obj",
    "uv_face_eye_mask.png",
    "fixed_displacement_256.npy",
)
CHECKPOINT = "deca_model.tar"
DENSE_TEMPLATE = "texture_data_256.npy"  # optional
ALBEDO_FILES = ("FLAME_albedo_from_BFM.npz", "FLAME_texture.npz")  # optional, the first one found is used
LICENCE = (
    "FLAME and DECA: for non-commercial scientific research only, by their own licences "
    "(flame.is.tue.mpg.de, deca.is.tue.mpg.de); not to be passed on"
)
DECA_MANIFEST = Manifest(
    name="deca",
    licence=LICENCE,
    backbone="resnet50",
    hidden=1024,
    layout=DECA_LAYOUT,
    sizes=CodeSizes(),
    preprocessing=Preprocessing(),
    detail_backbone="resnet50",
    detail_hidden=1024,
    provenance={"source": "the official DECA release, converted from its files"},
)


def convert_official(folder: Path, destination: Path) -> Path:
    """Convert the official files into a model pack that `load_pack` reads.

    Args:
        folder: Holds `generic_model.pkl`, `landmark_embedding.npy`, `head_template.obj`, `uv_face_eye_mask.png`,
            `fixed_displacement_256.npy`, `deca_model.tar`, and if you have them `FLAME_albedo_from_BFM.npz` and
            `texture_data_256.npy`.
        destination: Folder of the pack; an older pack there is replaced.

    Returns:
        The pack's folder. Weights stay float32, so that results equal the official ones.

    Raises:
        ModelError: A file is missing, damaged or does not fit; the message names it.
        OutputError: The pack cannot be written.
    """
    missing = [name for name in (*HEAD_FILES, CHECKPOINT) if not (folder / name).is_file()]
    if missing:
        raise ModelError(f"{folder} lacks {', '.join(missing)}: put the official files there and try again.")
    networks = _read_networks(folder / CHECKPOINT)
    assets = read_flame_head(*(folder / name for name in HEAD_FILES))
    with tempfile.TemporaryDirectory() as temporary:
        head_file = Path(temporary, DECA_MANIFEST.head)
        save_head(head_file, assets, _albedo_if_there(folder))
        extras = _detail_mesh_if_there(folder, Path(temporary), len(assets.template_vertices))
        return save_pack(destination, DECA_MANIFEST, head_file, networks, dtype=torch.float32, extras=extras)


def _read_networks(path: Path) -> dict[str, dict[str, Tensor]]:
    """The state dicts by our names, checked against the networks they are for."""
    checkpoint = read_deca_checkpoint(path)
    with torch.device("meta"):
        expected = build_networks(DECA_MANIFEST)
    for ours, theirs in CHECKPOINT_NAMES.items():
        check_state(expected[ours].state_dict(), checkpoint[theirs], f"{path} ({theirs})")
    return {ours: checkpoint[theirs] for ours, theirs in CHECKPOINT_NAMES.items()}


def _detail_mesh_if_there(folder: Path, temporary: Path, vertices: int) -> tuple[Path, ...]:
    """The official order of the detail mesh as a file of the pack, if the release's file for it is here."""
    if not (folder / DENSE_TEMPLATE).is_file():
        return ()
    template = read_dense_template(folder / DENSE_TEMPLATE, vertices)
    path = temporary / detail_mesh.FILE_NAME
    np.savez_compressed(path, **{name: getattr(template, name) for name in detail_mesh.ARRAYS})
    return (path,)


def _albedo_if_there(folder: Path) -> AlbedoAssets | None:
    for name in ALBEDO_FILES:
        if (folder / name).is_file():
            return read_albedo(folder / name)
    return None
