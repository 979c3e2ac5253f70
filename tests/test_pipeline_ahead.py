"""Workers that begin before the model is loaded."""

import pytest

from deca_cli.pipeline import ahead, crew, task
from deca_cli.pipeline.pace import worker_count
from deca_cli.pipeline.settings import Settings


class Stub:
    """A crew that only remembers what it was told to begin with."""

    def __init__(self, size: int, *, processes: bool, drawing: bool) -> None:
        self.size, self.processes, self.drawing, self.begun = size, processes, drawing, []

    def begin(self, number, path, _settings):
        self.begun.append((number, path))


@pytest.fixture
def begin(monkeypatch, tmp_path):
    """Start stand-ins for workers: the arguments are the bytes that a photo takes, and settings."""
    monkeypatch.setattr(ahead, "start_early", lambda **_: None)
    monkeypatch.setattr(crew, "Crew", Stub)
    photos = [tmp_path / f"{number}.jpg" for number in range(1000)]

    def invoke(size: int, settings: Settings, *, device="cuda") -> Stub:
        monkeypatch.setattr(task, "bytes_guess", lambda _path: size)
        return ahead.crew_ahead(photos, settings, device=device, rasterizer="auto", cores=16)

    return invoke


LBP = Settings(detector="lbp")


def test_a_thousand_photos_of_512_pixels_are_all_begun(begin):
    begun = begin(40_000 * 24, LBP)
    assert [number for number, _ in begun.begun] == list(range(1000))
    assert (begun.size, begun.processes, begun.drawing) == (16, True, False)


def test_large_photos_are_begun_as_far_as_memory_goes(begin):
    assert len(begin(150_000_000, LBP).begun) == ahead.BYTES_AHEAD // 150_000_000


def test_what_may_be_finished_is_not_read_ahead(begin):
    assert begin(1, Settings(detector="lbp", resume=True)).begun == []


def test_without_a_gpu_workers_draw(begin):
    assert begin(1, LBP, device="cpu").drawing


@pytest.mark.parametrize(
    ("photos", "gpu", "workers"), [(0, True, 0), (1, True, 1), (9, True, 2), (15, False, 0), (16, False, 4)]
)
def test_a_gpu_gets_a_process_beside_it_even_for_one_photo(photos, gpu, workers):
    assert worker_count(photos, gpu=gpu, cores=16, detector="lbp") == workers
