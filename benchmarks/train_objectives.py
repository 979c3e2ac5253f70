"""Throughput and memory of one training step of the paper's stages, on random pictures with random weights.

    python benchmarks/train_objectives.py [--device cuda] [--steps 30] [--profile]

The model is the official one in size (ResNet-50 encoders, 236 + 2 outputs, detail decoder) on the bundled open head. A step
is: encode, decode, compare, gradients, Adam. Images are counted once, though all losses work on the doubled batch. No data
loading. On a GPU times are of CUDA events; everything is a median.
"""

import argparse
import itertools
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

import deca_cli
from deca_cli.assets.loss_networks import VGG19_STAGES
from deca_cli.heads.albedo import Albedo
from deca_cli.heads.assets import load_head
from deca_cli.heads.model import HeadModel
from deca_cli.networks.codes import CodeSizes
from deca_cli.networks.deca import Deca
from deca_cli.networks.detail_decoder import DetailDecoder
from deca_cli.networks.encoder import Encoder
from deca_cli.networks.layout import layout_width, raw_to_codes, split_raw
from deca_cli.networks.preprocessing import Preprocessing
from deca_cli.networks.resnet import ResNet
from deca_cli.train.data.batch import PersonBatch
from deca_cli.train.losses.face_recognition import FaceRecognition
from deca_cli.train.losses.vgg19 import Vgg19
from deca_cli.train.losses.weights import CoarseWeights, DetailWeights
from deca_cli.train.objectives.batches import draw_order
from deca_cli.train.objectives.coarse import CoarseObjective
from deca_cli.train.objectives.detail import DetailNetworks, DetailObjective

HEAD = Path(deca_cli.__file__).parent / "packs" / "open" / "head.npz"
LAYOUT = (("shape", 100), ("albedo", 50), ("expression", 52), ("pose", 6), ("camera", 3), ("light", 27))
WARM_UP = 8


@dataclass(frozen=True)
class Case:
    """A stage with a batch of people."""

    stage: str
    people: int
    per_person: int


CASES = (Case("pretrain", 64, 1), Case("coarse", 8, 2), Case("detail", 6, 3), Case("detail", 2, 4))
TINY = (Case("pretrain", 2, 1), Case("coarse", 1, 2), Case("detail", 1, 2))


def random_deca(device: str) -> Deca:
    """Official sizes, and answers near a face that fills its crop under white light."""
    assets, albedo = load_head(HEAD)
    if albedo is None:
        raise ValueError(f"{HEAD} has no albedo")
    encoder = Encoder("resnet50", layout_width(LAYOUT), 1024)
    detail = Encoder("resnet50", 128, 1024)
    for network in (encoder, detail):
        network.encoder.initialise()
        nn.init.normal_(network.layers[2].weight, std=1e-3)
        nn.init.zeros_(network.layers[2].bias)
    with torch.no_grad():
        bias = split_raw(encoder.layers[2].bias[None], LAYOUT)
        bias["camera"][0] = torch.tensor([10.0, 0.0, -0.02])
        bias["light"][0, :3] = 3.0
    deca = Deca(
        head=HeadModel(assets),
        encoder=encoder,
        layout=LAYOUT,
        sizes=CodeSizes(expression=52),
        preprocessing=Preprocessing(pixel_offset=-0.5),
        albedo=Albedo(albedo),
        detail_encoder=detail,
        detail_decoder=DetailDecoder(52, 128),
    )
    return deca.to(device=device, memory_format=torch.channels_last).train()


def random_batch(case: Case, device: str) -> PersonBatch:
    people, pictures = case.people, case.per_person
    landmarks = torch.rand(people, pictures, 68, 3, device=device) - 0.5
    landmarks[..., 2] = 1
    return PersonBatch(
        images=torch.rand(people, pictures, 3, 224, 224, device=device),
        landmarks=landmarks,
        masks=(torch.rand(people, pictures, 224, 224, device=device) > 0.2).float(),
        names=("",) * (people * pictures),
    )


def random_face_recognition(dtype: torch.dtype) -> FaceRecognition:
    network = ResNet("resnet50")
    network.initialise()
    return FaceRecognition(network.state_dict(), dtype)


def random_vgg(dtype: torch.dtype) -> Vgg19:
    state, number, inputs = {}, 0, 3
    for count, width in VGG19_STAGES:
        for _ in range(count):
            state[f"features.{number}.weight"] = torch.randn(width, inputs, 3, 3) * (2 / (9 * inputs)) ** 0.5
            state[f"features.{number}.bias"] = torch.zeros(width)
            number, inputs = number + 2, width
        number += 1
    return Vgg19(state, dtype)


