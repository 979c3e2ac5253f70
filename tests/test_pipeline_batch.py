"""Many photos at once: order, batches, memory that runs out, processes that crash."""

import os
import signal
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import stand_in
from deca_cli.errors import DeviceError, InputError
from deca_cli.export.owner import OWNER
from deca_cli.networks.preprocessing import Preprocessing
from deca_cli.packs.store import load_pack
from deca_cli.photo import sighting
from deca_cli.photo.face import Face
from deca_cli.pipeline import encoding
from deca_cli.pipeline.batch import reconstruct
from deca_cli.pipeline.bench import Cut, Sight
from deca_cli.pipeline.captures import Decoder
from deca_cli.pipeline.clock import Clock
from deca_cli.pipeline.crew import Crew
from deca_cli.pipeline.encoding import Batches
from deca_cli.pipeline.fit import fit_faces
from deca_cli.pipeline.pace import Pace
from deca_cli.pipeline.settings import Settings

BOX = (60.0, 40.0, 140.0, 130.0)
PACE = Pace(batch_size=5, group=3, groups=2, workers=2, processes=False)


@pytest.fixture(scope="module")
def decoder(tmp_path_factory):
    return Decoder.of(load_pack(stand_in.make_pack(tmp_path_factory.mktemp("packs") / "pack")))


@pytest.fixture(autouse=True)
def faces_by_brightness(monkeypatch):
    """As many faces as the photo's red value is above 100; slower for even ones, so that finders overtake each other."""

    def find(photo, *, detector, thorough) -> list[Face]:
        count = int(photo.pixels[0, 0, 0]) - 100
        torch.rand(300_000 if count % 2 == 0 else 1)
        shift = np.array([0, 0, 0, 0]) if count < 2 else np.array([25, 0, 25, 0])
        return [
            Face(tuple(np.array(BOX) + shift * k - shift), 0.9, None, "test") for k in range(max(count, 0))
        ]

    monkeypatch.setattr(sighting, "find_faces", find)


@pytest.fixture
def photos(tmp_path):
    paths = []
    for number, count in enumerate((1, 2, 1, 0, 3, 1, 1, 2, 1, 1)):
        paths.append(tmp_path / f"{number}.png")
        Image.new("RGB", (200, 170), (100 + count, 90, 60)).save(paths[-1])
    return paths


def done(photos, decoder, tmp_path, name="out", pace=PACE, settings=None) -> list:
    output = tmp_path / name
    output.mkdir()
    return list(reconstruct(photos, decoder, settings or Settings(), output, pace=pace))


def test_outcomes_come_in_the_order_of_the_photos_whatever_takes_longer(photos, decoder, tmp_path):
    outcomes = done(photos, decoder, tmp_path)
    assert [outcome.photo for outcome in outcomes] == photos
    assert [outcome.status == "done" for outcome in outcomes] == [n != 3 for n in range(10)]


def test_photos_fitted_together_give_what_each_gives_alone(photos, decoder, tmp_path):
    together = done(photos, decoder, tmp_path)
    one_by_one = done(photos, decoder, tmp_path, "alone", replace(PACE, batch_size=1, group=1))
    for one, other in zip(together, one_by_one, strict=True):
        assert [face.folder for face in one.faces] == [face.folder for face in other.faces]
        for a, b in zip(one.faces, other.faces, strict=True):
            np.testing.assert_allclose(a.box_px, b.box_px, atol=1e-3)


def test_the_batched_way_is_the_readable_way(photos, decoder, tmp_path, monkeypatch):
    from deca_cli.photo.read import read_photo
    from deca_cli.pipeline import fit

    monkeypatch.setattr(fit, "find_faces", sighting.find_faces)
    [outcome] = done(photos[4:5], decoder, tmp_path)
    plain = fit_faces(read_photo(photos[4]), decoder.pack, Settings(), Clock())
    boxes = [face.box_px for face in outcome.faces]
    np.testing.assert_allclose(boxes, [one.box_px for one in plain], atol=1e-3)


def test_a_bad_photo_in_a_group_costs_no_other_result(photos, decoder, tmp_path):
    photos[4].write_bytes(b"no picture")
    outcomes = done(photos, decoder, tmp_path)
    assert [n for n, outcome in enumerate(outcomes) if outcome.status == "failed"] == [4]
    assert sum(outcome.status == "done" for outcome in outcomes) == 8


def test_a_fault_while_encoding_is_pinned_on_the_photo_that_causes_it(photos, decoder, tmp_path, monkeypatch):
    real = encoding.fit_batch

    def faulty(faces, *rest: object, images: np.ndarray, **named: object) -> object:
        assert len(images) == len(faces)
        if np.any(images[:, 0, 5, 5] == np.float32(103 / 255)):
            raise ZeroDivisionError("red is 103")
        return real(faces, *rest, images=images, **named)

    monkeypatch.setattr(encoding, "fit_batch", faulty)
    outcomes = done(photos, decoder, tmp_path)
    assert [n for n, outcome in enumerate(outcomes) if outcome.status == "failed"] == [4]
    assert "ZeroDivisionError" in outcomes[4].reason


