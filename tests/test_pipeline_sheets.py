"""Layers of overlays that go to worker processes through shared memory."""

import gc
import mmap
import os
import signal
import sys
import threading
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import stand_in
from deca_cli.export.shape_layers import Layers
from deca_cli.export.view import Region
from deca_cli.packs.store import load_pack
from deca_cli.pipeline import batch, sheets
from deca_cli.pipeline.batch import reconstruct
from deca_cli.pipeline.captures import Decoder
from deca_cli.pipeline.crew import Crew
from deca_cli.pipeline.pace import Pace
from deca_cli.pipeline.pages import Pages
from deca_cli.pipeline.pinned import Pinned
from deca_cli.pipeline.settings import Settings
from deca_cli.pipeline.sheets import Sheets
from deca_cli.pipeline.slate import HEADER, Slate
from render_scenarios import needs_gpu

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="workers are threads there")
PACE = Pace(batch_size=5, group=3, groups=2, workers=2, processes=True)
GIVEN = Settings(box_px=(60.0, 40.0, 140.0, 130.0))


@pytest.fixture
def slate():
    slate = Slate.for_processes()
    yield slate
    slate.close()


@pytest.fixture(scope="module")
def decoder(tmp_path_factory):
    """One that draws layers in the main process, as with a GPU."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Decoder, "__post_init__", lambda _: None)
        pack = load_pack(stand_in.make_pack(tmp_path_factory.mktemp("packs") / "pack"))
        yield replace(Decoder.of(pack, whole=False), draw_on="here")


@pytest.fixture
def photos(tmp_path):
    return stand_in.make_photos(tmp_path)


@pytest.fixture
def made(monkeypatch) -> list[Sheets]:
    """Every `Sheets` of a run."""
    every = []

    def make(*given: object) -> Sheets:
        every.append(Sheets(*given))
        return every[-1]

    monkeypatch.setattr(batch, "Sheets", make)
    return every


def results(photos, decoder, output, pace=PACE) -> dict[str, bytes]:
    output.mkdir()
    outcomes = list(reconstruct(photos, decoder, GIVEN, output, pace=pace))
    assert [outcome.status for outcome in outcomes] == ["done"] * len(photos)
    return {
        path.relative_to(output).as_posix(): path.read_bytes() for path in output.rglob("*") if path.is_file()
    }


def gaps(memory) -> list[tuple[int, int]]:
    gc.collect()
    memory._tidy()
    return memory.free


def test_sheets_do_not_overlap_and_are_free_again_when_nobody_has_them(slate):
    memory = Sheets(slate, HEADER, 1000)
    held = [memory.take((2, 3, 10, 5)) for _ in range(3)]
    assert memory.take((2, 3, 10, 5)) is None
    small = memory.take((1, 2, 5, 5))
    for number, sheet in enumerate((*held, small), 1):
        sheet.content[:] = number
    assert [int(sheet.content.min()) for sheet in (*held, small)] == [1, 2, 3, 4]
    del held[1], sheet
    assert gaps(memory) == [(300, 600), (950, 1000)]
    assert memory.take((300,)) is not None
    held.clear()
    del small
    assert gaps(memory) == [(0, 1000)]


def test_another_process_finds_the_layers_where_they_were_put(slate):
    memory = Sheets(slate, HEADER + 5, 2**16)
    sheet = memory.take((2, 3, 16, 16))
    sheet.content[:] = np.random.default_rng(0).integers(0, 255, sheet.content.shape)
    own = sheet.content[1, :, :9, :7]
    layers = Layers(Region(3, 4, 10, 13), own[0], own[1], own[2], sheet)
    there = sheet.placed(layers).layers(Slate(os.dup(slate.descriptor)))
    assert there.region == layers.region
    assert [one.tolist() for one in (there.opacity, there.coarse, there.detail)] == own.tolist()


@pytest.mark.parametrize("room", [sheets.ROOM, 150_000])
def test_files_are_the_same_bytes_however_much_shared_memory_there_is(
    photos, decoder, tmp_path, monkeypatch, made, room
):
    plain = results(photos, decoder, tmp_path / "plain", replace(PACE, processes=False))
    assert not made
    monkeypatch.setattr(sheets, "ROOM", room)
    taken = []
    real = Sheets.take

    def take(self, shape) -> object:
        sheet = real(self, shape)
        taken.append(sheet is not None)
        return sheet

    monkeypatch.setattr(Sheets, "take", take)
    assert results(photos, decoder, tmp_path / "shared", PACE) == plain
    assert set(taken) == ({True, False} if room == 150_000 else {True})
    assert gaps(made[0]) == [(0, room)]


@dataclass(frozen=True)
class Deadly:
    """End the process."""

    path: Path
    quick, begins = True, False

    def run(self, _) -> None:
        os.kill(os.getpid(), signal.SIGKILL)


def test_a_worker_that_crashes_leaves_no_memory_behind(photos, decoder, tmp_path, monkeypatch, made):
    real, posts = Crew.post, []

    def post(self, index, requests) -> list:
        pending = real(self, index, requests)
        if isinstance(requests[0], batch.Save):
            posts.append(index)
            if len(posts) == 2:
                real(self, index, [Deadly(photos[0])])
        return pending

    monkeypatch.setattr(Crew, "post", post)
    files = results(photos, decoder, tmp_path / "out")
    assert len([name for name in files if name.endswith("params.json")]) == len(photos)
    assert gaps(made[0]) == [(0, sheets.ROOM)]


class Runtime:
    """Of CUDA, as torch shows it; has memory for some parts only."""

    def __init__(self, most) -> None:
        self.most, self.held = most, []
        self.cudaError = SimpleNamespace(success=0)

    def cudaHostRegister(self, address, _size, _flags) -> int:  # noqa: N802 - its name
        if len(self.held) >= self.most:
            return 2
        self.held.append(address)
        return 0

    def cudaHostUnregister(self, address) -> int:  # noqa: N802 - its name
        self.held.remove(address)
        return 0


@pytest.mark.parametrize("most", [0, 2, 9])
def test_what_is_pinned_is_ordinary_memory_again_in_the_end(monkeypatch, most):
    runtime = Runtime(most)
    monkeypatch.setattr(torch.cuda, "cudart", lambda: runtime)
    monkeypatch.setattr(torch.cuda, "set_device", lambda _: None)
    parts = [np.zeros(8) for _ in range(4)]
    pinned = Pinned(parts, torch.device("cuda"))
    pinned.thread.join()
    assert runtime.held == [part.ctypes.data for part in parts[:most]]
    pinned.close()
    assert runtime.held == []


def test_a_gpu_in_trouble_is_not_told_by_the_thread_that_pins(monkeypatch):
    def broken() -> None:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    told = []
    monkeypatch.setattr(threading, "excepthook", told.append)
    monkeypatch.setattr(torch.cuda, "cudart", broken)
    pinned = Pinned([np.zeros(8)], torch.device("cuda"))
    pinned.close()
    assert (pinned.done, told) == ([], [])


@pytest.mark.parametrize("side", [224, 225])
def test_crops_and_sheets_share_no_page_of_memory_so_each_can_be_pinned(slate, side):
    pages = Pages(slate, 3, 2, side)
    memory = Sheets(slate, slate.end_of_crops, 5000).memory
    first, other = (array.__array_interface__["data"][0] for array in (pages.crops, memory))
    assert (first % mmap.PAGESIZE, other % mmap.PAGESIZE) == (0, 0)
    assert slate.end_of_crops <= Sheets(slate, slate.end_of_crops, 5000).start


@pytest.mark.cuda
@needs_gpu
def test_the_gpu_reads_and_writes_pinned_memory_and_results_stay_the_same(tmp_path, monkeypatch, photos):
    pack = load_pack(stand_in.make_pack(tmp_path / "pack"), "cuda")
    decoder = Decoder.of(pack, whole=False, draw_on=str(pack.deca.head.template_vertices.device))
    plain = results(photos, decoder, tmp_path / "plain", replace(PACE, processes=False))
    pinned = []

    def pin(*given: object) -> Pinned:
        pinned.append(Pinned(*given))
        pinned[-1].thread.join()
        assert len(pinned[-1].done) == len(pinned[-1].parts) == 2
        assert all(torch.from_numpy(part).is_pinned() for part in pinned[-1].done)
        return pinned[-1]

    monkeypatch.setattr(batch, "Pinned", pin)
    monkeypatch.setattr(batch, "WORTH_PINNING", 0)
    assert results(photos, decoder, tmp_path / "pinned", PACE) == plain
    assert [len(one.done) for one in pinned] == [0]
