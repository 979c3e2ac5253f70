"""Train pretrain, coarse and detail from scratch on a rendered set through the command line, and measure each stage.

    python benchmarks/learning_run.py OUT --device cuda

OUT gets `learning_run.json` (numbers before and after each stage on held-out people), `learning_run.png` (curves), and of each
stage the log and the last sheet of pictures; the runs themselves stay in --work. With --limit the whole takes no more seconds
than that: stages become shorter, and one that would still be too long is asked to stop. What a stage has logged is kept if
it, or a later one, fails.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT = Path(__file__).resolve().parents[1]
STAGES = ("pretrain", "coarse", "detail")
START = 15  # seconds that a stage takes beside its training, about
END = 12  # seconds that a stage may take to end when it is asked to

# Regularisers and the symmetry term are sums over the batch (specification, K14) and, the last, over 65,536 texels, while the
# other terms are means: what is published for 8 x 2 pictures would here, with hundreds, keep heads at the mean and surfaces
# flat. Expressions cost more than shape (their codes are ten times smaller), or they explain what people look like.
SETTINGS: dict[str, list[str]] = {
    "all": [
        "train.schedule=cosine", "train.clip=5", "train.warmup_steps=50", "train.ema=0.995", "train.optimizer=adamw",
        "train.weight_decay=0.01", "train.log_steps=25", "train.val_people=96", "train.checkpoint_steps=100000",
        "train.write_summary=false", "dataset.trans_scale=0.05",
    ],
    "pretrain": [
        "model.hidden=0", "dataset.batch_size={pretrain}", "dataset.K=4", "loss.shape_consistency=true", "train.lr=1.5e-3",
        "train.shape_rate=20", "loss.reg_shape=3e-6", "loss.reg_exp=4e-6", "train.val_steps=400", "train.vis_steps=600",
    ],
    "coarse": [
        "dataset.batch_size={coarse}", "dataset.K=4", "train.lr=7e-4", "train.shape_rate=20", "loss.lmk=2",
        "loss.reg_shape=5e-6", "loss.reg_exp=8e-6", "loss.reg_tex=1e-6", "loss.reg_light=0.1", "train.val_steps=400",
        "train.vis_steps=600",
    ],
    "detail": [
        "dataset.batch_size={detail}", "dataset.K=3", "train.lr=7e-4", "loss.reg_sym=2e-6", "loss.reg_diff=0",
        "loss.reg_z=0.001", "train.val_steps=200", "train.vis_steps=200",
    ],
}  # fmt: skip


def main() -> None:
    started = time.monotonic()
    arguments = parse()
    work = arguments.work or arguments.out / "work"
    arguments.out.mkdir(parents=True, exist_ok=True)
    report: dict[str, Any] = {"options": {k: str(v) for k, v in vars(arguments).items()}, "stages": {}}
    data = arguments.data or work / "set"
    if not (data / "dataset.json").is_file():
        report["render_seconds"] = render(arguments, data)
    previous, failed = None, ""
    for number, stage in enumerate(STAGES):
        run = work / stage
        left = arguments.limit - (time.monotonic() - started)
        minutes = fitting(arguments.minutes[number:], left)
        begun = time.monotonic()
        try:
            train(arguments, stage, minutes, data, run, previous, left - END * (len(STAGES) - 1 - number))
        except subprocess.CalledProcessError as error:
            failed = f"{stage}: {error}"
        if (run / "log.jsonl").is_file():
            report["stages"][stage] = summary(run) | {"wall_seconds": round(time.monotonic() - begun, 1)}
            keep(run, stage, arguments.out)
            print(stage, json.dumps(report["stages"][stage]), flush=True)
        report["wall_seconds"] = round(time.monotonic() - started, 1)
        (arguments.out / "learning_run.json").write_text(json.dumps(report, indent=1))
        previous = run
        if failed:
            break
    draw(work, arguments.out / "learning_run.png")
    if failed:
        sys.exit(failed)


def fitting(minutes: Sequence[float], left: float) -> float:
    """Minutes of the first of these stages, so that all of them and their starts fit into the seconds that are left."""
    wanted = 60 * sum(minutes)
    share = min((left - START * len(minutes)) / wanted, 1.0)
    return round(max(minutes[0] * share, 0.05), 3)


def keep(run: Path, stage: str, out: Path) -> None:
    """Copy log and last pictures."""
    shutil.copy(run / "log.jsonl", out / f"{stage}.jsonl")
    pictures = sorted((run / "train_images").glob("*.jpg"))
    if pictures:
        shutil.copy(pictures[-1], out / f"{stage}.jpg")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path)
    parser.add_argument("--work", type=Path, help="where set and runs go; OUT/work if left out")
    parser.add_argument("--data", type=Path, help="a set that exists already")
    parser.add_argument("--minutes", type=float, nargs=3, default=(3.0, 3.0, 2.0), metavar=STAGES)
    parser.add_argument("--limit", type=float, default=900.0, help="seconds of the whole")
    parser.add_argument("--people", type=int, default=3000)
    parser.add_argument("--photos", type=int, default=6)
    parser.add_argument("--size", type=int, default=112)
    parser.add_argument(
        "--hard", action="store_true", help="covered, noisy pictures, and wrinkles as they are"
    )
    parser.add_argument("--wrinkles", type=float, default=3.0, help="how deep they are, as a factor")
    parser.add_argument("--backbone", default="resnet18")
    parser.add_argument(
        "--batch", type=int, nargs=3, default=(64, 32, 16), metavar=STAGES, help="people in a step"
    )
    parser.add_argument("--workers", type=int, default=min(os.cpu_count() or 1, 14))
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--processes", type=int, default=1, help="GPUs")
    parser.add_argument("--set", action="append", default=[], help="further settings of all stages")
    return parser.parse_args()


def render(arguments: argparse.Namespace, data: Path) -> float:
    """Seconds that rendering the set took."""
    start = time.monotonic()
    options = ["--people", arguments.people, "--photos", arguments.photos, "--size", arguments.size]
    if not arguments.hard:
        options += ["--clean", "--plain", "--yaw", 45, "--wrinkles", arguments.wrinkles]
    call("train", "render-set", data, *options, "--device", arguments.device)
    return round(time.monotonic() - start, 1)


def train(
    arguments: argparse.Namespace,
    stage: str,
    minutes: float,
    data: Path,
    run: Path,
    previous: Path | None,
    seconds: float,
) -> None:
    """Run a stage, within so many seconds.

    Raises:
        subprocess.CalledProcessError: it failed.
    """
    batch = dict(zip(STAGES, arguments.batch, strict=True))
    settings = [text.format(**batch) for text in SETTINGS["all"] + SETTINGS[stage]]
    settings.append(f"dataset.num_workers={arguments.workers // arguments.processes}")
    if previous is None:
        settings += [f"model.backbone={arguments.backbone}", f"dataset.image_size={arguments.size}"]
    options = [part for text in settings + arguments.set for part in ("--set", text)]
    if previous is not None:
        options += ["--init", previous]
    without = {"pretrain": [], "coarse": ["--without", "identity"], "detail": ["--without", "mrf"]}[stage]
    call(
        "train", stage, data, "-o", run, "--minutes", minutes, "--device", arguments.device, *options, *without,
        processes=arguments.processes, seconds=seconds,
    )  # fmt: skip


def call(*words: object, processes: int = 1, seconds: float | None = None) -> None:
    """Run the program; after so many seconds it is asked to stop, and END seconds later it is stopped.

    Raises:
        subprocess.CalledProcessError: it failed.
    """
    program = ["-m", "deca_cli"]
    if processes > 1:
        launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
        program = [*launcher, *program]
    paths = [str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in paths if path)}
    command = [sys.executable, *program, *map(str, words)]
    with subprocess.Popen(command, env=environment) as running:  # noqa: S603
        try:
            code = running.wait(None if seconds is None else max(seconds - END, 1))
        except subprocess.TimeoutExpired:
            running.terminate()  # it validates and saves before it ends
            try:
                running.wait(END)
            except subprocess.TimeoutExpired:
                running.kill()
            code = 0  # what it has logged is judged, not how it ended
    if code:
        raise subprocess.CalledProcessError(code, " ".join(command[:5]))


def read(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


def summary(run: Path) -> dict[str, Any]:
    """Held-out numbers before and after, speed, and the first and last training losses."""
    lines = read(run)
    validated = [line for line in lines if line["kind"] == "validation"]
    trained = [line for line in lines if line["kind"] == "train"]
    if not trained:
        return {"steps": 0, "before": validated[0] if validated else {}, "after": {}}
    rates = sorted(line["images_per_s"] for line in trained[1:]) or [0.0]
    tail = max(len(trained) // 10, 1)
    return {
        "steps": trained[-1]["step"],
        "images_per_s": rates[len(rates) // 2],
        "before": validated[0] if validated else {},
        "after": validated[-1] if validated else {},
        "loss_first": mean(trained[:tail]),
        "loss_last": mean(trained[-tail:]),
    }


def mean(lines: list[dict[str, Any]]) -> dict[str, float]:
    names = [
        name
        for name in lines[0]
        if name not in ("kind", "step", "lr", "seconds", "images_per_s", "gpu_memory_gib")
    ]
    return {name: round(sum(line[name] for line in lines) / len(lines), 5) for name in names}


def draw(work: Path, path: Path) -> None:
    """Curves over all stages: held-out people, and dashed those of the training set."""
    from matplotlib.figure import Figure

    names = {
        "nme_percent": "landmark error, % of the face",
        "shape_scaled_mm": "shape error after scaling, mm",
        "photometric": "photometric error",
        "detail_photometric": "photometric error in UV",
        "normal_degrees": "normals against the truth, degrees",
    }
    nothing = {  # what it is compared with
        "shape_scaled_mm": ("mean_head_scaled_mm", "mean head"),
        "detail_photometric": ("flat_photometric", "no displacement"),
        "normal_degrees": ("flat_normal_degrees", "no displacement"),
    }
    logs = {stage: read(work / stage) for stage in STAGES if (work / stage / "log.jsonl").is_file()}
    measured = {
        name for log in logs.values() for line in log if line["kind"] == "validation" for name in line
    }
    names = {name: title for name, title in names.items() if name in measured}
    if not names:
        return
    figure = Figure(figsize=(3.2 * len(names), 3.2), layout="constrained")
    for axes, (name, title) in zip(
        figure.subplots(1, len(names), squeeze=False)[0], names.items(), strict=True
    ):
        start = 0.0
        for colour, (stage, log) in enumerate(logs.items()):
            lines = [line for line in log if line["kind"] == "validation" and name in line]
            times = [start + line["seconds"] / 60 for line in lines]
            if lines:
                axes.plot(times, [line[name] for line in lines], f"C{colour}.-", label=stage)
                seen = [line.get(f"train_{name}", float("nan")) for line in lines]
                axes.plot(times, seen, f"C{colour}--", linewidth=0.8)
            if lines and name in nothing:
                other, label = nothing[name]
                shown = label in axes.get_legend_handles_labels()[1]
                values = [line[other] for line in lines]
                axes.plot(times, values, linestyle=":", color="grey", label=None if shown else label)
            start += max((line.get("seconds", 0.0) for line in log), default=0.0) / 60
        axes.set_title(title, fontsize=9)
        axes.set_xlabel("minutes of training", fontsize=8)
        if axes.get_legend_handles_labels()[1]:
            axes.legend(fontsize=7)
    figure.savefig(path, dpi=130)


if __name__ == "__main__":
    main()
