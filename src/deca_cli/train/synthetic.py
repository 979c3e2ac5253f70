"""The synthetic stage: the coarse encoder learns from rendered faces whose truth is known.

One process per GPU; under ``torchrun`` every process draws its own faces and gradients are averaged (DDP).
"""

from __future__ import annotations

import json
import math
import os
import time
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from deca_cli.errors import DeviceError, UsageError
from deca_cli.heads.assets import load_head
from deca_cli.heads.model import HeadModel
from deca_cli.heads.rotations import rotation_6d_to_matrix
from deca_cli.networks.codes import CodeSizes
from deca_cli.networks.encoder import Encoder
from deca_cli.networks.layout import Layout, layout_width, split_raw
from deca_cli.networks.preprocessing import Preprocessing
from deca_cli.packs.manifest import Manifest
from deca_cli.packs.store import save_pack
from deca_cli.synthetic.generator import FaceGenerator, GeneratorSettings, SyntheticBatch
from deca_cli.synthetic.parts import find_parts
from deca_cli.train import synthetic_losses as losses

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

DENSE_POINTS = 320
INNER = slice(17, 68)


@dataclass(frozen=True)
class LossWeights:
    """Weights of the terms in the order in which they are summed."""

    points_2d: float = 10.0  # NDC
    landmarks_2d: float = 20.0
    openings: float = 10.0
    points_3d: float = 80.0  # metres
    rotation: float = 4.0
    expression: float = 1.0
    expression_range: float = 0.5
    identity: float = 0.03
    dense: float = 0.25
    face_score: float = 0.5


@dataclass(frozen=True)
class SyntheticSettings:
    """Everything that shapes a run; saved with the pack."""

    backbone: str = "resnet18"
    minutes: float = 10.0
    max_steps: int = 1_000_000
    batch_size: int = 256  # per process
    learning_rate: float = 1.5e-3
    weight_decay: float = 0.05
    warmup_steps: int = 300
    gradient_clip: float = 5.0
    ema: float = 0.999
    seed: int = 0
    save_every_s: float = 120.0
    validation_faces: int = 512
    weights: LossWeights = field(default_factory=LossWeights)
    generator: GeneratorSettings = field(default_factory=GeneratorSettings)

    def __post_init__(self) -> None:
        if self.batch_size < 2 or self.minutes <= 0 or self.max_steps < 1:
            raise UsageError(
                f"Training needs batch_size >= 2 (got {self.batch_size}), minutes > 0 (got {self.minutes}) and "
                f"max_steps >= 1 (got {self.max_steps})."
            )


class SyntheticNetwork(nn.Module):
    """The pack's encoder, and beside it a head for dense points that only training needs."""

    def __init__(self, settings: SyntheticSettings, layout: Layout) -> None:
        super().__init__()
        self.encoder = Encoder(settings.backbone, layout_width(layout), None)
        self.dense = nn.Linear(self.encoder.encoder.features, DENSE_POINTS * 3)
        self._start_near_the_mean_face(layout)

    def _start_near_the_mean_face(self, layout: Layout) -> None:
        for block in self.encoder.modules():
            if hasattr(block, "last_norm"):
                nn.init.zeros_(block.last_norm.weight)
        answer = self.encoder.layers[-1]
        with torch.no_grad():
            answer.weight.mul_(0.1)
            answer.bias.zero_()
            parts = split_raw(answer.bias[None], layout)
            parts["rotation_6d"].copy_(answer.bias.new_tensor([[1, 0, 0, 0, 1, 0]]))
            parts["log_camera"][:, 0] = math.log(11.0)  # NDC per metre when a head fills its crop
            self.dense.weight.mul_(0.1)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """[N, 3, S, S] prepared images -> raw codes [N, outputs], dense points [N, P, 3] (x, y, log sigma)."""
        features = self.encoder.encoder(images)
        return self.encoder.layers(features), self.dense(features).unflatten(1, (DENSE_POINTS, 3))


def make_layout(head: HeadModel) -> Layout:
    """What the encoder of a synthetic pack answers."""
    return (
        ("shape", head.shape_size),
        ("expression", head.expression_size),
        ("rotation_6d", 6),
        ("log_camera", 3),
        ("face_score", 1),
    )


