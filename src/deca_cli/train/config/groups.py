"""Which dataclass a name in a YAML file belongs to, and which official names change nothing here."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

Path = tuple[str, ...]  # attributes from the settings down to a value

# These dataclasses share one group in the file.
MERGED: Mapping[Path, Path] = {
    ("loss", "coarse"): ("loss",),
    ("loss", "detail"): ("loss",),
    ("loss", "range"): ("loss",),
}

_FILES = "the files come with the head; choose it with model.head"
_FOLDERS = "the folders inside a run have fixed names"
_FIXED = "it is always so here"
_UNUSED = "the official program does not use it either"

# Official names without a setting here -> why they change nothing.
WITHOUT_EFFECT: Mapping[str, str] = {
    "device": "use --device",
    "device_id": "use CUDA_VISIBLE_DEVICES",
    "cfg_file": "use --config",
    "mode": _UNUSED,
    "deca_dir": _FILES,
    "rasterizer_type": "the rasteriser follows the device",
    **dict.fromkeys(
        (
            "model.topology_path", "model.dense_template_path", "model.fixed_displacement_path", "model.flame_model_path",
            "model.flame_lmk_embedding_path", "model.face_mask_path", "model.face_eye_mask_path", "model.mean_tex_path",
            "model.tex_path", "model.tex_type",
        ),
        _FILES,
    ),
    **dict.fromkeys(("model.n_pose", "model.n_cam", "model.param_list", "model.extract_tex"), _FIXED),
    **dict.fromkeys(("train.log_dir", "train.vis_dir", "train.val_vis_dir"), _FOLDERS),
    "train.eval_steps": "measure with `deca evaluate now` when the stage is done",
    "dataset.test_data": _UNUSED,
    **dict.fromkeys(
        ("loss.id_shape_only", "loss.reg_jaw_pose", "loss.use_gender_prior", "loss.useConstraint"), _UNUSED
    ),
}  # fmt: skip


def places(settings: object) -> dict[str, Path]:
    """Where every value lies: name in the file (`group.name`) -> attributes that lead to it, in the order of the file."""
    found: dict[str, Path] = {}

    def walk(owner: Any, path: Path) -> None:  # noqa: ANN401 - any of the dataclasses
        group = MERGED.get(path, path)
        for entry in fields(owner):
            value = getattr(owner, entry.name)
            if is_dataclass(value):
                walk(value, (*path, entry.name))
            else:
                found[".".join((*group, entry.name))] = (*path, entry.name)

    walk(settings, ())
    return found


def value_at(settings: object, path: Path) -> Any:  # noqa: ANN401 - any setting
    """The value at the end of the attributes."""
    for name in path:
        settings = getattr(settings, name)
    return settings
