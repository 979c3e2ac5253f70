"""Faults in the middle of many photos: what is done is kept, and only the guilty photo fails."""

import time

import pytest
from PIL import Image

import stand_in
from deca_cli.errors import DeviceError
from deca_cli.packs.store import load_pack
from deca_cli.photo import sighting
from deca_cli.photo.face import Face
from deca_cli.pipeline import batch
from deca_cli.pipeline.batch import reconstruct
from deca_cli.pipeline.captures import Decoder
from deca_cli.pipeline.pace import Pace
from deca_cli.pipeline.settings import Settings

PACE = Pace(batch_size=5, group=3, groups=1, workers=2, processes=False)


@pytest.fixture(scope="module")
def decoder(tmp_path_factory):
    return Decoder.of(load_pack(stand_in.make_pack(tmp_path_factory.mktemp("packs") / "pack")))


@pytest.fixture(autouse=True)
def one_face_everywhere(monkeypatch):
    face = Face((60.0, 40.0, 140.0, 130.0), 0.9, None, "test")
    monkeypatch.setattr(sighting, "find_faces", lambda *_, **__: [face])


@pytest.fixture
def photos(tmp_path):
    paths = [tmp_path / f"{number}.png" for number in range(12)]
    for path in paths:
        Image.new("RGB", (200, 170), (120, 90, 60)).save(path)
    return paths


def collect(photos, decoder, output, debug=False) -> tuple[list, Exception | None]:
    """Outcomes, and what ended the run."""
    output.mkdir()
    outcomes = []
    try:
        for outcome in reconstruct(photos, decoder, Settings(), output, pace=PACE, debug=debug):
            outcomes.append(outcome)  # noqa: PERF402 - what came before the exception counts
    except Exception as error:  # noqa: BLE001 - handed back
        return outcomes, error
    return outcomes, None


def spoil_decoding(monkeypatch, decoder, guilty, error) -> list[int]:
    """Let decoding raise for every batch that holds one of the photos; gives the sizes of the batches."""
    real, sizes = Decoder.decode_faces, []

    def decode_faces(self, asked) -> object:
        sizes.append(len(asked))
        if any(one.photo.path.stem in guilty for one in asked):
            raise error
        return real(self, asked)

    monkeypatch.setattr(Decoder, "decode_faces", decode_faces)
    return sizes


def whole(output) -> set[str]:
    return {path.parent.name for path in output.glob("*/params.json")}


def test_a_fault_while_decoding_is_pinned_on_the_photo_that_causes_it(photos, decoder, tmp_path, monkeypatch):
    monkeypatch.setattr(batch, "decode_size", lambda _device, size: size)  # as on a GPU
    sizes = spoil_decoding(monkeypatch, decoder, {"10"}, RuntimeError("number ten"))
    outcomes, ending = collect(photos, decoder, tmp_path / "out")
    assert ending is None
    assert [outcome.photo for outcome in outcomes] == photos
    assert [n for n, outcome in enumerate(outcomes) if outcome.status == "failed"] == [10]
    assert "number ten" in outcomes[10].reason
    assert whole(tmp_path / "out") == {f"{n}" for n in range(12) if n != 10}
    assert sizes == [3, 3, 3, 3, 1, 1, 1]


def test_a_decoder_that_always_fails_fails_every_photo_and_says_so(photos, decoder, tmp_path, monkeypatch):
    spoil_decoding(monkeypatch, decoder, {path.stem for path in photos}, RuntimeError("broken"))
    outcomes, ending = collect(photos, decoder, tmp_path / "out")
    assert ending is None
    assert [outcome.status for outcome in outcomes] == ["failed"] * 12


def test_no_memory_to_decode_a_photo_ends_the_run_after_all_that_is_written(
    photos, decoder, tmp_path, monkeypatch
):
    spoil_decoding(monkeypatch, decoder, {"10"}, DeviceError("no memory"))
    outcomes, ending = collect(photos, decoder, tmp_path / "out")
    assert isinstance(ending, DeviceError)
    done = [outcome.photo.stem for outcome in outcomes if outcome.status == "done"]
    assert set(done) == whole(tmp_path / "out")
    assert done[:10] == [f"{n}" for n in range(10)]
    assert [o.photo.stem for o in outcomes if o.status == "ended the run"] == ["10"]


@pytest.mark.parametrize("error", [DeviceError("no memory"), RuntimeError("a fault")])
def test_an_error_that_ends_the_run_is_raised_after_all_that_is_written_is_given_out(
    photos, decoder, tmp_path, monkeypatch, error
):
    real, calls = batch.fit_together, []

    def fit_together(*given: object, **named: object) -> object:
        calls.append(1)
        if len(calls) == 4:
            for _ in range(3000):
                if len(whole(tmp_path / "out")) == 9:
                    break
                time.sleep(0.01)
            raise error
        return real(*given, **named)

    monkeypatch.setattr(batch, "fit_together", fit_together)
    monkeypatch.setattr(batch._Flow, "_finished", lambda *_, **__: iter(()))  # nothing is given out before
    outcomes, ending = collect(photos, decoder, tmp_path / "out")
    assert ending is error
    assert [(outcome.photo, outcome.status) for outcome in outcomes] == [
        (path, "done") for path in photos[:9]
    ]


def test_with_debug_a_fault_ends_the_run_but_hides_nothing_that_is_written(
    photos, decoder, tmp_path, monkeypatch
):
    error = RuntimeError("number four")
    spoil_decoding(monkeypatch, decoder, {"4"}, error)
    outcomes, ending = collect(photos, decoder, tmp_path / "out", debug=True)
    assert ending is error
    assert [outcome.status for outcome in outcomes[:5]] == ["done"] * 4 + ["failed"]
    assert {o.photo.stem for o in outcomes if o.status == "done"} == whole(tmp_path / "out")
