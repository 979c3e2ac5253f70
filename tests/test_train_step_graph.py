"""Steps that can be recorded: nothing in them waits for the device, and replaying them gives the same weights.

As a program: `torchrun ... test_train_step_graph.py STAGE FOLDER`, for two GPUs; the first process prints what moved apart.
"""

import faulthandler
import json
import subprocess
import sys
import traceback
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from deca_cli.errors import DeviceError, UsageError
from deca_cli.networks.codes import Codes
from deca_cli.packs.folders import pack_folder
from deca_cli.train import models
from deca_cli.train.config.build import load_settings
from deca_cli.train.data.batch import PersonBatch
from deca_cli.train.loop import TrainingLoop
from deca_cli.train.losses.weights import CoarseWeights, DetailWeights
from deca_cli.train.objectives.coarse import CoarseObjective
from deca_cli.train.objectives.detail import DetailObjective
from deca_cli.train.processes import Process, joined_processes
from deca_cli.train.progress import Watchers
from deca_cli.train.stages import codes_of, make_stage
from deca_cli.train.step_graph import WARM_UP, RecordedStep, Recording
from deca_cli.train.step_parts import records_steps, set_learning_rate
from train_toys import ToyStage, toy_loop

SIDE = 32
HEAD = pack_folder("open") / "head.npz"
ORDER = torch.tensor([[1, 0], [0, 1]])
# What reads a number from the device, copies one to it, or needs to know how many values there are.
WAITING = ("_local_scalar_dense", "lift_fresh", "nonzero", "masked_select", "unique")
NOT_ON_A_GPU = ("render/cpu", "render/plain")
ALONE = Process(0, 1, torch.device("cpu"))


class Waits(TorchDispatchMode):
    """Notes where the device would have to be waited for."""

    def __init__(self) -> None:
        super().__init__()
        self.places = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):  # noqa: ANN204 - torch's
        by_mask = str(function).startswith(("aten.index.", "aten.index_put")) and any(
            isinstance(one, torch.Tensor) and one.dtype == torch.bool for one in args[1]
        )
        if by_mask or any(name in str(function) for name in WAITING):
            frames = [f for f in traceback.extract_stack() if "deca_cli" in f.filename]
            if not any(part in frames[-1].filename for part in NOT_ON_A_GPU):
                self.places.append(f"{function} in {frames[-1].filename}:{frames[-1].lineno}")
        return function(*args, **(kwargs or {}))


def build(stage, *options: str):
    tiny = [
        "model.backbone=resnet18",
        "model.hidden=0",
        f"dataset.image_size={SIDE}",
        f"model.head={HEAD}",
    ]
    return models.build_model(load_settings(stage, options=[*tiny, *options]))


def batch(device="cpu"):
    random = torch.Generator().manual_seed(1)
    landmarks = torch.rand(2, 2, 68, 3, generator=random) - 0.5
    landmarks[..., 2] = 1
    images = torch.rand(2, 2, 3, SIDE, SIDE, generator=random)
    values = (images, landmarks, torch.ones(2, 2, SIDE, SIDE))
    return PersonBatch(*(value.to(device) for value in values), ("",) * 4)


def test_objectives_neither_read_numbers_from_the_device_nor_send_any():
    deca = build("detail")[0].deca
    raw = deca.encoder.eval()(torch.rand(4, 3, SIDE, SIDE)).detach()
    coarse, detail = CoarseObjective(deca, CoarseWeights(id=0)), DetailObjective(deca, DetailWeights(mrf=0))
    size = len(deca.head.face_eye_mask)
    displacement = torch.zeros(8, 1, size, size, requires_grad=True)
    answers, photos = raw.requires_grad_(), batch()
    with Waits() as seen:
        codes = codes_of(answers, deca)
        coarse(codes, photos, ORDER).total.backward()
        still = Codes(**{name: value.detach() for name, value in codes.items()})
        detail(still, displacement, photos, ORDER).total.backward()
    assert seen.places == []
    assert answers.grad.any()


