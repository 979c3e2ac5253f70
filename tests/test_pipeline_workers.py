"""What must not depend on who does the work: the bytes of results, workers that begin ahead, and short memory."""

import os
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from threading import Event

import numpy as np
import pytest
import torch
from PIL import Image

import stand_in
from deca_cli.packs.store import load_pack
from deca_cli.photo import sighting
from deca_cli.photo.face import Face
from deca_cli.pipeline import batch, encoding
from deca_cli.pipeline.batch import reconstruct
from deca_cli.pipeline.bench import Save, Sight
from deca_cli.pipeline.captures import Decoder
from deca_cli.pipeline.crew import Crew
from deca_cli.pipeline.pace import Pace
from deca_cli.pipeline.resume import Earlier
from deca_cli.pipeline.settings import Settings

BOX = (60.0, 40.0, 140.0, 130.0)
PACE = Pace(batch_size=5, group=3, groups=2, workers=2, processes=False)
GIVEN = Settings(box_px=BOX)
SIZE = 170 * 200 * 3  # bytes of a photo's pixels


@pytest.fixture(scope="module")
def decoder(tmp_path_factory):
    return Decoder.of(load_pack(stand_in.make_pack(tmp_path_factory.mktemp("packs") / "pack")))


@pytest.fixture
def photos(tmp_path):
    return stand_in.make_photos(tmp_path)


def run(photos, decoder, output, settings=GIVEN, pace=PACE, crew=None) -> list:
    output.mkdir()
    return list(reconstruct(photos, decoder, settings, output, pace=pace, crew=crew))


def contents(output) -> dict[str, bytes]:
    return {
        path.relative_to(output).as_posix(): path.read_bytes() for path in output.rglob("*") if path.is_file()
    }


@pytest.mark.parametrize(("workers", "processes"), [(3, False), (1, True), (2, True)])
def test_files_are_the_same_bytes_whoever_works(photos, decoder, tmp_path, workers, processes):
    run(photos, decoder, tmp_path / "one", pace=replace(PACE, workers=1))
    run(photos, decoder, tmp_path / "many", pace=replace(PACE, workers=workers, processes=processes))
    one, many = contents(tmp_path / "one"), contents(tmp_path / "many")
    assert len([name for name in one if name.endswith("params.npz")]) == len(photos)
    assert sorted(name for name in one if one[name] != many.get(name)) == []
    assert one.keys() == many.keys()


@pytest.mark.parametrize("processes", [False, True])
def test_what_workers_begin_ahead_is_not_done_again_and_changes_nothing(
    photos, decoder, tmp_path, monkeypatch, processes
):
    photos[1].write_bytes(b"no picture")
    plain = run(photos, decoder, tmp_path / "plain")
    read = Counter()
    real = sighting.read_photo
    monkeypatch.setattr(sighting, "read_photo", lambda path: read.update([path]) or real(path))
    with Crew(2, processes=processes, drawing=processes) as crew:
        for number in range(4):
            crew.begin(number, photos[number], None, SIZE)
        ahead = run(photos, decoder, tmp_path / "ahead", pace=replace(PACE, processes=processes), crew=crew)
        assert not crew.begun
    assert [o.status for o in ahead] == [o.status for o in plain] == ["done", "failed", *["done"] * 5]
    assert contents(tmp_path / "ahead") == contents(tmp_path / "plain")
    if not processes:
        assert read == Counter(photos)


def test_never_more_photos_are_in_memory_than_there_is_room_for(photos, decoder, tmp_path, monkeypatch):
    for path in photos:  # a file that tells nothing about how large it is in memory
        Image.new("RGB", (200, 170)).save(path)
    together = []
    real = sighting.read_photo
    with Crew(3, processes=False) as crew:

        def read(path) -> object:
            together.append(1 + sum(len(worker.bench.photos) for worker in crew.workers))
            return real(path)

        monkeypatch.setattr(sighting, "read_photo", read)
        monkeypatch.setattr(batch, "BYTES_IN_FLIGHT", 2 * SIZE)
        outcomes = run(photos, decoder, tmp_path / "out", pace=replace(PACE, group=1), crew=crew)
    assert [outcome.status for outcome in outcomes] == ["done"] * len(photos)
    assert len(together) == len(photos)
    assert max(together) <= 2


