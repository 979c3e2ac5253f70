"""The synthetic stage: the networks of an open pack learn from rendered faces whose truth is known.

One process per GPU; under ``torchrun`` every process draws its own faces and gradients are averaged (DDP).
"""

from __future__ import annotations

import json
import math
import time
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from deca_cli.errors import UsageError
from deca_cli.heads.albedo import Albedo
from deca_cli.heads.assets import load_head
from deca_cli.heads.model import HeadModel
from deca_cli.networks.preprocessing import Preprocessing
from deca_cli.synthetic.generator import FaceGenerator
from deca_cli.synthetic.parts import find_parts
from deca_cli.train.average import MovingAverage
from deca_cli.train.processes import Process, joined_processes
from deca_cli.train.run_state import RunState, read_state, refuse_earlier_run, write_state
from deca_cli.train.step_clock import StepClock
from deca_cli.train.synthetic_config import FILE_NAME as SETTINGS_FILE
from deca_cli.train.synthetic_config import settings_text
from deca_cli.train.synthetic_curriculum import generator_at
from deca_cli.train.synthetic_flip import flipped_count, with_mirrored
from deca_cli.train.synthetic_network import synthetic_layout
from deca_cli.train.synthetic_pack import SHOWN, PackWriter, Validation, request_for
from deca_cli.train.synthetic_setup import (
    clipped_groups,
    learning_rate_at,
    make_network,
    make_objective,
    make_optimizer,
    start_from,
    stream_seed,
)
from deca_cli.train.watch import all_finite

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from deca_cli.train.settings import SyntheticSettings

AGREE_EVERY = 10  # steps between looks at the clock, which all processes share
REPORT_EVERY_S = 5.0


@dataclass(frozen=True)
class Progress:
    """Where a run stands; given to the caller's report function."""

    step: int
    elapsed_s: float
    faces_seen: int
    faces_per_s: float
    values: dict[str, float]
    parts_ms: dict[str, float] = field(default_factory=dict)  # time of a step by part, when asked for


def train_synthetic(
    head_file: Path,
    output: Path,
    settings: SyntheticSettings,
    device: str,
    report: Callable[[Progress], None],
    *,
    resume: bool = False,
    timings: bool = False,
) -> Path:
    """Train encoder and detail decoder and save them as a model pack.

    Args:
        head_file: the head to learn, a file of `deca_cli.heads.assets.save_head` with vertex regions.
        output: folder of the run; the pack is written to ``output/pack``, the log to ``output/log.jsonl``.
        settings: everything else.
        device: ``cuda`` or ``cpu``.
        report: called with the progress every few seconds, in the first process only.
        resume: go on from the state in ``output``.
        timings: measure the parts of a step; slower.

    Returns:
        The folder of the pack.

    Raises:
        DeviceError: no GPU where one was asked for.
        ModelError: the head or the pack to start from cannot be used.
        OutputError: the pack or the state cannot be written.
        UsageError: training diverged, there is nothing to resume, or the folder holds another run.
    """
    settings = replace(settings, generator=replace(settings.generator, detail=settings.detail_size > 0))
    with joined_processes(device) as process:
        if resume:
            state: RunState | None = _state_of(output, settings, process.device)
        else:
            state = None
            refuse_earlier_run(output)
        torch.manual_seed(settings.seed)
        run = _Run(head_file, output, settings, process, StepClock(process.device, timings))
        if state is not None:
            run.resume(state)
        return run.train(report)


def _state_of(output: Path, settings: SyntheticSettings, device: torch.device) -> RunState:
    """The state to go on from.

    Raises:
        UsageError: there is none, or it belongs to other settings.
    """
    state = read_state(output, device)
    if state.settings != settings_text(settings):
        raise UsageError(
            f"The run in {output} was started with other settings (see {output / 'pack' / SETTINGS_FILE}): "
            "resume it with the same ones, or start a new run in another folder with --init."
        )
    return state


