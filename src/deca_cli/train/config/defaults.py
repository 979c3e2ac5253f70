"""The three stages as published: official values of the configuration files, with their mistakes mended (spec 8.1)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from deca_cli.train.config.settings import COARSE, DETAIL, PRETRAIN, TrainSettings

if TYPE_CHECKING:
    from collections.abc import Mapping

_STEPS: Mapping[str, Any] = {
    "log_steps": 10,
    "vis_steps": 500,
    "checkpoint_steps": 1000,
    "val_steps": 500,
    "max_epochs": 10,
}

# The official detail file means 6 x 3, but its second `dataset` block makes its program train with 2 x 4.
PUBLISHED: Mapping[str, Mapping[str, Mapping[str, Any]]] = {
    PRETRAIN: {
        "dataset": {"batch_size": 64, "K": 1},
        "coarse": {
            "photo": 0.0,
            "id": 0.0,
            "useSeg": False,
            "reg_tex": 0.0,
            "reg_light": 0.0,
            "shape_consistency": False,
        },
        "train": {**_STEPS, "max_steps": 100_000},
    },
    COARSE: {
        "dataset": {"batch_size": 8, "K": 2},
        "coarse": {},
        "train": {**_STEPS, "max_steps": 200_000},
    },
    DETAIL: {
        "dataset": {"batch_size": 6, "K": 3, "training_data": ("vggface2", "vox2")},
        "coarse": {},
        "train": {**_STEPS, "max_steps": 1_000_000, "train_detail": True},
    },
}


def stage_defaults(stage: str) -> TrainSettings:
    """What a stage does when nothing else is said.

    Raises:
        UsageError: an unknown stage.
    """
    plain = TrainSettings(stage)
    published = PUBLISHED[stage]
    return replace(
        plain,
        dataset=replace(plain.dataset, **published["dataset"]),
        loss=replace(plain.loss, coarse=replace(plain.loss.coarse, **published["coarse"])),
        train=replace(plain.train, **published["train"]),
    )
