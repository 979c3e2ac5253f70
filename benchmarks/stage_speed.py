"""Images per second of the stages pretrain, coarse and detail through the whole training loop, on 1, 2, 4 ... GPUs.

    python benchmarks/stage_speed.py SET OUT.json --gpus 1 2 4

SET is a dataset (`deca train render-set SET --people 400 --photos 6`). Each run trains with real loading and then, in the same
process, on one batch that stays on the GPU: the quotient of the two rates is the share of the time in which loading leaves the GPU
something to do. The networks of the identity and ID-MRF terms get random weights, which cost as much time as real ones. The batch
grows with the number of GPUs. Lines are printed as they are measured; what fails or takes too long is told, and the rest goes on.
"""

from __future__ import annotations

import argparse
import json
import os
import pickle
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "src"))

STAGES = ("pretrain", "coarse", "detail")
SHAPE = {
    "pretrain": (64, 1),
    "coarse": (8, 2),
    "detail": (6, 3),
}  # official people and pictures of each in a step


@dataclass(frozen=True)
class Case:
    """What one run measures."""

    stage: str
    gpus: int
    factor: int

    @property
    def images_per_step(self) -> int:
        """Of all processes together."""
        people, pictures = SHAPE[self.stage]
        return people * pictures * self.factor * self.gpus


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--gpus", type=int, nargs="+", default=[1])
    parser.add_argument("--stages", nargs="+", default=list(STAGES), choices=STAGES)
    parser.add_argument(
        "--factors", type=int, nargs="+", default=[1], help="times the official batch on each GPU"
    )
    parser.add_argument("--seconds", type=float, default=8.0, help="of each of the two measured parts")
    parser.add_argument("--limit", type=float, default=90.0, help="seconds after which a run is given up")
    parser.add_argument("--warm", type=int, default=40, help="steps before anything is measured")
    parser.add_argument("--probe", type=int, default=20, help="steps from which those of a part are guessed")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--backbone", default="resnet50")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--workers", type=int, default=14, help="processes that decode, for each GPU")
    parser.add_argument("--set", action="append", default=[], help="further settings")
    arguments = parser.parse_args()
    found: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        make_loss_networks(work / "home" / "files")
        for stage in arguments.stages:
            for factor in arguments.factors:
                for gpus in arguments.gpus:
                    found.append(measure(arguments, work, Case(stage, gpus, factor)))
                    print(json.dumps(found[-1]), flush=True)
                    arguments.out.write_text(json.dumps(found, indent=1))
    print(table(found))


def make_loss_networks(folder: Path) -> None:
    """Files of the identity and the ID-MRF network with random weights, where the program looks for them."""
    from deca_cli.assets.catalogue import IDENTITY, VGG19
    from deca_cli.assets.loss_networks import VGGFACE2_PEOPLE, _vgg19_shapes
    from deca_cli.networks.resnet import ResNet

    folder.mkdir(parents=True)
    torch.manual_seed(0)
    recognition = dict(ResNet("resnet50").state_dict())
    recognition |= {"fc.weight": torch.zeros(VGGFACE2_PEOPLE, 2048), "fc.bias": torch.zeros(VGGFACE2_PEOPLE)}
    arrays = {name: tensor.numpy() for name, tensor in recognition.items()}
    (folder / IDENTITY.file).write_bytes(pickle.dumps(arrays, protocol=2))
    features = {name: 0.03 * torch.randn(tensor.shape) for name, tensor in _vgg19_shapes().items()}
    torch.save(features, folder / VGG19.file)


def measure(arguments: argparse.Namespace, work: Path, case: Case) -> dict[str, Any]:
    """One run of a stage; what it told before it ended or was given up."""
    began = time.monotonic()
    process = subprocess.Popen(  # noqa: S603
        command(arguments, work, case),
        env=environment(work),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    errors: deque[str] = deque(maxlen=12)
    collector = threading.Thread(target=lambda: errors.extend(process.stderr or ()), daemon=True)
    collector.start()
    limit = threading.Timer(arguments.limit, process.terminate)
    limit.start()
    told: dict[str, dict[str, Any]] = {}
    for line in process.stdout or ():
        if line.startswith("{"):
            part = json.loads(line)
            told[part["part"]] = part
            print(f"  {case.stage} on {case.gpus}: {line.strip()}", flush=True)
    code = process.wait()
    limit.cancel()
    collector.join(1.0)
    about: dict[str, Any] = {"stage": case.stage, "gpus": case.gpus, "images_per_step": case.images_per_step}
    about |= {"settings": arguments.set, "wall_seconds": round(time.monotonic() - began, 1), **told}
    if {"loading", "resident"} <= told.keys():
        about["busy"] = round(told["loading"]["images_per_s"] / told["resident"]["images_per_s"], 3)
    return about | ({"error": "".join(errors)[-900:], "code": code} if code else {})


def command(arguments: argparse.Namespace, work: Path, case: Case) -> list[str]:
    people, pictures = SHAPE[case.stage]
    settings = [
        f"dataset.batch_size={people * case.factor * case.gpus}", f"dataset.K={pictures}",
        f"dataset.num_workers={arguments.workers}", f"dataset.image_size={arguments.size}",
        f"model.backbone={arguments.backbone}", "train.val_steps=0", "train.vis_steps=0", "train.log_steps=10",
        "train.checkpoint_steps=100000000", "train.max_steps=10000000", "train.write_summary=false", *arguments.set,
    ]  # fmt: skip
    start = [sys.executable]
    if case.gpus > 1:
        start += ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(case.gpus)]
    run = work / f"{case.stage}_{case.gpus}_{case.factor}"
    program = [str(ROOT / "benchmarks" / "stage_speed_run.py"), case.stage, str(arguments.data), str(run)]
    program += ["--device", arguments.device, "--seconds", str(arguments.seconds)]
    program += ["--warm", str(arguments.warm), "--probe", str(arguments.probe)]
    return start + program + [part for text in settings for part in ("--set", text)]


def environment(work: Path) -> dict[str, str]:
    paths = [str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]
    return os.environ | {
        "PYTHONPATH": os.pathsep.join(path for path in paths if path),
        "DECA_HOME": str(work / "home"),
        "OMP_NUM_THREADS": "2",
    }


def table(found: list[dict[str, Any]]) -> str:
    """Markdown; scaling is against the first run of the same stage and batch on a GPU."""
    lines = [
        "| stage | GPUs | images in a step | images/s | batch that stays, images/s | busy | scaling |",
        "|---|---|---|---|---|---|---|",
    ]
    firsts: dict[tuple[str, float], float] = {}
    for row in found:
        if "loading" not in row:
            continue
        rate = row["loading"]["images_per_s"]
        first = firsts.setdefault((row["stage"], row["images_per_step"] / row["gpus"]), rate)
        stays = row.get("resident", {}).get("images_per_s", "")
        lines.append(
            f"| {row['stage']} | {row['gpus']} | {row['images_per_step']} | {rate:.0f} | {stays} | {row.get('busy', '')} | "
            f"{rate / first:.2f} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
