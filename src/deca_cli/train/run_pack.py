"""The model pack that a run of the stages leaves."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from deca_cli import __version__
from deca_cli.packs.store import save_pack
from deca_cli.train.config.write import flat_settings

if TYPE_CHECKING:
    from pathlib import Path

    from deca_cli.train.config.settings import TrainSettings
    from deca_cli.train.models import Trainee

PACK = "pack"


def write_run_pack(
    run: Path, trainee: Trainee, settings: TrainSettings, values: dict[str, Any], accuracy: dict[str, float]
) -> Path:
    """Save the networks as they are now; in float32, so that the next stage goes on without rounding.

    Args:
        run: folder of the run.
        trainee: its model.
        settings: of the run.
        values: what else is worth knowing: start, steps, pictures seen, minutes.
        accuracy: what was measured of just these weights; empty if nothing was.

    Raises:
        OutputError: it cannot be written.
    """
    for left_over in run.glob(f".{PACK}.*"):  # of a process that was killed while it saved
        shutil.rmtree(left_over, ignore_errors=True)
    manifest = replace(
        trainee.manifest,
        name=run.name,
        provenance={
            "stage": settings.stage,
            "version": __version__,
            **values,
            "settings": json.dumps(flat_settings(settings)),
        },
        accuracy=accuracy,
    )
    networks = {name: network.state_dict() for name, network in trainee.networks().items()}
    return save_pack(run / PACK, manifest, trainee.head_file, networks, dtype=torch.float32)
