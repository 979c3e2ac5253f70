"""The synthetic stage: the coarse encoder learns from rendered faces whose truth is known.

One process per GPU; under ``torchrun`` every process draws its own faces and gradients are averaged (DDP).
"""

from __future__ import annotations

import json
import math
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from deca_cli.errors import ModelError, UsageError
from deca_cli.heads.assets import load_head
from deca_cli.heads.model import HeadModel
from deca_cli.networks.codes import CodeSizes
from deca_cli.networks.preprocessing import Preprocessing
from deca_cli.packs.manifest import FILE_NAME, Manifest, read_manifest
from deca_cli.packs.store import save_pack
from deca_cli.packs.weights import load_weights
from deca_cli.synthetic.generator import FaceGenerator
from deca_cli.synthetic.parts import HeadParts, find_parts
from deca_cli.train.average import MovingAverage
from deca_cli.train.processes import Process, joined_processes
from deca_cli.train.synthetic_network import SyntheticNetwork, SyntheticObjective, synthetic_layout

if TYPE_CHECKING:
    from collections.abc import Callable

    from deca_cli.train.settings import SyntheticSettings

AGREE_EVERY = 10  # steps between looks at the clock, which all processes share
REPORT_EVERY_S = 5.0
RENEW_EVERY = 500  # steps after which new background textures are painted
VALIDATION_SEED = 10_000_019  # far from every training seed
LEAST_FACE_SCORE = 0.99  # half faces, clothes and noise that look like a face score below, faces above 0.999


@dataclass(frozen=True)
class Progress:
    """Where a run stands; given to the caller's report function."""

    step: int
    elapsed_s: float
    faces_seen: int
    faces_per_s: float
    values: dict[str, float]


def learning_rate_at(settings: SyntheticSettings, step: int, done: float) -> float:
    """Linear warm-up over steps, then half a cosine over the share ``done`` of the time or of the steps."""
    warm = min(1.0, (step + 1) / settings.warmup_steps)
    return settings.learning_rate * warm * 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))


def train_synthetic(
    head_file: Path,
    output: Path,
    settings: SyntheticSettings,
    device: str,
    report: Callable[[Progress], None],
) -> Path:
    """Train an encoder and save it as a model pack.

    Args:
        head_file: the head to learn, a file of `deca_cli.heads.assets.save_head` with vertex regions.
        output: folder of the run; the pack is written to ``output/pack``, the log to ``output/log.jsonl``.
        settings: everything else.
        device: ``cuda`` or ``cpu``.
        report: called with the progress every few seconds, in the first process only.

    Returns:
        The folder of the pack.

    Raises:
        DeviceError: no GPU where one was asked for.
        ModelError: the head or the pack to start from cannot be used.
        OutputError: the pack cannot be written.
        UsageError: training diverged.
    """
    with joined_processes(device) as process:
        torch.manual_seed(settings.seed)
        assets, _ = load_head(head_file)
        head = HeadModel(assets).to(process.device)
        parts = find_parts(head, assets, settings.generator.texture_size)
        return _Run(head_file, output, settings, process, head, parts).train(report)


