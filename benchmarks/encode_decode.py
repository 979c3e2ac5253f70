"""Time encode + decode with all pictures at 224 pixels for a model of the official shape; part of `reconstruct.py`.

Two ResNet-50 encoders (236 and 128 outputs), detail decoder, albedo model, and a head of about 5,000 vertices, with
random weights; the head is the bundled open one with code sizes and bases padded to the official numbers.
"""

from __future__ import annotations

import statistics
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

import deca_cli
from deca_cli.heads.albedo import Albedo
from deca_cli.heads.assets import AlbedoAssets, load_head
from deca_cli.heads.model import HeadModel
from deca_cli.networks.codes import CodeSizes
from deca_cli.networks.deca import Deca
from deca_cli.networks.detail_decoder import DetailDecoder
from deca_cli.networks.encoder import Encoder
from deca_cli.networks.inference import PRECISIONS, ready_deca, set_convolution_precision
from deca_cli.networks.layout import DECA_LAYOUT, layout_width
from deca_cli.networks.preprocessing import Preprocessing
from deca_cli.pipeline.pictures import DecodePictures

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

BATCHES = (1, 8, 32, 64, 128)
MODES = ("eager", "graph")
COMPILED_BATCH = 64  # compiling takes a minute or two for each precision, so it is done for one batch size
TARGETS = {"tf32": 2500, "bf16": 4000}  # photos a second at batch 64
# The official release, photos a second by batch, measured on an H200.
RELEASE = ((1, 43.0), (8, 160.0), (32, 198.0), (128, 157.0))
SIZE = 224
HEAD = Path(deca_cli.__file__).parent / "packs/open/head.npz"


def official_shape(device: torch.device) -> Deca:
    """A model with the official sizes and random weights, whose heads fill the crop as usual."""
    torch.manual_seed(0)
    sizes = CodeSizes()
    assets, _ = load_head(HEAD)
    count = len(assets.template_vertices)
    rng = np.random.default_rng(0)
    expression = np.zeros((count, 3, sizes.expression), np.float32)
    shared = min(sizes.expression, assets.expression_basis.shape[2])
    expression[..., :shared] = assets.expression_basis[..., :shared]
    correctives = rng.normal(0, 1e-5, (36, 3 * count)).astype(np.float32)
    head = HeadModel(
        replace(assets, expression_basis=expression, expression_names=(), pose_basis=correctives)
    )
    skin = AlbedoAssets(
        mean=rng.uniform(0.3, 0.8, (3, 256, 256)).astype(np.float32),
        basis=rng.normal(0, 1e-2, (3, 256, 256, sizes.albedo)).astype(np.float32),
    )
    encoder = Encoder("resnet50", layout_width(DECA_LAYOUT), 1024)
    low, high = assets.template_vertices.min(axis=0), assets.template_vertices.max(axis=0)
    middle = (low + high) / 2
    with torch.no_grad():
        last = encoder.layers[2]
        last.weight.mul_(1e-2)
        last.bias[206:209] = torch.tensor([1.75 / float(high[1] - low[1]), -middle[0], -middle[1]])
        last.bias[209:236] = torch.tensor([2.5, *[0.0] * 26])
    deca = Deca(
        head=head,
        albedo=Albedo(skin),
        encoder=encoder,
        detail_encoder=Encoder("resnet50", sizes.detail, 1024),
        detail_decoder=DetailDecoder(sizes.expression, sizes.detail),
        layout=DECA_LAYOUT,
        sizes=sizes,
        preprocessing=Preprocessing(),
    )
    return deca.eval().requires_grad_(False).to(device)


def whole_step(deca: Deca) -> Callable[[Tensor], dict[str, Tensor]]:
    """Crops -> heads and all pictures."""
    draw = DecodePictures(deca)

    def step(images: Tensor) -> dict[str, Tensor]:
        return draw(deca.encode(images).codes, images)

    return step


def median_s(call: Callable[[], object], device: torch.device, repeats: int) -> float:
    """Seconds a call: CUDA events where there is a GPU, else the wall clock."""
    if device.type == "cpu":
        times = []
        for _ in range(repeats):
            start = time.perf_counter()
            call()
            times.append(time.perf_counter() - start)
        return statistics.median(times)
    for _ in range(3):
        call()
    events = [[torch.cuda.Event(enable_timing=True) for _ in range(2)] for _ in range(repeats)]
    for start, end in events:
        start.record()
        call()
        end.record()
    torch.cuda.synchronize()
    return statistics.median(start.elapsed_time(end) for start, end in events) / 1e3