class SyntheticObjective:
    """Turns the network's answer into one number to minimise, and into named numbers to look at."""

    def __init__(self, head: HeadModel, face_vertices: Tensor, layout: Layout, weights: LossWeights) -> None:
        self.head, self.layout, self.weights = head, layout, weights
        pick = torch.linspace(0, len(face_vertices) - 1, DENSE_POINTS, device=face_vertices.device).long()
        self.face_vertices, self.dense_vertices = face_vertices, face_vertices[pick]

    def place(self, parts: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Decode: camera-aligned vertices [N, V, 3] in metres, and NDC [N, V, 2] by weak perspective (spec section 5)."""
        unposed = self.head.unposed(parts["shape"], parts["expression"])
        pivot = self.head.joints(unposed)[:, :1]
        rotation = rotation_6d_to_matrix(parts["rotation_6d"])
        vertices = (unposed - pivot) @ rotation.mT + pivot
        camera = parts["log_camera"]
        flat = vertices[..., :2] * camera[:, None, :1].exp() + camera[:, None, 1:]
        return vertices, flat * flat.new_tensor([1.0, -1.0])

    def __call__(self, raw: Tensor, dense: Tensor, batch: SyntheticBatch) -> tuple[Tensor, dict[str, Tensor]]:
        """Weighted sum of the terms, averaged over the faces of the batch; pictures without a face only train the score."""
        parts = {name: part.float() for name, part in split_raw(raw.float(), self.layout).items()}
        vertices, flat = self.place(parts)
        marks = self.head.on_landmarks(torch.cat([flat, vertices[..., 2:]], -1))[..., :2]
        face, w = self.face_vertices, self.weights
        true_dense = batch.projected[:, self.dense_vertices]
        rotation = rotation_6d_to_matrix(parts["rotation_6d"])
        terms = {
            "points_2d": w.points_2d * losses.point_distance(flat[:, face], batch.projected[:, face]),
            "landmarks_2d": w.landmarks_2d * losses.point_distance(marks, batch.landmarks),
            "openings": w.openings * losses.opening_difference(marks, batch.landmarks),
            "points_3d": w.points_3d * losses.point_distance(vertices[:, face], batch.vertices[:, face]),
            "rotation": w.rotation * (rotation - batch.rotation).abs().mean((1, 2)),
            "expression": w.expression * (parts["expression"] - batch.expression).abs().mean(1),
            "expression_range": w.expression_range * losses.outside_range(parts["expression"]),
            "identity": w.identity * (parts["shape"] - batch.shape).square().mean(1),
            "dense": w.dense
            * losses.gaussian_nll(dense[..., :2].float(), dense[..., 2].float().clamp(-6, 2), true_dense),
        }
        shown = batch.is_face.sum().clamp_min(1)
        means = {name: (value * batch.is_face).sum() / shown for name, value in terms.items()}
        logit = parts["face_score"][:, 0]
        means["face_score"] = w.face_score * F.binary_cross_entropy_with_logits(logit, batch.is_face)
        return torch.stack(list(means.values())).sum(), means | {"nme": self.landmark_error(marks, batch)}

    @staticmethod
    def landmark_error(marks: Tensor, batch: SyntheticBatch) -> Tensor:
        """Mean distance of the 51 inner landmarks in percent of sqrt(w h) of the true 68-point box."""
        size = batch.landmarks.amax(1) - batch.landmarks.amin(1)
        distance = (marks - batch.landmarks)[:, INNER].norm(dim=-1).mean(1) / size.prod(1).sqrt()
        return 100 * (distance * batch.is_face).sum() / batch.is_face.sum().clamp_min(1)


@dataclass(frozen=True)
class Progress:
    """Where a run stands; given to the caller's report function."""

    step: int
    elapsed_s: float
    faces_seen: int
    faces_per_s: float
    values: dict[str, float]


@dataclass(frozen=True)
class _Process:
    """This process among those of ``torchrun``."""

    rank: int
    world: int
    device: torch.device


@contextmanager
def _processes(device: str) -> Iterator[_Process]:
    """Join the group of processes that ``torchrun`` started, if any."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    rank = int(os.environ.get("RANK", "0"))
    if device == "cuda" and not torch.cuda.is_available():
        raise DeviceError(
            "Training on `cuda` was asked for, but torch sees no NVIDIA GPU. Use --device cpu for a small try."
        )
    chosen = (
        torch.device(device, int(os.environ.get("LOCAL_RANK", "0")))
        if device == "cuda"
        else torch.device(device)
    )
    if chosen.type == "cuda":
        torch.cuda.set_device(chosen)
    if world == 1:
        yield _Process(0, 1, chosen)
        return
    torch.distributed.init_process_group("nccl" if chosen.type == "cuda" else "gloo")
    try:
        yield _Process(rank, world, chosen)
    finally:
        torch.distributed.destroy_process_group()


def _optimizer(network: nn.Module, settings: SyntheticSettings) -> torch.optim.Optimizer:
    """AdamW without weight decay on biases and normalisation, whose scale means something."""
    matrices = [p for p in network.parameters() if p.dim() > 1]
    vectors = [p for p in network.parameters() if p.dim() <= 1]
    groups = [
        {"params": matrices, "weight_decay": settings.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=settings.learning_rate)


def learning_rate_at(settings: SyntheticSettings, step: int, done: float) -> float:
    """Linear warm-up over steps, then half a cosine over the share ``done`` of the time or of the steps."""
    warm = min(1.0, (step + 1) / settings.warmup_steps)
    return settings.learning_rate * warm * 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))


class _Average:
    """Exponential moving average of a network's weights and running statistics."""

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay = decay
        self.state = {name: value.detach().clone() for name, value in network.state_dict().items()}

    @torch.no_grad()
    def update(self, network: nn.Module, step: int) -> None:
        decay = min(self.decay, (step + 1) / (step + 10))  # short memory at the start
        mine, theirs = [], []
        for name, value in network.state_dict().items():
            if value.is_floating_point():
                mine.append(self.state[name])
                theirs.append(value.detach())
            else:
                self.state[name].copy_(value)
        torch._foreach_lerp_(mine, theirs, 1 - decay)  # one launch for all tensors; the loop is 10x slower


def train_synthetic(
    head_file: Path,
    output: Path,
    settings: SyntheticSettings,
    device: str,
    report: Callable[[Progress], None],
) -> Path:
    """Train an encoder and save it as a model pack.

    Args:
        head_file: the head to learn, a file of `deca_cli.heads.assets.save_head`.
        output: folder of the run; the pack is written to ``output/pack``, the log to ``output/log.jsonl``.
        settings: everything else.
        device: ``cuda`` or ``cpu``.
        report: called with the progress every few seconds, in the first process only.

    Returns:
        The folder of the pack.

    Raises:
        DeviceError: no GPU where one was asked for.
        ModelError: the head cannot be read.
        OutputError: the pack cannot be written.
    """
    with _processes(device) as process:
        torch.manual_seed(settings.seed)
        assets, _ = load_head(head_file)
        head = HeadModel(assets).to(process.device)
        return _Run(
            head_file,
            output,
            settings,
            process,
            head,
            find_parts(head, assets, settings.generator.texture_size),
        ).train(report)


class _Run:
    """One training: network, generator, optimiser, average, clock."""

    def __init__(
        self,
        head_file: Path,
        output: Path,
        settings: SyntheticSettings,
        process: _Process,
        head: HeadModel,
        parts,
    ) -> None:
        self.head_file, self.output, self.settings, self.process = head_file, output, settings, process
        self.layout = make_layout(head)
        self.preprocessing = Preprocessing(
            settings.generator.image_size, settings.generator.crop.factor, "max", -0.5, 0.45, 0.25
        )
        self.objective = SyntheticObjective(head, parts.face_vertices, self.layout, settings.weights)
        self.network = SyntheticNetwork(settings, self.layout).to(
            process.device, memory_format=torch.channels_last
        )
        self.trained = (
            self.network if process.world == 1 else nn.parallel.DistributedDataParallel(self.network)
        )
        self.optimizer = _optimizer(self.network, settings)
        self.average = _Average(self.network, settings.ema)
        check = FaceGenerator(head, parts, replace(settings.generator, no_face_share=0.0), seed=10_000_019)
        self.validation = [check.batch(64) for _ in range(max(1, settings.validation_faces // 64))]
        self.generator = FaceGenerator(
            head, parts, settings.generator, seed=settings.seed * 1000 + process.rank
        )

    def train(self, report: Callable[[Progress], None]) -> Path:
        """The loop: learning rate, batch, loss, step, average, now and then a report and a saved pack."""
        s, start = self.settings, time.monotonic()
        last_report = last_save = start
        last_step, step, done = 0, 0, 0.0
        while done < 1.0:
            for group in self.optimizer.param_groups:
                group["lr"] = learning_rate_at(s, step, done)
            means = self._step()
            self.average.update(self.network, step)
            step += 1
            if step % 500 == 0:
                self.generator.backgrounds.renew(self.generator.draws)
            done = self._agree(max((time.monotonic() - start) / (60 * s.minutes), step / s.max_steps))
            now = time.monotonic()
            if self.process.rank == 0 and (now - last_report > 5 or done >= 1.0):
                rate = (step - last_step) * s.batch_size * self.process.world / (now - last_report)
                last_report, last_step = now, step
                values = {name: float(value) for name, value in means.items()}
                self._require_finite(values, step)
                self._tell(
                    report,
                    Progress(step, now - start, step * s.batch_size * self.process.world, rate, values),
                )
            if self.process.rank == 0 and now - last_save > s.save_every_s:
                last_save = now
                self.save(step, now - start)
        return self.save(step, time.monotonic() - start) if self.process.rank == 0 else self.output / "pack"

    def _step(self) -> dict[str, Tensor]:
        batch = self.generator.batch(self.settings.batch_size)
        images = self._prepare(batch.images)
        with torch.autocast(self.process.device.type, torch.bfloat16):
            raw, dense = self.trained(images)
        loss, means = self.objective(raw, dense, batch)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), self.settings.gradient_clip)
        self.optimizer.step()
        return means

    def _prepare(self, images: Tensor) -> Tensor:
        prepared = (images - self.preprocessing.mean) / self.preprocessing.std
        return prepared.contiguous(memory_format=torch.channels_last)

    def _agree(self, done: float) -> float:
        """All processes must leave the loop at the same step: the first one's clock counts."""
        if self.process.world == 1:
            return done
        shared = torch.tensor(done, device=self.process.device)
        torch.distributed.broadcast(shared, 0)
        return float(shared)

    def _require_finite(self, values: dict[str, float], step: int) -> None:
        wrong = [name for name, value in values.items() if not math.isfinite(value)]
        if wrong:
            raise UsageError(
                f"Training diverged at step {step}: {', '.join(wrong)} is not finite. Lower --learning-rate and start again."
            )

    def _tell(self, report: Callable[[Progress], None], progress: Progress) -> None:
        self.output.mkdir(parents=True, exist_ok=True)
        with (self.output / "log.jsonl").open("a", encoding="utf-8") as log:
            log.write(json.dumps(asdict(progress)) + "\n")
        report(progress)

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """Landmark error and face score of the averaged weights on faces that are never trained on."""
        network = SyntheticNetwork(self.settings, self.layout).to(self.process.device)
        network.load_state_dict(self.average.state)
        network.eval()
        errors = []
        for batch in self.validation:
            raw, dense = network((batch.images - self.preprocessing.mean) / self.preprocessing.std)
            errors.append(self.objective(raw, dense, batch)[1]["nme"])
        return {"synthetic_nme_percent": round(float(torch.stack(errors).mean()), 3)}

    def save(self, step: int, elapsed_s: float) -> Path:
        """Write the averaged encoder as a pack."""
        state = {
            name.removeprefix("encoder."): value
            for name, value in self.average.state.items()
            if name.startswith("encoder.")
        }
        sizes = CodeSizes(
            shape=self.objective.head.shape_size,
            albedo=0,
            expression=self.objective.head.expression_size,
            light=0,
            detail=0,
        )
        manifest = Manifest(
            name=self.output.name,
            licence="Apache-2.0",
            backbone=self.settings.backbone,
            layout=self.layout,
            sizes=sizes,
            preprocessing=self.preprocessing,
            head=self.head_file.name,
            expression_range=(0.0, 1.0),
            provenance={
                "stage": "synthetic",
                "steps": step,
                "faces_seen": step * self.settings.batch_size * self.process.world,
                "minutes": round(elapsed_s / 60, 2),
                "processes": self.process.world,
                "device": _device_name(self.process.device),
                "settings": asdict(self.settings),
            },
            accuracy=self.validate(),
        )
        return save_pack(self.output / "pack", manifest, self.head_file, {"encoder": state})


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
