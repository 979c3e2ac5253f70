"""What drawing pictures fast relies on: nothing waits for the device, and a recorded batch is refused, not faked."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from deca_cli.errors import DeviceError
from deca_cli.heads.assets import load_head
from deca_cli.heads.model import HeadModel
from deca_cli.synthetic import studio
from deca_cli.synthetic.draws import Draws
from deca_cli.synthetic.generator import FaceGenerator
from deca_cli.synthetic.parts import find_parts
from deca_cli.synthetic.recording import Recording, copied
from deca_cli.synthetic.settings import GeneratorSettings

HEAD_FILE = Path(str(files("deca_cli.packs") / "open" / "head.npz"))
SMALL = {"image_size": 64, "texture_size": 64, "shadow_size": 32, "background_textures": 6}
# Operations that make the host wait for a number, or whose result has a size that depends on numbers.
WAITING = ("_local_scalar_dense", "nonzero", "masked_select", "unique", "multinomial", "lift_fresh", "equal")


class Watch(TorchDispatchMode):
    """Collects the operations that a CUDA graph cannot record."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.active = True

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # noqa: ANN204  # torch's signature
        name = func.overloadpacket.__name__
        masks = name in ("index", "index_put_") and any(
            index is not None and index.dtype == torch.bool for index in args[1]
        )
        if self.active and (name.startswith(WAITING) or masks):
            self.found.append(name)
        return func(*args, **(kwargs or {}))


@pytest.fixture(scope="module")
def open_head():
    assets, _ = load_head(HEAD_FILE)
    head = HeadModel(assets)
    return head, find_parts(head, assets, SMALL["texture_size"])


def test_drawing_a_batch_never_waits_for_the_device(open_head, monkeypatch):
    generator = FaceGenerator(*open_head, GeneratorSettings(**SMALL, detail=True), 0)
    generator.batch(4, 2)  # sends the constants
    watch = Watch()
    draw = studio.rasterize

    def unwatched(*arguments, **named):  # noqa: ANN002, ANN003, ANN202  # the CPU's rasteriser; a GPU takes another
        watch.active = False
        try:
            return draw(*arguments, **named)
        finally:
            watch.active = True

    monkeypatch.setattr(studio, "rasterize", unwatched)
    with watch:
        generator.batch(4, 2)
    assert watch.found == []


def test_the_watch_sees_what_would_wait():
    values = torch.arange(3.0)
    with Watch() as watch:
        float(values.sum())
        values[values > 1]
        torch.tensor([1.0, 2.0])
    assert {"_local_scalar_dense", "index", "lift_fresh"} <= set(watch.found)


def test_a_graph_without_a_cuda_device_is_refused(open_head):
    generator = FaceGenerator(*open_head, GeneratorSettings(**SMALL, wrinkle_share=0.0, graph=True), 0)
    with pytest.raises(DeviceError, match="CUDA graph"):
        generator.batch(2)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
def test_a_recorded_batch_is_the_one_drawn_without_a_graph():
    assets, _ = load_head(HEAD_FILE)
    head = HeadModel(assets).cuda()
    parts = find_parts(head, assets, SMALL["texture_size"])
    eager = FaceGenerator(head, parts, GeneratorSettings(**SMALL), 3)
    recorded = FaceGenerator(head, parts, GeneratorSettings(**SMALL, graph=True), 3)
    for _ in range(3):
        expected, found = eager.batch(6, 2), recorded.batch(6, 2)
        assert torch.allclose(expected.landmarks, found.landmarks, atol=1e-4)
        assert (expected.images - found.images).abs().mean() < 1e-3


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
def test_what_cannot_be_recorded_is_named():
    values = torch.ones(4, device="cuda")
    with pytest.raises(DeviceError, match="could not be recorded"):
        Recording(lambda: float(values.sum()), Draws(0, "cuda"), [])


def test_a_copied_batch_keeps_its_numbers_when_the_original_changes(open_head):
    batch = FaceGenerator(*open_head, GeneratorSettings(**SMALL, wrinkle_share=0.0), 0).batch(2)
    kept = copied(batch)
    before = batch.images.clone()
    batch.images.zero_()
    assert torch.equal(kept.images, before)
    assert kept.displacement is None