def out_of_memory_above(limit, sizes, monkeypatch):
    real = encoding.fit_batch

    def small(faces, *rest: object, **named: object) -> object:
        sizes.append(len(faces))
        if len(faces) > limit:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate")
        return real(faces, *rest, **named)

    monkeypatch.setattr(encoding, "fit_batch", small)


def test_when_memory_runs_out_the_batch_is_halved_and_nothing_is_lost(photos, decoder, tmp_path, monkeypatch):
    plain = done(photos, decoder, tmp_path, "plain")
    sizes: list[int] = []
    out_of_memory_above(1, sizes, monkeypatch)
    outcomes = done(photos, decoder, tmp_path, "short")
    assert [o.status for o in outcomes] == [o.status for o in plain]
    assert sizes[0] > 1
    assert max(sizes[sizes.index(1) :][: encoding.GOOD_IN_A_ROW]) == 1  # it stays small for a while


def test_not_even_one_face_in_memory_ends_the_run_with_advice(photos, decoder, tmp_path, monkeypatch):
    out_of_memory_above(0, [], monkeypatch)
    with pytest.raises(DeviceError, match="--device cpu"):
        done(photos, decoder, tmp_path)


def test_halving_keeps_the_order_and_asks_for_everything_once_more_only_where_it_failed():
    asked: list[list[int]] = []

    def work(part: slice) -> list[int]:
        items = list(range(20))[part]
        asked.append(items)
        if len(items) > 3:
            raise torch.OutOfMemoryError("no")
        return items

    batches = Batches(16)
    assert batches.run(work, 20) == list(range(20))
    assert batches.size == 2
    assert [len(items) for items in asked] == [16, 8, 4] + [2] * 8 + [4] + [2] * 2


TEXTS = (
    "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
    "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
    "CUDA error: out of memory",
)


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("no"), *map(RuntimeError, TEXTS)])
def test_memory_has_run_out_whichever_library_says_so(error):
    limit, asked = [2], []

    def work(part: slice) -> list[int]:
        items = list(range(5))[part]
        asked.append(len(items))
        if len(items) > limit[0]:
            raise error
        return items

    batches = Batches(4)
    assert batches.run(work, 5) == list(range(5))
    assert asked == [4, 2, 2, 1]
    limit[0] = 0
    with pytest.raises(DeviceError, match="does not hold a single face"):
        batches.run(work, 5)


def test_another_error_is_not_taken_for_lack_of_memory():
    def work(_part: slice) -> list[int]:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    with pytest.raises(RuntimeError, match="illegal"):
        Batches(4).run(work, 5)


def test_a_remainder_that_fails_costs_half_of_the_batch_not_nearly_all_of_it():
    asked: list[int] = []

    def work(part: slice) -> list[int]:
        asked.append(part.stop - part.start)
        if asked == [64, 2]:
            raise torch.OutOfMemoryError("another program needs it, for a moment")
        return list(range(part.start, part.stop))

    batches = Batches(64)
    assert batches.run(work, 66) == list(range(66))
    assert (asked, batches.size) == ([64, 2, 2], 32)


def test_a_batch_grows_again_when_memory_was_there_for_a_while():
    asked: list[int] = []
    limit = [1]

    def work(part: slice) -> list[int]:
        asked.append(part.stop - part.start)
        if asked[-1] > limit[0]:
            raise torch.OutOfMemoryError("no")
        return list(range(part.start, part.stop))

    batches = Batches(4)
    for count in (1, 2, 2, 2, 1):
        batches.run(work, count)
    assert asked == [1, 2] + [1] * 7
    assert batches.size == 1
    asked.clear()
    limit[0] = 9
    batches.run(work, 1 + 8 * 2 + 4 + 4)
    assert asked == [1] + [2] * 8 + [4] * 2
    assert batches.size == batches.asked == 4


def test_batches_of_compiled_networks_stay_at_the_size_that_worked():
    limit = [25]

    def work(part: slice) -> list[int]:
        if part.stop - part.start > limit[0]:
            raise torch.OutOfMemoryError("no")
        return list(range(part.start, part.stop))

    batches = Batches(100, grows=False)
    batches.run(work, 100)
    limit[0] = 100
    batches.run(work, 25 * 50)
    assert batches.size == 25


def test_one_that_grew_in_vain_waits_longer_before_it_tries_again():
    asked: list[int] = []

    def work(part: slice) -> list[int]:
        asked.append(part.stop - part.start)
        if asked[-1] > 1:
            raise torch.OutOfMemoryError("no")
        return list(range(part.start, part.stop))

    Batches(2).run(work, 8 + 16 + 32)
    assert [index for index, size in enumerate(asked) if size == 2] == [0, 9, 26]


def test_crops_are_padded_to_the_compiled_size_and_give_the_same(decoder, photos, tmp_path, monkeypatch):
    seen: list[int] = []
    real = decoder.pack.deca.encode

    def encode(images) -> object:
        seen.append(len(images))
        return real(images)

    monkeypatch.setattr(decoder.pack.deca, "encode", encode)
    padded = done(photos, decoder, tmp_path, "padded", replace(PACE, padded=True))
    assert set(seen) == {PACE.batch_size}
    monkeypatch.undo()
    assert padded[0].status == "done"


