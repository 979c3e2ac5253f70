"""Steps that can be recorded: nothing in them waits for the device, and replaying them gives the same weights."""

import traceback
from dataclasses import replace

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from deca_cli.errors import UsageError
from deca_cli.networks.codes import Codes
from deca_cli.packs.folders import pack_folder
from deca_cli.train import models
from deca_cli.train.config.build import load_settings
from deca_cli.train.data.batch import PersonBatch
from deca_cli.train.loop import TrainingLoop
from deca_cli.train.losses.weights import CoarseWeights, DetailWeights
from deca_cli.train.objectives.coarse import CoarseObjective
from deca_cli.train.objectives.detail import DetailObjective
from deca_cli.train.processes import Process
from deca_cli.train.progress import Watchers
from deca_cli.train.stages import codes_of, make_stage
from deca_cli.train.step_parts import records_steps, set_learning_rate

SIDE = 32
HEAD = pack_folder("open") / "head.npz"
ORDER = torch.tensor([[1, 0], [0, 1]])
# What reads a number from the device, copies one to it, or needs to know how many values there are.
WAITING = ("_local_scalar_dense", "lift_fresh", "nonzero", "masked_select", "unique")
NOT_ON_A_GPU = ("render/cpu", "render/plain")


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
    """The same batch again and again, a little brighter every time, or from some step on always the same."""

    steps_per_pass, problems = 100, {}

    def __init__(self, settings, device, noise=0.0, stuck_at=100) -> None:
        self.settings, self.device, self.noise, self.stuck_at = settings, device, noise, stuck_at

    def batches(self, first_step=0):
        for step in range(first_step, 100):
            one = batch(self.device)
            chance = torch.Generator().manual_seed(step)
            noise = 1 + self.noise * torch.randn(one.images.shape, generator=chance).to(self.device)
            yield replace(one, images=one.images * (0.5 + 0.05 * min(step, self.stuck_at)) * noise)


def nine_steps(stage_name, folder, device, *options: str, **of_loader: float):
    """How far every tensor of the networks moves in a short run, and the run's loop."""
    torch.manual_seed(0)
    trainee, settings = build(
        stage_name, "dataset.batch_size=2", "dataset.K=2", "train.max_steps=9", "train.val_steps=0", "train.clip=1",
        "train.vis_steps=7", "train.precision=float32", "loss.id=0", "train.write_summary=false", "train.schedule=cosine", *options,
    )  # fmt: skip
    process = Process(0, 1, device)
    stage = make_stage(trainee, settings, process)
    before = {
        name: value.detach().cpu().double().clone() for name, value in stage.trained.state_dict().items()
    }
    loader = Loader(settings.dataset, device, **of_loader)
    loop = TrainingLoop(stage, settings, process, folder, loader, None, Watchers())
    loop.run()
    after = stage.trained.state_dict()
    return {name: after[name].double().cpu() - value for name, value in before.items()}, loop


def moved_apart(one, other):
    """Tensors whose updates differ by more than a tenth of the update, and by how much of it."""
    shares = {name: float((other[name] - value).norm() / value.norm()) for name, value in one.items()}
    return {name: share for name, share in shares.items() if not share <= 0.1}


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
@pytest.mark.parametrize("stage_name", ["pretrain", "coarse"])
def test_recorded_steps_train_as_ordinary_ones(stage_name, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)  # Adam makes much of small differences
    updates = []
    for recorded in ("false", "true"):
        update, loop = nine_steps(
            stage_name, tmp_path / recorded, torch.device("cuda"), f"train.cuda_graphs={recorded}"
        )
        assert (loop.recorded is not None and loop.recorded.recording is not None) == (recorded == "true")
        updates.append(update)
    assert moved_apart(*updates) == {}


def test_a_tenth_of_the_update_tells_rounding_from_a_stale_batch_rate_or_clip(tmp_path, monkeypatch):
    monkeypatch.setattr(TrainingLoop, "_save", lambda *_: None)
    cpu = torch.device("cpu")
    right, _ = nine_steps("pretrain", tmp_path / "right", cpu)
    rounded, _ = nine_steps("pretrain", tmp_path / "rounded", cpu, noise=1e-6)
    assert moved_apart(right, rounded) == {}  # at most 0.04 when this was written
    stuck, _ = nine_steps("pretrain", tmp_path / "stuck", cpu, stuck_at=4)
    assert len(moved_apart(right, stuck)) > 5
    for wrong in ("train.schedule=constant", "train.clip=0"):
        update, _ = nine_steps("pretrain", tmp_path / wrong, cpu, wrong)
        assert len(moved_apart(right, update)) > 5, wrong


def test_steps_of_the_detail_stage_are_not_recorded():
    with pytest.raises(UsageError, match="pretrain and coarse"):
        build("detail", "train.cuda_graphs=true")


def test_recording_on_a_cpu_or_on_several_gpus_is_refused():
    _, settings = build("coarse", "train.cuda_graphs=true")
    for process in (Process(0, 1, torch.device("cpu")), Process(0, 2, torch.device("cuda"))):
        with pytest.raises(UsageError, match="needs one NVIDIA GPU"):
            records_steps(settings.train, process)
