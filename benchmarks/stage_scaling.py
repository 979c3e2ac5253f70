"""Training steps of the stages on one GPU and on several together, without data loading; steps are recorded.

    python benchmarks/stage_scaling.py OUT.json --gpus 2

Every GPU first trains alone, all at once; then they train together, as `torchrun` does it: each keeps its batch. `own_norm` normalises
over the batch of each GPU, and sends gradients during the backward pass. Lines are printed as they are measured.
"""

from __future__ import annotations

import argparse
import faulthandler
import gc
import json
import os
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from deca_cli.train.config.build import load_settings
from deca_cli.train.data.batch import PersonBatch
from deca_cli.train.models import build_model
from deca_cli.train.processes import Process, joined_processes
from deca_cli.train.stages import make_stage
from deca_cli.train.training_step import TrainingStep
from stage_speed import SHAPE, STAGES, environment, make_loss_networks

if TYPE_CHECKING:
    from collections.abc import Callable

VARIANTS: dict[str, list[str]] = {
    "alone": [],
    "together": [],
    "own_norm": ["train.sync_batch_norm=false"],
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path)
    parser.add_argument("--gpus", type=int, default=2)
    parser.add_argument("--stages", nargs="+", default=list(STAGES), choices=STAGES)
    parser.add_argument("--variants", nargs="+", default=list(VARIANTS), choices=VARIANTS)
    parser.add_argument("--factor", type=int, default=1, help="times the official batch on each GPU")
    parser.add_argument("--people", type=int, help="on each GPU, in place of the official number")
    parser.add_argument("--seconds", type=float, default=1.5, help="of each measurement")
    parser.add_argument("--limit", type=float, default=300.0, help="seconds after which all is given up")
    parser.add_argument("--warm", type=int, default=10, help="steps before: the 5th is recorded")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--backbone", default="resnet50")
    parser.add_argument("--device", default="cuda")
    arguments = parser.parse_args()
    if "RANK" in os.environ:
        faulthandler.dump_traceback_later(
            arguments.limit, exit=True
        )  # processes may wait for each other for ever
        with joined_processes(arguments.device) as process:
            measure_all(arguments, process)
        return
    start = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(arguments.gpus)]
    with tempfile.TemporaryDirectory() as temporary:
        if arguments.stages != ["pretrain"]:
            make_loss_networks(Path(temporary) / "home" / "files")
        subprocess.run(  # noqa: S603
            [sys.executable, *start, *sys.argv],
            env=environment(Path(temporary)),
            check=True,
        )


def measure_all(arguments: argparse.Namespace, process: Process) -> None:
    """Every variant of every stage; the first process tells."""
    found: list[dict[str, Any]] = []
    for stage in arguments.stages:
        rates: dict[str, float] = {}
        for variant in arguments.variants:
            row = measure(arguments, process, stage, variant)
            rates[variant] = row["images_per_s"]
            if "alone" in rates:
                row["scaling"] = round(row["images_per_s"] / rates["alone"], 3)
            found.append(row)
            if process.first:
                sys.stdout.write(json.dumps(row) + "\n")
                sys.stdout.flush()
                arguments.out.write_text(json.dumps(found, indent=1))


def measure(arguments: argparse.Namespace, process: Process, stage: str, variant: str) -> dict[str, Any]:
    """Images per second: of one GPU for `alone`, else of all together."""
    people, pictures = arguments.people or SHAPE[stage][0] * arguments.factor, SHAPE[stage][1]
    options = [
        f"model.backbone={arguments.backbone}", f"dataset.image_size={arguments.size}", *VARIANTS[variant]
    ]  # fmt: skip
    trainee, settings = build_model(load_settings(stage, options=options))
    one = Process(0, 1, process.device) if variant == "alone" else process
    ready = make_stage(trainee, settings, one)
    step = TrainingStep(ready, settings.train, one, tell)
    ready.set_training(on=True)
    batch = random_batch(people, pictures, arguments.size, process)
    ms = ms_per_step(partial(step, batch=batch, done=0.0, shows=False), process, arguments)
    step.close()
    del step, ready, trainee
    gc.collect()
    return {
        "stage": stage, "variant": variant, "gpus": one.world, "images_per_gpu": people * pictures,
        "ms_per_step": round(ms, 3), "images_per_s": round(1e3 * people * pictures * one.world / ms, 1),
    }  # fmt: skip


def tell(sentence: str) -> None:
    sys.stderr.write(sentence + "\n")


def ms_per_step(step: Callable[[int], object], process: Process, arguments: argparse.Namespace) -> float:
    """Mean over so many seconds, about, in the slowest process; all begin together."""

    def now() -> float:
        if process.device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()

    def spent(first: int, count: int) -> float:
        process.agree(0.0)
        began = now()
        for number in range(first, first + count):
            step(number)
        return now() - began

    warm = arguments.warm
    spent(0, warm)
    count = max(int(process.agree(arguments.seconds * warm / spent(warm, warm))), 2)
    mine = spent(2 * warm, count)
    return 1e3 * max(process.gather(int(1e6 * mine))) / 1e6 / count


def random_batch(people: int, pictures: int, size: int, process: Process) -> PersonBatch:
    """Noise with landmarks in the picture."""
    draws = torch.Generator().manual_seed(process.rank)
    landmarks = torch.rand(people, pictures, 68, 3, generator=draws) - 0.5
    landmarks[..., 2] = 1
    images = torch.rand(people, pictures, 3, size, size, generator=draws)
    masks = torch.ones(people, pictures, size, size)
    images, landmarks, masks = (one.to(process.device) for one in (images, landmarks, masks))
    return PersonBatch(images, landmarks, masks, ("",) * (people * pictures))


if __name__ == "__main__":
    main()
