"""Workers that begin before the model is loaded."""

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from threading import Event
from types import SimpleNamespace

import pytest
from PIL import Image

from deca_cli.export.formats import FORMATS
from deca_cli.pipeline import ahead, crew, task
from deca_cli.pipeline.ahead import Ahead
from deca_cli.pipeline.pace import Pace, worker_count
from deca_cli.pipeline.settings import Settings
from deca_cli.pipeline.task import bytes_of


class Stub:
    """A crew that only remembers what it was told to begin with."""

    def __init__(self, size: int, *, processes: bool, drawing: bool, beside_gpu: bool) -> None:
        self.size, self.processes, self.drawing, self.begun = size, processes, drawing, []
        self.beside_gpu, self.workers = beside_gpu, [None] * size

    def begin(self, number, path, _settings, _size):
        self.begun.append((number, path))


@pytest.fixture
def begin(monkeypatch, tmp_path):
    """Start stand-ins for workers: the arguments are the bytes that a photo takes, and settings."""
    monkeypatch.setattr(ahead, "start_early", lambda **_: None)
    monkeypatch.setattr(crew, "Crew", Stub)
    photos = [tmp_path / f"{number}.jpg" for number in range(1000)]

    def invoke(size: int, settings: Settings, *, gpu=True) -> Stub:
        monkeypatch.setattr(task, "bytes_of", lambda _path: size)
        made = ahead.crew_ahead(len(photos), settings, gpu=gpu, rasterizer="auto", cores=16)
        with ThreadPoolExecutor() as beside:
            begun = Ahead(made, photos, settings, beside)
            assert made.begun == list(enumerate(photos))[: len(made.begun)]
            begun.rest.result()
        return made

    return invoke


LBP = Settings(detector="lbp")


def test_a_thousand_photos_of_512_pixels_are_all_begun(begin):
    begun = begin(512 * 512 * 3, LBP)
    assert [number for number, _ in begun.begun] == list(range(1000))
    assert (begun.size, begun.processes, begun.drawing, begun.beside_gpu) == (16, True, False, True)


def test_a_few_photos_begin_at_once_and_others_until_somebody_else_needs_the_workers(monkeypatch, tmp_path):
    paths, asked, slow = [tmp_path / str(number) for number in range(1000)], [], Event()

    def bytes_of(path) -> int:
        if int(path.name) >= 8:
            slow.wait(20)
        asked.append(path)
        return 1

    monkeypatch.setattr(task, "bytes_of", bytes_of)
    made = Stub(2, processes=True, drawing=False, beside_gpu=True)
    with ThreadPoolExecutor() as beside:
        begun = Ahead(made, paths, LBP, beside)
        assert [number for number, _ in made.begun] == list(range(2 * ahead.AT_ONCE)) == list(range(8))
        begun.ending = True
        slow.set()
        begun.end()
    assert [number for number, _ in made.begun] == list(range(9))
    assert asked == paths[:9]


@pytest.mark.parametrize(
    ("library", "gpu"), [("libtorch_cpu.so", False), ("libtorch_hip.so", False), ("libtorch_cuda.so", True)]
)
def test_a_gpu_is_counted_on_where_there_is_one_and_torch_was_built_for_it(
    monkeypatch, tmp_path, library, gpu
):
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / library).touch()
    torch = SimpleNamespace(submodule_search_locations=[str(tmp_path)])
    monkeypatch.setattr(ahead, "find_spec", lambda _: torch)
    monkeypatch.setattr(ahead, "GPU_LIKELY", [str(tmp_path)])
    assert ahead.torch_is_for_cuda() == gpu
    asked = [ahead.gpu_likely(device) for device in ("auto", "cuda", "cpu")]
    assert asked == [gpu, True, False]
    monkeypatch.setattr(ahead, "GPU_LIKELY", [str(tmp_path / "none")])
    assert not ahead.gpu_likely("auto")


def test_large_photos_are_begun_as_far_as_memory_goes(begin):
    assert len(begin(150_000_000, LBP).begun) == ahead.BYTES_AHEAD // 150_000_000


def test_what_may_be_finished_is_not_read_ahead(begin):
    assert begin(1, Settings(detector="lbp", resume=True)).begun == []


def test_without_a_gpu_workers_draw(begin):
    assert begin(1, LBP, gpu=False).drawing


@pytest.mark.parametrize("name", sorted(FORMATS))
def test_beside_a_gpu_workers_draw_what_shows_the_mesh(begin, name):
    assert begin(1, Settings(detector="lbp", formats=(name,))).drawing == (name != "landmarks")


def test_processes_draw_further_formats_on_the_cpu_and_threads_where_overlays_are_drawn():
    pace = Pace(batch_size=1, group=1, groups=1, workers=1, processes=True)
    assert pace.formats_drawn_on("cuda:0") == "cpu"
    assert replace(pace, processes=False).formats_drawn_on("cuda:0") == "cuda:0"


@pytest.mark.parametrize(
    ("photos", "gpu", "workers"),
    [(0, True, 0), (1, True, 1), (9, True, 9), (99, True, 16), (15, False, 0), (16, False, 4)],
)
def test_a_gpu_gets_a_process_beside_it_for_every_photo_as_far_as_cores_go(photos, gpu, workers):
    assert worker_count(photos, gpu=gpu, cores=16, detector="lbp") == workers


@pytest.mark.parametrize("name", ["flat.png", "flat.jpg", "flat.webp", "flat.tif", "turned.jpg"])
def test_the_bytes_of_a_photo_are_those_of_its_pixels_however_small_its_file_is(tmp_path, name):
    exif = Image.Exif()
    exif[0x0112] = 6 if name == "turned.jpg" else 1
    Image.new("RGB", (900, 700)).save(tmp_path / name, exif=exif)
    assert bytes_of(tmp_path / name) == 900 * 700 * 3


def test_without_a_header_the_bytes_of_a_photo_are_guessed_and_never_more_than_the_largest_takes(tmp_path):
    (tmp_path / "text.jpg").write_bytes(b"no picture")
    (tmp_path / "huge.jpg").touch()
    os.truncate(tmp_path / "huge.jpg", 2 * 10**9)
    os.mkfifo(tmp_path / "pipe.jpg")
    names = ("text.jpg", "huge.jpg", "pipe.jpg", "missing.jpg")
    assert [bytes_of(tmp_path / name) for name in names] == [10 * 24, 360_000_000, 0, 0]