def _optimizer(network: nn.Module, settings: SyntheticSettings) -> torch.optim.Optimizer:
    """AdamW without weight decay on biases and normalisation, whose scale means something."""
    matrices = [p for p in network.parameters() if p.dim() > 1]
    vectors = [p for p in network.parameters() if p.dim() <= 1]
    groups = [
        {"params": matrices, "weight_decay": settings.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=settings.learning_rate)


class _Run:
    """One training: network, generator, optimiser, average, clock."""

    def __init__(
        self,
        head_file: Path,
        output: Path,
        settings: SyntheticSettings,
        process: Process,
        head: HeadModel,
        parts: HeadParts,
    ) -> None:
        self.head_file, self.output, self.settings, self.process = head_file, output, settings, process
        generator = settings.generator
        self.layout = synthetic_layout(head)
        self.preprocessing = Preprocessing(
            generator.image_size, generator.crop.factor, "max", -0.5, mean=0.45, std=0.25
        )
        self.objective = SyntheticObjective(head, parts.face_vertices, self.layout, settings.weights)
        self.network = SyntheticNetwork(settings.backbone, self.layout)
        self.earlier = self._start_from(Path(settings.init)) if settings.init else {}
        self.network = self.network.to(process.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        alone = process.world == 1
        self.trained = self.network if alone else nn.parallel.DistributedDataParallel(self.network)
        self.optimizer = _optimizer(self.network, settings)
        self.average = MovingAverage(self.network, settings.ema)
        check = FaceGenerator(
            head, parts, replace(generator, no_face_share=0.0, fused=False), VALIDATION_SEED
        )
        per_batch = min(64, settings.validation_faces)
        self.validation = [check.batch(per_batch) for _ in range(settings.validation_faces // per_batch)]
        self.generator = FaceGenerator(head, parts, generator, settings.seed * 1000 + process.rank)

    def _start_from(self, folder: Path) -> dict[str, Any]:
        """Take the encoder of an earlier run; returns where that one came from."""
        manifest = read_manifest(folder / FILE_NAME)
        if (manifest.backbone, manifest.layout) != (self.settings.backbone, self.layout):
            raise ModelError(
                f"The run cannot start from {folder}: its encoder is a {manifest.backbone} that answers "
                f"{manifest.layout}, but a {self.settings.backbone} that answers {self.layout} is wanted. "
                "Choose the same backbone and head."
            )
        load_weights(self.network.encoder, folder / "encoder.safetensors")
        kept = ("steps", "faces_seen", "minutes", "processes", "settings")
        return {f"earlier_{name}": manifest.provenance[name] for name in kept if name in manifest.provenance}

    def train(self, report: Callable[[Progress], None]) -> Path:
        """The loop: learning rate, batch, loss, step, average, now and then a report and a saved pack."""
        s, start = self.settings, time.monotonic()
        reported = saved = start
        reported_step, step, done = 0, 0, 0.0
        while done < 1.0:
            for group in self.optimizer.param_groups:
                group["lr"] = learning_rate_at(s, step, done)
            means = self._step()
            self.average.update(self.network, step)
            step += 1
            if step % RENEW_EVERY == 0:
                self.generator.renew()
            now = time.monotonic()
            if step % AGREE_EVERY == 0 or step >= s.max_steps:
                done = self.process.agree(max((now - start) / (60 * s.minutes), step / s.max_steps))
            if self.process.first and (now - reported > REPORT_EVERY_S or done >= 1.0):
                faces = s.batch_size * self.process.world
                rate = (step - reported_step) * faces / (now - reported)
                self._tell(report, Progress(step, now - start, step * faces, rate, _numbers(means)))
                reported, reported_step = now, step
            if self.process.first and now - saved > s.save_every_s:
                saved = now
                self.save(step, now - start)
        if self.process.first:
            self.save(step, time.monotonic() - start)
        return self.output / "pack"

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

    def _tell(self, report: Callable[[Progress], None], progress: Progress) -> None:
        wrong = [name for name, value in progress.values.items() if not math.isfinite(value)]
        if wrong:
            raise UsageError(
                f"Training diverged at step {progress.step}: {', '.join(wrong)} is not finite. "
                "Lower --learning-rate and start again."
            )
        self.output.mkdir(parents=True, exist_ok=True)
        with (self.output / "log.jsonl").open("a", encoding="utf-8") as log:
            log.write(json.dumps(asdict(progress)) + "\n")
        report(progress)

    @torch.no_grad()
    def validate(self) -> float:
        """Landmark error in percent of the averaged weights on faces that are never trained on."""
        network = SyntheticNetwork(self.settings.backbone, self.layout).to(self.process.device)
        network.load_state_dict(self.average.state)
        network.eval()
        errors = []
        for batch in self.validation:
            raw, dense = network(self._prepare(batch.images))
            errors.append(self.objective(raw, dense, batch)[1]["nme"])
        return float(torch.stack(errors).mean())

    def save(self, step: int, elapsed_s: float) -> None:
        """Write the averaged encoder as a pack."""
        prefix = "encoder."
        state = {
            name.removeprefix(prefix): value
            for name, value in self.average.state.items()
            if name.startswith(prefix)
        }
        head = self.objective.head
        manifest = Manifest(
            name=self.output.name,
            licence="Apache-2.0",
            backbone=self.settings.backbone,
            layout=self.layout,
            sizes=CodeSizes(
                shape=head.shape_size, albedo=0, expression=head.expression_size, light=0, detail=0
            ),
            preprocessing=self.preprocessing,
            head=self.head_file.name,
            expression_range=(0.0, 1.0),
            least_face_score=LEAST_FACE_SCORE,
            provenance=self._provenance(step, elapsed_s),
            accuracy={"synthetic_nme_percent": round(self.validate(), 3)},
        )
        save_pack(self.output / "pack", manifest, self.head_file, {"encoder": state})

    def _provenance(self, step: int, elapsed_s: float) -> dict[str, Any]:
        device = self.process.device
        return {
            "stage": "synthetic",
            "steps": step,
            "faces_seen": step * self.settings.batch_size * self.process.world,
            "minutes": round(elapsed_s / 60, 2),
            "processes": self.process.world,
            "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
            "settings": json.dumps(asdict(self.settings)),
            **self.earlier,
        }


def _numbers(means: dict[str, Tensor]) -> dict[str, float]:
    return {name: float(value.detach()) for name, value in means.items()}
