"""Images per second of the stages pretrain, coarse and detail through the command line, on 1, 2, 4 ... GPUs.

    python benchmarks/stage_speed.py SET OUT.json --gpus 1 2 4 --seconds 25

SET is a dataset (`deca train render-set SET --people 400 --photos 6`). The networks of the identity and ID-MRF terms get
random weights, which cost as much time as real ones. The batch grows with the number of GPUs.
"""

from __future__ import annotations

import argparse
import json
import os
import pickle
import subprocess
import sys
import tempfile
import time
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
WARM_LINES = 3  # of the log; kernels are compiled and chosen before


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
    parser.add_argument("--seconds", type=float, default=25.0)
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
        first: dict[str, Path] = {}
        for gpus in arguments.gpus:
            for factor in arguments.factors:
                for stage in arguments.stages:
                    start = first.get({"coarse": "pretrain", "detail": "coarse"}.get(stage, ""))
                    run = work / f"{stage}_{gpus}_{factor}"
                    found.append(measure(arguments, work, run, stage, gpus, factor, start))
                    first.setdefault(stage, run)
                    print(json.dumps(found[-1]), flush=True)
                    arguments.out.write_text(json.dumps(found, indent=1))


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


def measure(
    arguments: argparse.Namespace,
    work: Path,
    run: Path,
    stage: str,
    gpus: int,
    factor: int,
    start: Path | None,
) -> dict[str, Any]:
    """One run of a stage; images per second after the warm-up, and the largest memory if it was told."""
    people, pictures = SHAPE[stage]
    settings = [
        f"dataset.batch_size={people * factor * gpus}", f"dataset.K={pictures}", f"dataset.num_workers={arguments.workers}",
        f"dataset.image_size={arguments.size}", "train.val_steps=0", "train.vis_steps=0", "train.log_steps=10",
        "train.checkpoint_steps=1000000", "train.write_summary=false", *arguments.set,
    ]  # fmt: skip
    if start is None:
        settings.append(f"model.backbone={arguments.backbone}")
    options = [part for text in settings for part in ("--set", text)]
    options += ["--init", str(start)] if start is not None else []
    program = ["-m", "deca_cli"]
    if gpus > 1:
        program = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(gpus), *program]
    program += ["train", stage, str(arguments.data), "-o", str(run), "--device", arguments.device]
    paths = [str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(path for path in paths if path),
        "DECA_HOME": str(work / "home"),
        "OMP_NUM_THREADS": "4",
    }
    began = time.monotonic()
    minutes = ["--minutes", str(arguments.seconds / 60)]
    done = subprocess.run(  # noqa: S603
        [sys.executable, *program, *minutes, *options],
        env=environment,
        check=False,
        capture_output=True,
        text=True,
    )
    about = {"stage": stage, "gpus": gpus, "images_per_step": people * pictures * factor * gpus}
    if done.returncode:
        return about | {"error": done.stderr[-600:]}
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    rates = sorted(line["images_per_s"] for line in lines[WARM_LINES:]) or [lines[-1]["images_per_s"]]
    return about | {
        "images_per_s": rates[len(rates) // 2],
        "lines": len(rates),
        "gpu_memory_gib": lines[-1].get("gpu_memory_gib"),
        "wall_seconds": round(time.monotonic() - began, 1),
    }


if __name__ == "__main__":
    main()