@dataclass(frozen=True)
class Crash:
    """Die like a decoder with a fault, for one photo."""

    path: Path
    quick: bool = False
    begins = False

    def run(self, _) -> object:
        if self.path.stem == "1":
            os.kill(os.getpid(), signal.SIGKILL)
        return self.path.stem


@pytest.mark.parametrize("quick", [False, True])
def test_a_photo_that_kills_its_process_costs_only_itself(tmp_path, quick):
    with Crew(2, processes=True) as crew:
        pending = [crew.post(n % 2, [Crash(tmp_path / f"{n}.png", quick)])[0] for n in range(5)]
        while not all(one.done for one in pending):
            crew.take(wait=True)
        assert [one.value for one in pending] == ["0", None, "2", "3", "4"]
        with pytest.raises(InputError, match=r"1\.png makes the process that reads it crash"):
            pending[1].result()
        [after] = crew.post(1, [Crash(tmp_path / "5.png")])
        while not after.done:
            crew.take(wait=True)
        assert after.result() == "5"


class Reading(Crash):
    """With it a photo begins, as with reading it."""

    begins = True


def test_photos_that_a_crashed_process_had_not_begun_are_not_suspected(tmp_path, monkeypatch):
    fresh = []
    real = Crew._fresh
    monkeypatch.setattr(Crew, "_fresh", lambda self: fresh.append(1) or real(self))
    with Crew(1, processes=True) as crew:
        pending = [crew.post(0, [Reading(tmp_path / f"{n}.png")])[0] for n in range(9)]
        while not all(one.done for one in pending):
            crew.take(wait=True)
        assert [one.value for one in pending] == ["0", None, *"2345678"]
        assert isinstance(pending[1].error, InputError)
    assert len(fresh) == 2  # one in its place, one for the suspect


def test_a_photo_is_read_again_if_the_process_that_had_it_has_crashed(tmp_path):
    Image.new("RGB", (90, 80), (120, 90, 60)).save(tmp_path / "a.png")
    rule = Preprocessing(image_size=32)
    with Crew(1, processes=True) as crew:
        crops = crew.slate.crops((2, 3, 32, 32))
        [seen] = wait_for(crew, 0, Sight(7, tmp_path / "a.png", None))
        assert (seen.photo.width, seen.photo.height, seen.photo.pixels.size) == (90, 80, 0)
        wait_for(crew, 0, Crash(tmp_path / "1.png"))
        wait_for(crew, 0, Cut(7, tmp_path / "a.png", [(10.0, 10.0, 40.0)], rule, crops.shape, 1))
        np.testing.assert_allclose(crops[1, :, 9, 9] * 255, (120, 90, 60), atol=1e-3)


def wait_for(crew, worker, *requests: object) -> list:
    pending = crew.post(worker, requests)
    while not all(one.done for one in pending):
        crew.take(wait=True)
    return [one.value for one in pending]


def test_worker_processes_give_the_same_as_threads(decoder, tmp_path, monkeypatch):
    monkeypatch.undo()  # processes see the real finder
    photos = [tmp_path / "a.png", tmp_path / "b.png"]
    for photo in photos:
        Image.new("RGB", (90, 80), (120, 90, 60)).save(photo)
    (tmp_path / "b.png").write_bytes(b"words")
    for processes in (False, True):
        outcomes = done(photos, decoder, tmp_path, f"{processes}", replace(PACE, processes=processes))
        assert [outcome.status for outcome in outcomes] == ["done", "failed"]


def test_sizes_suit_the_machine():
    cpu = torch.device("cpu")
    small = Pace.of(cpu, 100, cores=2)
    assert (small.processes, small.workers) == (False, 2)
    large = Pace.of(cpu, 1000, cores=16)
    assert (large.processes, large.workers) == (True, 8)
    assert not Pace.of(cpu, 3, cores=16).processes
    assert Pace.of(cpu, 1000, cores=16, batch_size=8).group == 2
    assert Pace.of(cpu, 0).group == 1
    assert (small.batch_size, small.group, small.page) == (4, 4, 16)


def test_a_cpu_encodes_few_crops_at_a_time_and_decodes_heads_one_by_one(
    decoder, photos, tmp_path, monkeypatch
):
    crops: list[int] = []
    heads: list[int] = []
    deca = decoder.pack.deca
    encode, decode = deca.encode, deca.decode

    def counted_encode(images) -> object:
        crops.append(len(images))
        return encode(images)

    def counted_decode(codes) -> object:
        heads.append(codes.batch_size)
        return decode(codes)

    monkeypatch.setattr(deca, "encode", counted_encode)
    monkeypatch.setattr(deca, "decode", counted_decode)
    done(photos, decoder, tmp_path, "few", Pace.of(torch.device("cpu"), len(photos), cores=2))
    assert max(crops) == 4
    assert set(heads) == {1}


def test_marks_are_made_for_every_photo_with_a_face(photos, decoder, tmp_path):
    done(photos, decoder, tmp_path)
    assert len(list((tmp_path / "out").glob(f"*/{OWNER}"))) == 9
