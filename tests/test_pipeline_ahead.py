"""Workers that begin before the model is loaded."""

import os
from dataclasses import replace

import pytest
from PIL import Image

from deca_cli.export.formats import FORMATS
from deca_cli.pipeline import ahead, crew, task
from deca_cli.pipeline.pace import Pace, worker_count
from deca_cli.pipeline.settings import Settings
from deca_cli.pipeline.task import bytes_of


class Stub:
    """A crew that only remembers what it was told to begin with."""

    def __init__(self, size: int, *, processes: bool, drawing: bool) -> None:
        self.size, self.processes, self.drawing, self.begun = size, processes, drawing, []

    def begin(self, number, path, _settings, _size):
        self.begun.append((number, path))


@pytest.fixture
def begin(monkeypatch, tmp_path):
    """Start stand-ins for workers: the arguments are the bytes that a photo takes, and settings."""
    monkeypatch.setattr(ahead, "start_early", lambda **_: None)
    monkeypatch.setattr(crew, "Crew", Stub)
    photos = [tmp_path / f"{number}.jpg" for number in range(1000)]

    def invoke(size: int, settings: Settings, *, device="cuda") -> Stub:
        monkeypatch.setattr(task, "bytes_of", lambda _path: size)
        return ahead.crew_ahead(photos, settings, device=device, rasterizer="auto", cores=16)

    return invoke


LBP = Settings(detector="lbp")


def test_a_thousand_photos_of_512_pixels_are_all_begun(begin):
    begun = begin(512 * 512 * 3, LBP)
    assert [number for number, _ in begun.begun] == list(range(1000))
    assert (begun.size, begun.processes, begun.drawing) == (16, True, False)


def test_large_photos_are_begun_as_far_as_memory_goes(begin):
    assert len(begin(150_000_000, LBP).begun) == ahead.BYTES_AHEAD // 150_000_000


def test_what_may_be_finished_is_not_read_ahead(begin):
    assert begin(1, Settings(detector="lbp", resume=True)).begun == []


def test_without_a_gpu_workers_draw(begin):
    assert begin(1, LBP, device="cpu").drawing


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