def coarse_step(case: Case, device: str, dtype: torch.dtype) -> Callable[[], None]:
    deca, batch = random_deca(device), random_batch(case, device)
    weights = CoarseWeights()
    if case.stage == "pretrain":
        weights = CoarseWeights(photo=0, id=0, useSeg=False, reg_tex=0, reg_light=0, shape_consistency=False)
    network = random_face_recognition(dtype).to(device) if weights.id else None
    objective = CoarseObjective(deca, weights, network)
    optimizer = torch.optim.Adam(
        deca.encoder.parameters(), lr=1e-4, fused=device == "cuda", capturable=device == "cuda"
    )
    order = draw_order(case.people, case.per_person).to(device)
    images = batch.images.flatten(0, 1).contiguous(memory_format=torch.channels_last)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(device, torch.bfloat16, enabled=dtype == torch.bfloat16, cache_enabled=False):
            raw = deca.encoder(images)
        codes = raw_to_codes(raw, deca.layout, deca.sizes).codes
        objective(codes, batch, order).total.backward()
        optimizer.step()

    return step


def detail_step(case: Case, device: str, dtype: torch.dtype) -> Callable[[], None]:
    deca, batch = random_deca(device), random_batch(case, device)
    deca.encoder.eval().requires_grad_(False)
    networks = DetailNetworks(deca)
    objective = DetailObjective(deca, DetailWeights(), random_vgg(dtype).to(device))
    optimizer = torch.optim.Adam(
        networks.parameters(), lr=1e-4, fused=device == "cuda", capturable=device == "cuda"
    )
    order = draw_order(case.people, case.per_person).to(device)
    images = batch.images.flatten(0, 1).contiguous(memory_format=torch.channels_last)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(device, torch.bfloat16, enabled=dtype == torch.bfloat16, cache_enabled=False):
            with torch.no_grad():
                raw = deca.encoder(images)
            codes = raw_to_codes(raw, deca.layout, deca.sizes).codes
            displacement = networks(images, codes, order)
        objective(codes, displacement, batch, order).total.backward()
        optimizer.step()

    return step


def recorded(step: Callable[[], None]) -> Callable[[], None]:
    """The step as a CUDA graph."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(WARM_UP):
            step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=side):
        step()
    return graph.replay


def times_ms(step: Callable[[], None], device: str, steps: int) -> list[float]:
    """Of single steps, one after the other without waiting in between on a GPU."""
    for _ in range(WARM_UP if device == "cuda" else 1):
        step()
    if device != "cuda":
        found = []
        for _ in range(steps):
            started = time.perf_counter()
            step()
            found.append(1e3 * (time.perf_counter() - started))
        return found
    marks = [torch.cuda.Event(enable_timing=True) for _ in range(steps + 1)]
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    marks[0].record()
    for mark in marks[1:]:
        step()
        mark.record()
    torch.cuda.synchronize()
    return [before.elapsed_time(after) for before, after in itertools.pairwise(marks)]


def profile(step: Callable[[], None], device: str) -> str:
    from torch.profiler import ProfilerActivity

    kinds = [ProfilerActivity.CPU] + ([ProfilerActivity.CUDA] if device == "cuda" else [])
    with torch.profiler.profile(activities=kinds) as seen:
        for _ in range(3):
            step()
        if device == "cuda":
            torch.cuda.synchronize()
    order = "self_cuda_time_total" if device == "cuda" else "self_cpu_time_total"
    return seen.key_averages().table(sort_by=order, row_limit=28, max_name_column_width=60)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    arguments.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    arguments.add_argument("--steps", type=int, default=30)
    arguments.add_argument("--precision", nargs="+", default=["bfloat16", "float32"])
    arguments.add_argument("--stages", nargs="+", default=["pretrain", "coarse", "detail"])
    arguments.add_argument("--factor", type=int, default=1, help="times the official number of people")
    arguments.add_argument("--graph", action="store_true", help="record a step as a CUDA graph and replay it")
    arguments.add_argument("--tiny", action="store_true", help="batches that a CPU can do")
    arguments.add_argument("--profile", action="store_true", help="also say where the time goes")
    options = arguments.parse_args()
    torch.backends.cudnn.benchmark = True
    cuda = options.device == "cuda"
    print(f"torch {torch.__version__}, {torch.cuda.get_device_name() if cuda else 'CPU'}\n")
    print(
        "| stage | batch | networks | ms a step | images/s | peak GiB |\n|---|---|---|---|---|---|",
        flush=True,
    )
    profiles = []
    for official in TINY if options.tiny else CASES:
        case = replace(official, people=official.people * options.factor)
        for precision in options.precision if case.stage in options.stages else ():
            torch.manual_seed(0)
            make = detail_step if case.stage == "detail" else coarse_step
            step = make(case, options.device, getattr(torch, precision))
            step = recorded(step) if options.graph else step
            middle = statistics.median(times_ms(step, options.device, options.steps))
            memory = f"{torch.cuda.max_memory_allocated() / 2**30:.1f}" if cuda else "-"
            images = case.people * case.per_person
            print(
                f"| {case.stage} | {case.people} x {case.per_person} | {precision} | {middle:.1f} | "
                f"{1e3 * images / middle:.0f} | {memory} |",
                flush=True,
            )
            if options.profile:
                profiles.append(
                    f"\n{case.stage} {case.people} x {case.per_person} {precision}\n{profile(step, options.device)}"
                )
            del step
            if cuda:
                torch.cuda.empty_cache()
    print("\n".join(profiles))


if __name__ == "__main__":
    main()
