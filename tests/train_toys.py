"""A stage, a loader and a loop so small that they can be run, cut and killed in milliseconds.

As a program: `python train_toys.py kill|share|apart FOLDER`; it imports torch once and does the rest in forks of itself.
"""

import json
import os
import random
import secrets
import signal
import sys
import time
from pathlib import Path

import torch
from torch import nn

from deca_cli.train import loop as loop_module
from deca_cli.train import run_log
from deca_cli.train.config.build import load_settings
from deca_cli.train.data.batch import PersonBatch
from deca_cli.train.loop import TrainingLoop
from deca_cli.train.objectives.settings import Step
from deca_cli.train.processes import Process, joined_processes
from deca_cli.train.progress import Watchers
from deca_cli.train.run import share_of_batch
from deca_cli.train.step_parts import step_seed

SIZE = 8
ALONE = Process(0, 1, torch.device("cpu"))


class ToyLoader:
    """Random pictures; person p of a step is the same whichever process shows it."""

    steps_per_pass = 10

    def __init__(self, settings, process) -> None:
        self.settings, self.process = settings, process
        self.problems = {}

    def batches(self, first_step=0):
        people, pictures = self.settings.batch_size, self.settings.K
        step = first_step
        while True:
            chance = torch.Generator().manual_seed(step_seed(0, step, -1))
            images = torch.rand(people * self.process.world, pictures, 3, SIZE, SIZE, generator=chance)
            images = images[people * self.process.rank :][:people]
            landmarks = images.mean((2, 3, 4))[..., None, None].expand(-1, -1, 68, 3)
            names = tuple(f"p{index}/0" for index in range(people * pictures))
            yield PersonBatch(images, landmarks, images[:, :, 0], names)
            step += 1


class ToyStage:
    """Learns the mean brightness; one term is a mean and one a sum over the batch, and torch's random numbers count."""

    def __init__(self, processes: int = 1, breaks_at: int | None = None) -> None:
        torch.manual_seed(0)
        self.trained = nn.Sequential(
            nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 1)
        )
        self.trainee = Trainee(self.trained)
        self.processes, self.breaks_at = processes, breaks_at
        self.calls, self.orders = 0, []

    def tune(self, optimizer):
        pass

    def set_training(self, *, on):
        self.trained.train(on)

    def step(self, trained, batch, order, *, pictures):
        del pictures
        self.calls += 1
        self.orders.append(order.tolist())
        answer = trained(batch.images.flatten(0, 1))[:, 0]
        swapped = answer.unflatten(0, order.shape).gather(1, order).flatten()
        truth = batch.landmarks[..., 0, 0].flatten()
        noise = torch.rand(()) if self.processes == 1 else 0.5
        terms = {
            "mean": (swapped - truth).square().mean() * (1 + 0.01 * noise),
            "sum": 1e-3 * self.processes * answer.square().sum(),
        }
        if self.calls == self.breaks_at:
            terms["mean"] = terms["mean"] * float("nan")
        return Step(sum(terms.values()), terms)


class Trainee:
    """As much of `deca_cli.train.models.Trainee` as the loop looks at."""

    def __init__(self, network: nn.Module) -> None:
        self.network, self.origin = network, {"start": "random"}

    def networks(self):
        return {"encoder": self.network}


def toy_loaded(steps, *options: str):
    plain = [
        "dataset.batch_size=4",
        "dataset.K=2",
        "train.write_summary=false",
        "train.val_steps=0",
        "train.vis_steps=0",
    ]
    plain += [
        "train.lr=0.01",
        "train.checkpoint_steps=5",
        "train.log_steps=1",
        "train.max_epochs=1000",
        "train.ema=0.9",
    ]
    return load_settings("coarse", options=[*plain, f"train.max_steps={steps}", *options])


def toy_settings(steps, *options: str):
    return toy_loaded(steps, *options).settings


def toy_loop(folder, steps, *options: str, process=ALONE, stage=None, **watchers: object):
    settings = toy_settings(steps, *options)
    data = share_of_batch(settings.dataset, process.world)
    return TrainingLoop(
        stage or ToyStage(process.world),
        settings,
        process,
        Path(folder),
        ToyLoader(data, process),
        None,
        Watchers(**watchers),
    )


def without_packs():
    """Toys cannot be packed, and their curves take longer than they."""
    loop_module.write_run_pack = lambda *_: None
    run_log.draw_curves = lambda *_: None


def fork(work):
    """Run something in a fork of this process; returns its process id."""
    child = os.fork()
    if child:
        return child
    try:
        work()
        os._exit(0)
    except BaseException:  # noqa: BLE001 - the parent sees the exit code
        import traceback

        traceback.print_exc()
        os._exit(1)


def kill_twenty_times(folder):
    """Start a run, kill it at a random moment after some steps, twenty times; then let it finish. Prints what happened."""
    chance = random.Random(0)  # noqa: S311
    folder, steps, kills = Path(folder), 200, []
    for _ in range(20):
        child = fork(lambda: toy_loop(folder, steps).run())
        wait_for_lines(folder / "log.jsonl", chance.randint(1, 12))
        time.sleep(chance.uniform(0, 0.01))
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        found = toy_loop(folder, steps).checkpoints.found()
        kills.append([os.WIFSIGNALED(status), found[0][0] if found else 0])
    ends = []
    for last in (folder, folder.with_name("whole")):
        _, status = os.waitpid(fork(lambda last=last: toy_loop(last, steps).run()), 0)
        ends.append(os.waitstatus_to_exitcode(status))
    sys.stdout.write(json.dumps({"kills": kills, "ends": ends}))


def wait_for_lines(log, count):
    """Until a log that is written now has grown by so many lines, or for half a minute."""
    changed = log.stat().st_mtime_ns if log.exists() else 0
    give_up = time.monotonic() + 30
    while (not log.exists() or log.stat().st_mtime_ns == changed) and time.monotonic() < give_up:
        time.sleep(0.001)
    first = log.read_bytes().count(b"\n")
    while log.read_bytes().count(b"\n") < first + count and time.monotonic() < give_up:
        time.sleep(0.001)


def share_between_two(folder):
    """The same run in one process and in two."""
    folder = Path(folder)
    toy_loop(folder / "one", 6).run()
    sys.stdout.write(json.dumps({"codes": run_in_two([folder / "two"] * 2, 6)}))


def go_on_apart(folder):
    """Two processes, of which only the first has the folder of the run that they go on with."""
    folder = Path(folder)
    toy_loop(folder / "a", 5).run()
    sys.stdout.write(json.dumps({"codes": run_in_two([folder / "a", folder / "b"], 10)}))


def run_in_two(folders, steps):
    """Exit codes of two processes that train together, each into its folder."""
    os.environ |= {
        "MASTER_ADDR": "localhost",
        "MASTER_PORT": str(20000 + secrets.randbelow(20000)),
        "WORLD_SIZE": "2",
    }

    def rank(number) -> None:
        os.environ["RANK"] = str(number)
        with joined_processes("cpu") as process:
            stage = ToyStage(1)
            stage.processes = 2
            toy_loop(folders[number], steps, process=process, stage=stage).run()

    children = [fork(lambda number=number: rank(number)) for number in (0, 1)]
    return [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]


if __name__ == "__main__":
    torch.set_num_threads(1)
    without_packs()
    modes = {"kill": kill_twenty_times, "share": share_between_two, "apart": go_on_apart}
    modes[sys.argv[1]](sys.argv[2])
