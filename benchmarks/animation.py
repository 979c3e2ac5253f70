"""Time the drawing of clips: `python benchmarks/animation.py`, on the CPU or, where there is one, on an NVIDIA GPU.

The head is that of a pack; `--pack` takes another than the bundled one. Without `--pack`, and with the bundled pack
without detail networks, untrained detail networks are put on it, which cost the same as trained ones. `--encode` writes
an MP4 as well. The GPU is timed at 512 pixels, the CPU at 1080p; `--size` changes that. Times are the best and the
median of `--runs` runs over the whole clip; memory is the process's largest, after a tenth of the frames and after all.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from deca_cli.animate.combine import TransferRule, transfer
from deca_cli.animate.frame import portrait_camera, square_in
from deca_cli.animate.looks import RENDERINGS, studio
from deca_cli.animate.mapping import retarget
from deca_cli.animate.presets import PRESETS
from deca_cli.animate.render import Panel, Scene, render_clip
from deca_cli.animate.spaces import space_of
from deca_cli.animate.timeline import play
from deca_cli.animate.video import write_all
from deca_cli.heads.assets import load_head
from deca_cli.heads.model import HeadModel
from deca_cli.networks.codes import Codes, CodeSizes
from deca_cli.networks.deca import Deca
from deca_cli.networks.detail_decoder import DetailDecoder
from deca_cli.networks.encoder import Encoder
from deca_cli.networks.preprocessing import Preprocessing
from deca_cli.packs.manifest import Manifest
from deca_cli.packs.store import Pack, load_pack
from deca_cli.pipeline.captures import Decoder

if TYPE_CHECKING:
    from collections.abc import Iterator

DETAIL = 128
LAYOUT = (("shape", 100), ("expression", 52), ("rotation_6d", 6), ("camera", 3))


def untrained_pack(device: torch.device) -> Pack:
    """The bundled head with untrained networks, detail networks too; needs no weights."""
    folder = pack_folder_of_head()
    assets, _ = load_head(folder / "head.npz")
    sizes = CodeSizes(
        assets.shape_basis.shape[2], 0, assets.expression_basis.shape[2], light=0, detail=DETAIL
    )
    layout = (("shape", sizes.shape), ("expression", sizes.expression), *LAYOUT[2:])
    torch.manual_seed(0)
    deca = Deca(
        head=HeadModel(assets), encoder=Encoder("resnet18", sum(size for _, size in layout), None), layout=layout,
        sizes=sizes, preprocessing=Preprocessing(pixel_offset=-0.5), expression_range=(0.0, 1.0),
        detail_encoder=Encoder("resnet18", DETAIL, None), detail_decoder=DetailDecoder(sizes.expression, DETAIL),
    )  # fmt: skip
    manifest = Manifest(
        name="benchmark", licence="none", backbone="resnet18", layout=layout, sizes=sizes,
        preprocessing=deca.preprocessing, detail_backbone="resnet18",
    )  # fmt: skip
    return Pack(manifest, deca.eval().requires_grad_(False).to(device), assets, folder)


def pack_folder_of_head() -> Path:
    """Where the bundled head lies, with or without weights beside it."""
    import deca_cli.packs

    return Path(deca_cli.packs.__file__).parent / "open"


def clip_codes(pack: Pack, frames: int, fps: float, width: int, height: int) -> Codes:
    """The preset `expressions`, stretched to so many frames, before the camera."""
    source = Codes.zeros(pack.manifest.sizes, 1, pack.deca.head.template_vertices.device)
    motion = retarget(play(PRESETS["expressions"](), fps, frames / fps).motion, space_of(pack))
    codes = transfer(source, motion, TransferRule(pose="driver"))
    with torch.inference_mode():
        neutral = pack.deca.head(source.shape, source.expression, source.pose)[0]
    return portrait_camera(replace(codes, pose=codes.pose.contiguous()), neutral, width, height)


def counted(frames: Iterator[np.ndarray], marks: dict[int, float]) -> Iterator[np.ndarray]:
    """Pass frames on; note the memory at the frames in `marks`."""
    for index, frame in enumerate(frames, 1):
        if index in marks:
            marks[index] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        yield frame


def main() -> None:
    """Measure and print one table row a rendering."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--pack", help="name or folder of a model pack; untrained networks on the open head if left out"
    )
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    parser.add_argument("--size", help="WxH or N; 1920x1080 on the CPU, 512 on a GPU")
    parser.add_argument("--frames", type=int, help="250 on the CPU (10 s at 25), 1000 on a GPU")
    parser.add_argument("--fps", type=float, default=25.0)
    parser.add_argument("--rendering", nargs="+", choices=RENDERINGS, default=["detail"])
    parser.add_argument("--batch", type=int, help="frames decoded together")
    parser.add_argument(
        "--samples",
        type=int,
        choices=[1, 2],
        help="samples per pixel and axis; as `deca animate` if left out",
    )
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--encode", action="store_true", help="write an MP4, too")
    parser.add_argument("--threads", type=int, help="CPU threads")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    wanted = options.device if options.device != "auto" else ("cuda" if torch.cuda.is_available() else "cpu")
    device = torch.device(wanted)
    on_gpu = wanted == "cuda"
    sides = [int(side) for side in (options.size or ("512" if on_gpu else "1920x1080")).split("x")]
    width, height = sides[0], sides[-1]
    frames = options.frames or (1000 if on_gpu else 250)
    pack = load_pack(options.pack, device) if options.pack else untrained_pack(device)
    codes = clip_codes(pack, frames, options.fps, width, height)
    texture = np.random.default_rng(0).integers(0, 255, (1024, 1024, 3), dtype=np.uint8)
    name = torch.cuda.get_device_name() if on_gpu else f"CPU, {torch.get_num_threads()} threads"
    print(
        f"{name}; torch {torch.__version__}; pack {pack.manifest.name}; {frames} frames of {width} x {height}\n"
    )
    print(
        "| rendering | encoded | best, s | median, s | frames/s (best) | memory after 10 %, MB | after all, MB |"
    )
    print("|---|---|---|---|---|---|---|")
    for kind in options.rendering:
        scene = Scene(Decoder.of(pack), (Panel(kind, square_in(width, height)),), studio(), texture,
                      texture if kind == "albedo" else None, samples=options.samples)  # fmt: skip
        few = codes.select(slice(0, options.batch or 64 if on_gpu else 4))
        for _ in render_clip(scene, few, options.batch):
            pass  # compiles kernels
        marks = {max(1, frames // 10): 0.0, frames: 0.0}
        seconds = []
        for _ in range(options.runs):
            started = time.perf_counter()
            drawn = counted(render_clip(scene, codes, options.batch), marks)
            if options.encode:
                with tempfile.TemporaryDirectory() as folder:
                    write_all(Path(folder, "clip.mp4"), drawn, options.fps)
            else:
                for _ in drawn:
                    pass
            seconds.append(time.perf_counter() - started)
        best, middle = min(seconds), statistics.median(seconds)
        memory = " | ".join(f"{value:.0f}" for value in marks.values())
        print(
            f"| {kind} | {'yes' if options.encode else 'no'} | {best:.1f} | {middle:.1f} | {frames / best:.1f} | {memory} |"
        )


if __name__ == "__main__":
    main()