def graph_of(step: Callable[[Tensor], object], images: Tensor) -> Callable[[], object]:
    """Record one call as a CUDA graph; the replay reads the same images and fills the same results."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            step(images)
    torch.cuda.current_stream().wait_stream(side)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        kept = step(images)
    return lambda: (graph.replay(), kept)


def time_mode(deca: Deca, mode: str, images: Tensor, repeats: int) -> float:
    """Photos a second of one way to run it."""
    step = whole_step(deca)
    if mode == "compiled":
        torch._dynamo.reset()  # noqa: SLF001 - else compiled shapes pile up to a limit over the table
        step = torch.compile(step, dynamic=False)
        for _ in range(2):
            step(images)
    call = (lambda: step(images)) if mode == "eager" else graph_of(step, images)
    return len(images) / median_s(call, images.device, repeats)


def rate_or_problem(
    deca: Deca, mode: str, images: Tensor, repeats: int, what: str, problems: list[str]
) -> float | None:
    """Photos a second; a way that fails must not cost the table."""
    try:
        return time_mode(deca, mode, images, repeats)
    except Exception as error:  # noqa: BLE001 - see above
        first = (str(error).strip().splitlines() or [""])[0]
        problems.append(f"{what}: {type(error).__name__}: {first[:400]}")
        return None
    finally:
        if images.is_cuda:
            torch.cuda.empty_cache()


def _cell(rate: float | None) -> str:
    return "failed" if rate is None else f"{rate:.4g}"


@torch.inference_mode()
def table(
    device: torch.device, batches: tuple[int, ...], modes: tuple[str, ...], repeats: int
) -> dict[tuple[str, str], list[tuple[int, float]]]:
    """Print photos a second by batch, precision and mode; what was measured, by precision and mode: batch, rate."""
    deca = official_shape(device)
    head = deca.head
    print(
        f"\nEncode + decode, all pictures at {SIZE}: two ResNet-50, detail decoder, albedo, random weights,"
    )
    print(
        f"open head padded to official code sizes ({head.vertex_count} vertices, {len(head.faces)} triangles)"
    )
    print(f"\n| batch | precision | {' | '.join(f'{mode}, photos/s' for mode in modes)} |")
    print("|---|---|" + "---|" * len(modes), flush=True)
    problems: list[str] = []
    curves: dict[tuple[str, str], list[tuple[int, float]]] = {}
    for precision in precisions_of(device):
        set_convolution_precision(precision)
        fast = ready_deca(deca, precision)
        for batch in batches:
            images = torch.rand(batch, 3, SIZE, SIZE, device=device)
            rates = {
                mode: rate_or_problem(fast, mode, images, repeats, f"{precision} {mode} at {batch}", problems)
                for mode in modes
            }
            print(f"| {batch} | {precision} | {' | '.join(map(_cell, rates.values()))} |", flush=True)
            for mode, rate in rates.items():
                if rate is not None:
                    curves.setdefault((precision, mode), []).append((batch, rate))
    for problem in dict.fromkeys(problems):
        print(f"failed: {problem}")
    aims = ", ".join(f"{name} >= {rate} photos/s" for name, rate in TARGETS.items())
    print(f"aims at batch 64: {aims}", flush=True)
    return curves


@torch.inference_mode()
def compiled_table(device: torch.device, repeats: int) -> None:
    """Print photos a second of encode + decode through torch.compile, recorded as a CUDA graph."""
    deca = official_shape(device)
    images = torch.rand(COMPILED_BATCH, 3, SIZE, SIZE, device=device)
    problems: list[str] = []
    print(f"\n| precision | compiled and recorded, photos/s at batch {COMPILED_BATCH} |\n|---|---|")
    for precision in TARGETS:
        set_convolution_precision(precision)
        fast = ready_deca(deca, precision)
        rate = rate_or_problem(fast, "compiled", images, repeats, f"{precision} compiled", problems)
        print(f"| {precision} | {_cell(rate)} |", flush=True)
    for problem in problems:
        print(f"failed: {problem}", flush=True)


def precisions_of(device: torch.device) -> tuple[str, ...]:
    """Those that the device has."""
    return PRECISIONS if device.type == "cuda" else ("fp32", "bf16")


@torch.inference_mode()
def parts(device: torch.device, batch: int, repeats: int) -> None:
    """Print where the time of one batch goes, and that the precisions agree."""
    deca = official_shape(device)
    images = torch.rand(batch, 3, SIZE, SIZE, device=device)
    set_convolution_precision("fp32")
    codes = deca.encode(images).codes
    draw = DecodePictures(deca)
    head = deca.decode(codes)
    maps = draw._uv_maps(head, codes, images)  # noqa: SLF001 - parts of a step have no other name
    print(f"\nOne batch of {batch} in parts, eager\n\n| part | ms |\n|---|---|")

    def show(part: str, call: Callable[[], object]) -> None:
        print(f"| {part} | {1e3 * median_s(call, device, repeats):.2f} |", flush=True)

    for precision in precisions_of(device):
        set_convolution_precision(precision)
        fast = ready_deca(deca, precision)
        show(f"detail decoder, {precision}", lambda fast=fast: fast.displacement(codes))
        show(f"geometry and detail decoder, {precision}", lambda fast=fast: fast.decode(codes))
    show("UV maps", lambda: draw._uv_maps(head, codes, images))  # noqa: SLF001
    show("pictures of the crop", lambda: draw._draw(head, codes, maps, SIZE))  # noqa: SLF001
    for precision in precisions_of(device):
        set_convolution_precision(precision)
        fast = ready_deca(deca, precision)
        time_ms = 1e3 * median_s(lambda fast=fast: fast.encode(images), device, repeats)
        found = fast.encode(images).codes
        off = max(
            float((value - expected).abs().max() / expected.abs().max().clamp(min=1e-6))
            for (_, value), (_, expected) in zip(found.items(), codes.items(), strict=True)
        )
        print(
            f"| both encoders, {precision} (codes off by {off:.1e} of their largest) | {time_ms:.2f} |",
            flush=True,
        )
    covered = draw(codes, images)["alpha"].mean()
    print(f"\nthe heads cover {100 * float(covered):.0f} % of the crops")