def test_a_learning_rate_on_the_device_is_changed_in_place():
    rate = torch.tensor(1.0)
    optimizer = torch.optim.Adam([{"params": [torch.zeros(1)], "lr": rate}], capturable=False, foreach=False)
    set_learning_rate(optimizer, 0.25)
    assert optimizer.param_groups[0]["lr"] is rate
    assert float(rate) == 0.25


class Loader:
    """The same batch, a little brighter every time or from some step on always the same, and brighter in a second process."""

    steps_per_pass, problems = 100, {}

    def __init__(self, settings, process, noise=0.0, stuck_at=100) -> None:
        self.settings, self.process, self.noise, self.stuck_at = settings, process, noise, stuck_at

    def batches(self, first_step=0):
        for step in range(first_step, 100):
            one = batch(self.process.device)
            chance = torch.Generator().manual_seed(step)
            noise = 1 + self.noise * torch.randn(one.images.shape, generator=chance)
            brightness = 0.5 + 0.05 * min(step, self.stuck_at) + 0.1 * self.process.rank
            yield replace(one, images=one.images * brightness * noise.to(self.process.device))


def nine_steps(stage_name, folder, process, *options: str, **of_loader: float):
    """Every tensor of the networks before a short run, and how far it moves.

    Adam moves weights in proportion to their gradients here; else it would make as much of a gradient that is only rounding.
    """
    torch.manual_seed(0)
    trainee, settings = build(
        stage_name, "dataset.batch_size=2", "dataset.K=2", "train.max_steps=9", "train.val_steps=0", "train.clip=1",
        "train.vis_steps=7", "train.precision=float32", "loss.id=0", "loss.mrf=0", "train.write_summary=false",
        "train.schedule=cosine", "train.lr=0.01", *options,
    )  # fmt: skip
    stage = make_stage(trainee, settings, process)
    before = {
        name: value.detach().cpu().double().clone() for name, value in stage.trained.state_dict().items()
    }
    loader = Loader(settings.dataset, process, **of_loader)
    loop = TrainingLoop(stage, settings, process, Path(folder), loader, None, Watchers())
    for group in loop.optimizer.param_groups:
        group["eps"] = 1.0
    loop.run()
    after = stage.trained.state_dict()
    return {name: (value, after[name].double().cpu() - value) for name, value in before.items()}


def moved_apart(one, other):
    """Tensors whose updates differ by more than a tenth of the update (and what float32 rounds), and by how much of it."""
    shares = {}
    for name, (start, update) in one.items():
        apart = float((other[name][1] - update).norm())
        if not apart <= 0.1 * float(update.norm()) + 1e-6 * float(start.norm()):
            shares[name] = apart / float(update.norm())
    return shares


def recorded_and_not(stage_name, folder, process):
    """What moved apart between recorded and ordinary steps, and how many steps were recorded."""
    torch.backends.cudnn.allow_tf32 = False
    record, recordings = RecordedStep._record, []

    def noted(self, inputs: object) -> object:
        recordings.append(1)
        return record(self, inputs)

    RecordedStep._record = noted
    try:
        updates = [
            nine_steps(stage_name, Path(folder) / recorded, process, f"train.cuda_graphs={recorded}")
            for recorded in ("false", "true")
        ]
    finally:
        RecordedStep._record, torch.backends.cudnn.allow_tf32 = record, True
    return moved_apart(*updates), len(recordings)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
@pytest.mark.parametrize("stage_name", ["pretrain", "coarse", "detail"])
def test_recorded_steps_train_as_ordinary_ones(stage_name, tmp_path):
    process = Process(0, 1, torch.device("cuda", 0))
    assert recorded_and_not(stage_name, tmp_path, process) == ({}, 1)


@pytest.mark.cuda
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two NVIDIA GPUs")
@pytest.mark.parametrize("stage_name", ["pretrain", "coarse", "detail"])
def test_recorded_steps_of_two_gpus_train_as_ordinary_ones(stage_name, tmp_path):
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [sys.executable, *torchrun, __file__, stage_name, tmp_path],
        capture_output=True, text=True, check=False, timeout=100,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads(done.stdout.splitlines()[-1]) == [{}, 1]