class _Run:
    """One training: networks, generator, optimiser, average, clock."""

    def __init__(
        self, head_file: Path, output: Path, settings: SyntheticSettings, process: Process, clock: StepClock
    ) -> None:
        self.output, self.settings, self.process, self.clock = output, settings, process, clock
        generator = settings.generator
        assets, colours = load_head(head_file)
        head = HeadModel(assets).to(process.device)
        albedo = None if colours is None else Albedo(colours).to(process.device)
        found = find_parts(head, assets, generator.texture_size)
        layout = synthetic_layout(head, 0 if albedo is None else albedo.components, settings.detail_size)
        self.preprocessing = Preprocessing(
            generator.image_size, generator.crop.factor, "max", -0.5, mean=0.45, std=0.25
        )
        self.objective = make_objective(head, albedo, found, layout, settings, assets.mirror_vertices)
        self.network = make_network(layout, settings)
        self.earlier = start_from(self.network, settings) if settings.init else {}
        self.network = self.network.to(process.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if settings.compiled:
            self.network.compile_parts()
        alone = process.world == 1
        self.trained = self.network if alone else nn.parallel.DistributedDataParallel(self.network)
        self.optimizer = make_optimizer(self.network, settings)
        self.clipped = clipped_groups(self.network)
        self.average = MovingAverage(self.network, settings.ema)
        wanted = process.first and settings.validation_faces > 0
        self.validation = Validation(head, found, settings) if wanted else None
        self.generator = FaceGenerator(
            head, found, generator, stream_seed(settings.seed, process.rank, step=0)
        )
        self.writer = PackWriter(head_file, output / "pack", layout, self.preprocessing, settings)
        self.step, self.done, self.earlier_s = 0, 0.0, 0.0

    def resume(self, state: RunState) -> None:
        """Go on where a state ends."""
        self.network.load_state_dict(state.network)
        self.average.state = state.average
        self.optimizer.load_state_dict(state.optimizer)
        self.step, self.done, self.earlier_s = state.step, state.done, state.elapsed_s
        self._renew()

    def _renew(self) -> None:
        """Let the pictures from here on follow from seed and step alone, with new backgrounds."""
        seed = stream_seed(self.settings.seed, self.process.rank, self.step)
        self.generator.draws.stream.manual_seed(seed)
        self.generator.studio.crowd.forget()
        self.generator.renew()

    def train(self, report: Callable[[Progress], None]) -> Path:
        """The loop: learning rate, batch, loss, step, average, now and then a report and a saved pack."""
        s, start = self.settings, time.monotonic() - self.earlier_s
        reported = saved = time.monotonic()
        reported_step = self.step
        while self.done < 1.0:
            for group in self.optimizer.param_groups:
                group["lr"] = group["rate"] * learning_rate_at(s, self.step, self.done)
            self.generator.use(generator_at(s, self.done))
            means = self._step()
            self.step += 1
            now = time.monotonic()
            if self.step % AGREE_EVERY == 0 or self.step >= s.max_steps:
                share = max((now - start) / (60 * s.minutes), self.step / s.max_steps)
                self.done = self.process.agree(share)
            if self.process.first and (now - reported > REPORT_EVERY_S or self.done >= 1.0):
                faces = s.batch_size * self.process.world
                rate = (self.step - reported_step) * faces / (now - reported)
                progress = Progress(self.step, now - start, self.step * faces, rate, _numbers(means))
                self._tell(report, replace(progress, parts_ms=self.clock.milliseconds()))
                reported, reported_step = now, self.step
            if self.step % s.renew_every == 0:
                self._renew()
                if self.process.first and now - saved > s.save_every_s and self.done < 1.0:
                    saved = now
                    self.save(now - start)
        if self.process.first:
            self.save(time.monotonic() - start)
        return self.writer.folder

    def _step(self) -> dict[str, Tensor]:
        s, clock = self.settings, self.clock
        clock.start()
        batch = self.generator.batch(s.batch_size, s.per_person)
        request = request_for(batch, s)
        images = self._prepare(with_mirrored(batch.images, flipped_count(s)))
        clock.mark("draw")
        with torch.autocast(self.process.device.type, torch.bfloat16):
            answer = self.trained(images, request)
        clock.mark("forward")
        loss, means = self.objective(answer, batch, request)
        clock.mark("losses")
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        clock.mark("backward")
        for parameters in self.clipped:
            nn.utils.clip_grad_norm_(parameters, s.gradient_clip)
        self.optimizer.step()
        self.average.update(self.network, self.step)
        clock.mark("update")
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

    def save(self, elapsed_s: float) -> None:
        """Write the averaged networks as a pack, and the state to go on from."""
        self._check_weights()
        accuracy = self._accuracy()
        self.writer.write(self.objective.head, self.average.state, self._provenance(elapsed_s), accuracy)
        state = RunState(
            step=self.step,
            done=self.done,
            elapsed_s=elapsed_s,
            settings=settings_text(self.settings),
            network=self.network.state_dict(),
            average=self.average.state,
            optimizer=self.optimizer.state_dict(),
        )
        write_state(self.output, state)

    def _check_weights(self) -> None:
        """Nothing broken may replace what was saved before.

        Raises:
            UsageError: a weight is not finite.
        """
        tensors = [value for value in self.average.state.values() if value.is_floating_point()]
        tensors += self.network.parameters()
        if not all_finite(tensors):
            raise UsageError(
                f"Training diverged: at step {self.step} a weight is not finite any more. What was saved before stays as "
                "it was. Start again with a lower --learning-rate."
            )

    def _accuracy(self) -> dict[str, float]:
        """Errors on unseen faces, by the names of the manifest."""
        if self.validation is None:
            return {}
        measured = self.validation.measure(
            self.average.state, self.writer.layout, self.objective, self.preprocessing
        )
        return {SHOWN[name]: value for name, value in measured.items()}

    def _provenance(self, elapsed_s: float) -> dict[str, Any]:
        device = self.process.device
        return {
            "stage": "synthetic",
            "steps": self.step,
            "faces_seen": self.step * self.settings.batch_size * self.process.world,
            "minutes": round(elapsed_s / 60, 2),
            "processes": self.process.world,
            "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
            "settings": SETTINGS_FILE,
            **self.earlier,
        }


def _numbers(means: dict[str, Tensor]) -> dict[str, float]:
    return {name: float(value.detach()) for name, value in means.items()}