def test_photos_are_looked_at_while_more_than_usual_that_began_ahead_are_fitted(
    photos, decoder, tmp_path, monkeypatch
):
    narrow = replace(PACE, group=1, groups=1, workers=0, queued=50)
    assert narrow.most_flying == 3
    asked = Event()  # to look at the first photo that did not begin ahead
    in_time = []
    write = Save.run

    def slow(save, bench) -> object:
        if save.number == 1:
            in_time.append(asked.wait(20))
        return write(save, bench)

    monkeypatch.setattr(Save, "run", slow)
    with Crew(1, processes=False) as crew:
        for number in range(5):
            crew.begin(number, photos[number], None, SIZE)
        post = crew.post
        monkeypatch.setattr(
            crew,
            "post",
            lambda index, requests: (isinstance(requests[0], Sight) and asked.set()) or post(index, requests),
        )
        run(photos, decoder, tmp_path / "out", pace=narrow, crew=crew)
    assert in_time == [True]


def test_whether_a_photo_is_finished_is_asked_once_however_long_it_waits(
    photos, decoder, tmp_path, monkeypatch
):
    asked = []
    monkeypatch.setattr(Earlier, "outcome", lambda _self, path, _folder: asked.append(path))
    narrow = replace(PACE, group=1, groups=1, workers=1, queued=1)
    run(photos, decoder, tmp_path / "out", replace(GIVEN, resume=True), narrow)
    assert asked == photos


def test_a_worker_that_loads_torch_later_uses_one_core_then():
    code = (
        "from deca_cli.pipeline.serve import _begin\n"
        "_begin(0)\n"
        "import torch\n"
        "assert torch.get_num_threads() == 1\n"
    )
    cores = {"OMP_NUM_THREADS": "2"}
    subprocess.run([sys.executable, "-c", code], check=True, env=os.environ | cores, timeout=60)


@pytest.mark.skipif(not hasattr(os, "getpriority"), reason="niceness is of POSIX")
@pytest.mark.parametrize(("gpu", "steps"), [(False, 3), (True, 10)])
def test_worker_processes_stand_behind_the_one_that_feeds_the_networks_far_if_those_are_on_a_gpu(
    photos, gpu, steps
):
    with Crew(1, processes=True, beside_gpu=gpu) as crew:
        [seeing] = crew.post(0, [Sight(0, photos[0], None)])
        while not seeing.done:
            crew.take(wait=True)
        theirs = os.getpriority(os.PRIO_PROCESS, crew.workers[0].process.pid)
    assert theirs == min(19, os.nice(0) + steps)


def test_a_crowd_in_one_photo_that_memory_does_not_hold_goes_through_in_halves(
    photos, decoder, tmp_path, monkeypatch
):
    # Of different sizes, by which faces are ordered.
    places = [(30.0 + 110 * i, 30.0 + 110 * k, 60.0 + 8 * i + 4 * k) for i in range(5) for k in range(2)]
    crowd = [Face((x, y, x + side, y + side), 0.9, None, "test") for x, y, side in places]
    monkeypatch.setattr(sighting, "find_faces", lambda *_, **__: list(crowd))
    Image.fromarray(np.random.default_rng(1).integers(0, 255, (500, 600, 3), np.uint8)).save(photos[2])
    wide = replace(PACE, batch_size=64)
    monkeypatch.setattr(batch, "decode_size", lambda _device, size: size)  # as on a GPU
    plain = run(photos[2:3], decoder, tmp_path / "plain", Settings(), wide)
    sizes: dict[str, list[int]] = {"encode": [], "decode": []}

    def short(name, real) -> object:
        def work(*given: object, **named: object) -> object:
            sizes[name].append(len(given[-1] if name == "decode" else given[0]))
            if sizes[name][-1] > 3:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
            return real(*given, **named)

        return work

    monkeypatch.setattr(encoding, "fit_batch", short("encode", encoding.fit_batch))
    monkeypatch.setattr(Decoder, "decode_faces", short("decode", Decoder.decode_faces))
    [outcome] = run(photos[2:3], decoder, tmp_path / "short", Settings(), wide)
    assert outcome.status == "done"
    assert len(outcome.faces) == len(plain[0].faces) > 3
    for one, other in zip(outcome.faces, plain[0].faces, strict=True):
        np.testing.assert_allclose(one.box_px, other.box_px, atol=1e-3)
    for asked in sizes.values():
        small = [size <= 3 for size in asked]
        assert not small[0]
        first = small.index(True)
        assert all(small[first : first + encoding.GOOD_IN_A_ROW])  # it stays small for a while
