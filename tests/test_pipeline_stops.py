"""Runs that end early: Ctrl-C, a full disk, processes that cannot be started."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from threading import Event

import numpy as np
import pytest
from PIL import Image

import stand_in
from deca_cli.errors import DeviceError, OutputError
from deca_cli.packs.store import load_pack
from deca_cli.photo import sighting
from deca_cli.photo.face import Face
from deca_cli.pipeline import bench
from deca_cli.pipeline.batch import reconstruct
from deca_cli.pipeline.captures import Decoder
from deca_cli.pipeline.crew import Crew
from deca_cli.pipeline.pace import Pace
from deca_cli.pipeline.settings import Settings
from deca_cli.pipeline.slate import Slate
from deca_cli.pipeline.worker import ProcessWorker

WITH_PROCESSES = pytest.mark.skipif(sys.platform == "win32", reason="workers are threads there")


@pytest.fixture(scope="module")
def decoder(tmp_path_factory):
    return Decoder.of(load_pack(stand_in.make_pack(tmp_path_factory.mktemp("packs") / "pack")))


@pytest.fixture
def photos(tmp_path, monkeypatch):
    face = Face((60.0, 40.0, 140.0, 130.0), 0.9, None, "test")
    monkeypatch.setattr(sighting, "find_faces", lambda *_, **__: [face])
    paths = [tmp_path / f"{number}.png" for number in range(12)]
    for path in paths:
        Image.new("RGB", (200, 170), (120, 90, 60)).save(path)
    return paths


def test_a_full_disk_is_told_as_such_though_an_earlier_photo_was_left_alone_because_of_it(
    photos, decoder, tmp_path, monkeypatch
):
    begun, full = Event(), Event()

    def save(_capture, folder, *_: object) -> list[Path]:
        number = int(folder.name)
        if number == 1:
            begun.wait(5)
        if number == 0:
            begun.set()
            full.wait(5)  # this worker is slower: its other photos have not been begun when the disk is full
            time.sleep(0.2)
        if number == 3:
            full.set()
            raise OutputError("disk is full")
        return []

    turns = count()
    monkeypatch.setattr(Crew, "least_busy", lambda _: next(turns) % 2)
    monkeypatch.setattr(bench, "save", save)
    (tmp_path / "out").mkdir()
    pace = Pace(batch_size=12, group=6, groups=1, workers=2, processes=False)
    outcomes, ending = collect(reconstruct(photos, decoder, Settings(), tmp_path / "out", pace=pace))
    assert isinstance(ending, OutputError)
    assert str(ending) == "disk is full"
    told = [(outcome.photo.stem, outcome.status) for outcome in outcomes]
    assert told == [("0", "done"), ("1", "done"), ("3", "ended the run")]


def collect(given) -> tuple[list, BaseException | None]:
    """Outcomes, and what ended the run."""
    outcomes = []
    try:
        for outcome in given:
            outcomes.append(outcome)  # noqa: PERF402 - what came before the exception counts
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - handed back
        return outcomes, error
    return outcomes, None


@WITH_PROCESSES
@pytest.mark.parametrize("after_s", [0.1, 0.6])
def test_ctrl_c_while_workers_are_started_ends_them_soon(after_s):
    code = (
        "from deca_cli.pipeline.crew import Crew\n"
        "import time\n"
        "with Crew(3, processes=True):\n"
        "    print('begun', flush=True)\n"
        "    time.sleep(60)\n"
    )
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, start_new_session=True, stdout=-1, stderr=-1, text=True) as process:
        try:
            assert process.stdout.readline() == "begun\n"
            time.sleep(after_s)
            os.killpg(process.pid, signal.SIGINT)  # as a terminal does
            _, said = process.communicate(timeout=40)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == -signal.SIGINT
    assert said.count("Traceback") == 1
    assert said.rstrip().endswith("KeyboardInterrupt")


@WITH_PROCESSES
def test_nobody_waits_for_what_workers_are_copied_from_to_be_loaded_after_ctrl_c(tmp_path):
    (tmp_path / "slow.py").write_text("import time\ntime.sleep(30)\n")
    code = (
        "from deca_cli.pipeline import forks\n"
        "from deca_cli.pipeline.crew import Crew\n"
        "import time\n"
        "forks.PRELOADED = ['slow']\n"
        "with Crew(3, processes=True):\n"
        "    time.sleep(0.3)\n"
        "    raise KeyboardInterrupt\n"
    )
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,  # open as long as any of the processes is there
        text=True,
        check=False,
        timeout=60,
    )
    assert time.perf_counter() - start < 20
    assert done.returncode == -signal.SIGINT
    assert done.stderr.count("Traceback") == 1


@dataclass(frozen=True)
class Echo:
    """Give the name of a photo; one of them ends the process."""

    path: Path
    quick = begins = False

    def run(self, _) -> str:
        if self.path.stem == "deadly":
            time.sleep(0.5)
            os.kill(os.getpid(), signal.SIGKILL)
        return self.path.stem


@WITH_PROCESSES
def test_a_worker_that_cannot_be_started_once_is_started_again_and_nothing_is_lost(monkeypatch):
    real, failures = multiprocessing.process.BaseProcess.start, [EOFError("the fork server is gone")]

    def start(self) -> None:
        if failures:
            raise failures.pop()
        real(self)

    monkeypatch.setattr(multiprocessing.process.BaseProcess, "start", start)
    with Crew(2, processes=True) as crew:
        pending = [crew.post(n % 2, [Echo(Path(f"{n}.png"))])[0] for n in range(4)]
        while not all(one.done for one in pending):
            crew.take(wait=True)
        assert [one.result() for one in pending] == ["0", "1", "2", "3"]
    assert not failures


@WITH_PROCESSES
def test_workers_that_cannot_be_started_end_the_run_and_blame_no_photo(
    photos, decoder, tmp_path, monkeypatch
):
    starts = []

    def start(_) -> None:
        starts.append(1)
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(multiprocessing.process.BaseProcess, "start", start)
    (tmp_path / "out").mkdir()
    pace = Pace(batch_size=12, group=6, groups=1, workers=2, processes=True)
    with pytest.raises(DeviceError, match=r"cannot be started.*temporarily unavailable.*--threads"):
        assert list(reconstruct(photos, decoder, Settings(), tmp_path / "out", pace=pace)) == []
    assert len(starts) <= 4


@WITH_PROCESSES
def test_ctrl_c_while_a_crash_is_looked_into_leaves_nothing_to_wait_for(monkeypatch):
    def interrupted(_) -> None:
        raise KeyboardInterrupt

    with Crew(1, processes=True) as crew:
        pending = [crew.post(0, [Echo(Path(f"{name}.png"))])[0] for name in ("deadly", "b", "c")]
        monkeypatch.setattr(Crew, "_next_alone", interrupted)
        with pytest.raises(KeyboardInterrupt):
            take_for_ever(crew)
        crew.slate.stop()
        crew.settle()
        assert not any(one.done for one in pending)


def take_for_ever(crew) -> None:
    while True:
        crew.take(wait=True)


@WITH_PROCESSES
@pytest.mark.parametrize("lost", ["answer", "request"])
def test_ctrl_c_that_loses_a_message_leaves_nothing_to_wait_for(photos, decoder, tmp_path, lost):
    (tmp_path / "out").mkdir()
    pace = Pace(batch_size=4, group=2, groups=1, workers=2, processes=False)
    with Crew(2, processes=False) as crew:
        ask, take = crew.workers[0].ask, crew.take

        def ask_in_vain(pending) -> None:
            worker = crew.workers[0]
            if (
                any(isinstance(one.request, bench.Save) for one in pending.values())
                and worker.ask is ask_in_vain
            ):
                del worker.ask
                worker.asked |= pending
                raise KeyboardInterrupt
            ask(pending)

        def take_in_vain(*, wait) -> bool:
            while wait and crew.workers[0].asked and crew.take is take_in_vain:
                worker, message = crew.replies.get()
                if any(isinstance(worker.asked[ticket].request, bench.Save) for ticket, *_ in message):
                    del crew.take
                    raise KeyboardInterrupt
                crew.replies.put((worker, message))
                break
            return take(wait=wait)

        if lost == "request":
            crew.workers[0].ask = ask_in_vain
        else:
            crew.take = take_in_vain
        outcomes, ending = collect(
            reconstruct(photos, decoder, Settings(), tmp_path / "out", pace=pace, crew=crew)
        )
    assert isinstance(ending, KeyboardInterrupt)
    assert len(outcomes) < len(photos)
    assert all(outcome.status == "done" for outcome in outcomes)


def test_what_a_gone_worker_is_asked_after_the_end_is_answered_at_once():
    with Crew(1, processes=True) as crew:
        [deadly] = crew.post(0, [Echo(Path("deadly.png"))])
        crew.slate.stop()
        while not deadly.done:
            crew.take(wait=True)
        [after] = crew.post(0, [Echo(Path("a.png"))])
        assert [type(one.error).__name__ for one in (deadly, after)] == ["StoppedError"] * 2
        assert isinstance(crew.workers[0], ProcessWorker)


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="no posix_fallocate here")
def test_shared_memory_in_a_file_takes_its_room_at_once_and_says_when_there_is_none(monkeypatch):
    monkeypatch.delattr(os, "memfd_create", raising=False)
    slate = Slate.for_processes()
    slate.crops((2, 3, 64, 64))[:] = 1.0
    assert os.fstat(slate.descriptor).st_blocks * 512 >= 2 * 3 * 64 * 64 * np.float32().nbytes

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(OutputError, match="TMPDIR"):
        slate.crops((4, 3, 64, 64))
    slate.close()