def test_a_tenth_of_the_update_tells_rounding_from_a_stale_batch_rate_or_clip(tmp_path, monkeypatch):
    monkeypatch.setattr(TrainingLoop, "_save", lambda *_: None)
    right = nine_steps("pretrain", tmp_path / "right", ALONE)
    rounded = nine_steps("pretrain", tmp_path / "rounded", ALONE, noise=1e-6)
    assert moved_apart(right, rounded) == {}  # at most 0.0003 when this was written, 0.03 in the other stages
    stuck = nine_steps("pretrain", tmp_path / "stuck", ALONE, stuck_at=4)
    assert len(moved_apart(right, stuck)) > 5
    for wrong in ("train.schedule=constant", "train.clip=0"):
        update = nine_steps("pretrain", tmp_path / wrong, ALONE, wrong)
        assert len(moved_apart(right, update)) > 5, wrong


def test_recording_is_left_to_gpus(monkeypatch):
    one, two = (Process(0, world, torch.device("cuda")) for world in (1, 2))
    auto, wanted, never = (
        build("detail", f"train.cuda_graphs={value}")[1].train for value in ("auto", "true", "false")
    )
    assert [records_steps(auto, process) for process in (ALONE, one, two)] == [False, True, True]
    assert [records_steps(wanted, process) for process in (one, two)] == [True, True]
    assert not records_steps(never, one)
    with pytest.raises(UsageError, match="needs an NVIDIA GPU"):
        records_steps(wanted, ALONE)


class CannotBeRecorded:
    """In place of `RecordedStep`."""

    def __call__(self, batch: object, order: object) -> None:
        del batch, order
        raise DeviceError("This step cannot be recorded.")


def test_where_steps_cannot_be_recorded_auto_goes_on_with_ordinary_ones_and_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(TrainingLoop, "_save", lambda *_: None)
    for choice, done in (("auto", 6), ("true", 0)):
        told, stage = [], ToyStage()
        loop = toy_loop(tmp_path / choice, 6, stage=stage, message=told.append)
        loop.train_step.recorded = CannotBeRecorded()
        loop.train_step.train = replace(loop.settings.train, cuda_graphs=choice if choice == "auto" else True)
        if choice == "auto":
            loop.run()
            assert told == ["ordinary steps from here on. This step cannot be recorded."]
        else:
            with pytest.raises(DeviceError, match="cannot be recorded"):
                loop.run()
        assert stage.calls == done


class Recorded:
    """In place of a process of two, of which the other one could record its step, or could not."""

    def __init__(self, *, other: bool) -> None:
        self.other, self.told = int(other), []

    def gather(self, value):
        self.told.append(value)
        return [value, self.other]


@pytest.mark.parametrize(
    ("own", "other", "refusal"),
    [(True, True, None), (True, False, "in process 1"), (False, True, "here"), (False, False, "here")],
)
def test_either_all_processes_replay_recorded_steps_or_none_does(own, other, refusal, monkeypatch):
    replays, process = [], Recorded(other=other)
    graph = SimpleNamespace(replay=lambda: replays.append(1))

    def record(step: RecordedStep, inputs: tuple[torch.Tensor, ...]) -> Recording:
        del step
        if not own:
            raise DeviceError("This step cannot be recorded here.")
        return Recording(graph, tuple(value.clone() for value in inputs), {})

    monkeypatch.setattr(torch.cuda, "Stream", lambda *_: None)
    monkeypatch.setattr(RecordedStep, "_record", record)
    step = RecordedStep(lambda *_: {}, process)
    step.steps = WARM_UP
    if refusal is None:
        step(batch(), ORDER)
        step(batch(), ORDER)
    else:
        with pytest.raises(DeviceError, match=refusal):
            step(batch(), ORDER)
    assert len(replays) == (0 if refusal else 2)
    assert process.told == [int(own)]  # asked once, whatever happened


if __name__ == "__main__":
    faulthandler.dump_traceback_later(60, exit=True)  # processes may wait for each other for ever
    with joined_processes("cuda") as own:
        TrainingLoop._save = lambda *_: None
        told = recorded_and_not(sys.argv[1], f"{sys.argv[2]}/{own.rank}", own)
        if own.first:
            sys.stdout.write(json.dumps(told) + "\n")
