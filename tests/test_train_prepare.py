"""`deca train prepare`: from photos and videos to a dataset."""

import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

import stand_in
from deca_cli.cli.app import app
from deca_cli.errors import InputError
from deca_cli.packs.store import load_pack
from deca_cli.photo.face import Face
from deca_cli.photo.read import Photo
from deca_cli.pipeline import fit
from deca_cli.train.data.manifest import MANIFEST, read_description, walk_records
from deca_cli.train.data.prepare.inputs import find_sources
from deca_cli.train.data.prepare.journal import JOURNAL
from deca_cli.train.data.prepare.picture import Preparer, Rejected
from deca_cli.train.data.prepare.run import PROBLEMS
from deca_cli.train.data.prepare.settings import PrepareSettings, QualityLimits
from deca_cli.train.data.store import held_out_people
from small_dataset import open_loader, people_of, smooth_picture

BOX = (150.0, 80.0, 250.0, 200.0)
SMALL = (150.0, 80.0, 185.0, 120.0)
LENIENT = QualityLimits(face_score=0.0)


@pytest.fixture(scope="module")
def pack(tmp_path_factory):
    return stand_in.make_pack(tmp_path_factory.mktemp("packs") / "pack")


@pytest.fixture(autouse=True)
def one_face_everywhere(monkeypatch):
    """One face in coloured photos, none in black ones, a small one in those with a red corner, two with a green one."""

    def find(photo, **_: object) -> object:
        if not photo.pixels.any():
            return []
        corner = tuple(int(value > 128) for value in photo.pixels[0, 0])
        boxes = {(1, 0, 0): [SMALL], (0, 1, 0): [BOX, (10.0, 80.0, 110.0, 200.0)]}.get(corner, [BOX])
        return [Face(box, 0.9, None, "test") for box in boxes]

    monkeypatch.setattr(fit, "find_faces", find)


def textured(seed=0, corner=(0, 0, 255), size=(280, 320)) -> np.ndarray:
    """A photo uint8 [H, W, 3] with fine texture and a marked corner."""
    rng = np.random.default_rng(seed)
    pixels = smooth_picture(seed, *size) // 2 + rng.integers(0, 100, (*size, 3)).astype(np.uint8)
    pixels[:9, :9] = corner
    return pixels


def write(path: Path, pixels: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), pixels[..., ::-1])
    return path


@pytest.fixture
def photos(tmp_path):
    for number, person in enumerate(("anna", "ben", "cleo")):
        for index in range(2):
            write(tmp_path / "photos" / person / f"{index}.png", textured(10 * number + index))
    return tmp_path / "photos"


@pytest.fixture
def run(pack, tmp_path):
    def invoke(*arguments: object, output="set", code=0) -> object:
        words = ["train", "prepare", *map(str, arguments), "--model", str(pack), "--device", "cpu"]
        words += ["--workers", "1", "--least-score", "0"]
        words += [] if "-o" in words else ["-o", str(tmp_path / output)]
        result = CliRunner().invoke(app, words)
        assert "Traceback" not in result.output
        assert result.exit_code == code, result.output
        return result

    return invoke


def records_of(folder: Path):
    problems: dict[str, str] = {}
    records = {one.record.name: one.record for one in walk_records(folder / MANIFEST, problems)}
    assert problems == {}
    return records


def problems_of(folder: Path) -> dict[str, str]:
    lines = [json.loads(line) for line in (folder / PROBLEMS).read_text().splitlines()]
    return {
        Path(one.get("file") or one["picture"]).name: one.get("damaged") or one["rejected"] for one in lines
    }


def test_a_folder_of_people_becomes_a_dataset_that_can_be_trained_on(run, photos, tmp_path):
    result = run(photos, "--held-out", "0.3")
    records = records_of(tmp_path / "set")
    assert list(records) == ["anna/0", "anna/1", "ben/0", "ben/1", "cleo/0", "cleo/1"]
    assert "3, of these 1 held out" in result.output
    description = read_description(tmp_path / "set")
    assert (description.people, description.pictures) == (3, 6)
    loader = open_loader(tmp_path / "set")
    batch = next(loader.batches())
    assert len(set(people_of(batch.names))) == 2
    assert loader.problems == {}
    assert next(open_loader(tmp_path / "set", split="held_out").batches()).images.mean() > 0.1


def test_every_record_tells_where_the_crop_comes_from(run, photos, tmp_path):
    run(photos)
    record = records_of(tmp_path / "set")["ben/1"]
    source = Path(record.source)
    assert source == photos / "ben/1.png"
    assert (
        record.source_sha256
        == subprocess.run(["sha256sum", source], check=True, capture_output=True, text=True).stdout[:64]
    )
    step, left, top = record.to_source
    stored = cv2.imread(str(tmp_path / "set" / record.image)).astype(float)
    assert step == 1.0
    cut = cv2.imread(str(source))[int(top) : int(top) + len(stored), int(left) : int(left) + len(stored)]
    assert np.abs(cut - stored).mean() < 6  # JPEG of noise
    assert np.abs(cut - np.roll(stored, 1, axis=1)).mean() > 20
    on_photo = record.landmarks * step + (left, top)
    box = [*on_photo.min(axis=0), *on_photo.max(axis=0)]
    assert box == pytest.approx(BOX, abs=10)
    assert set(record.quality) == {"face_score", "face_size", "sharpness", "disagreement", "second_face"}


def test_the_crop_holds_the_margin_around_the_landmarks(pack):
    preparer = Preparer(load_pack(pack), PrepareSettings(margin=1.5, limits=LENIENT))
    cutting = preparer.prepare(Photo(textured(), Path("x"), "x"))
    low, high = cutting.landmarks.min(axis=0), cutting.landmarks.max(axis=0)
    side = (high - low).max() * 1.5
    assert len(cutting.pixels) == np.ceil(side) + 2
    centre = (low + high) / 2
    assert np.abs(centre - side / 2).max() <= 1.0


def test_a_large_face_is_stored_smaller_and_its_points_still_fit(pack):
    photo = Photo(cv2.resize(textured(), None, fx=4, fy=4, interpolation=cv2.INTER_CUBIC), Path("x"), "x")
    big, small = (
        Preparer(load_pack(pack), PrepareSettings(size=size, limits=QualityLimits(0, 0, 0))).prepare(
            photo, near=tuple(4 * value for value in BOX)
        )
        for size in (4096, 160)
    )
    assert (len(big.pixels) > 500, len(small.pixels)) == (True, 160)

    def on_photo(cutting) -> np.ndarray:
        return cutting.landmarks * cutting.to_source[0] + cutting.to_source[1:]

    np.testing.assert_allclose(on_photo(small), on_photo(big), atol=1e-6)


def test_the_mask_covers_the_head_as_it_was_fitted(pack):
    preparer = Preparer(load_pack(pack), PrepareSettings(limits=LENIENT))
    cutting = preparer.prepare(Photo(textured(), Path("x"), "x"))
    drawing = stand_in.face_drawing() * stand_in.RADII[:2]
    pixels_per_metre = np.ptp(cutting.landmarks[:, 0]) / np.ptp(drawing[:, 0])
    radii = stand_in.RADII[:2] * pixels_per_metre  # of the egg, nearly
    assert cutting.mask.sum() / 255 == pytest.approx(np.pi * radii[0] * radii[1], rel=0.08)
    columns = np.flatnonzero(cutting.mask.any(axis=0))
    assert np.ptp(columns) == pytest.approx(2 * radii[0], rel=0.05)


def test_given_masks_are_cut_like_their_photos(run, photos, tmp_path):
    mask = np.zeros((280, 320), np.uint8)
    mask[:, :200] = 255
    write(tmp_path / "masks/anna/0.png", np.repeat(mask[..., None], 3, 2))
    write(tmp_path / "masks/ben/0.png", np.zeros((9, 9, 3), np.uint8))
    run(photos, "--masks", tmp_path / "masks")
    record = records_of(tmp_path / "set")["anna/0"]
    stored = cv2.imread(str(tmp_path / "set" / record.mask), cv2.IMREAD_GRAYSCALE)
    edge = 200 - int(record.to_source[1])
    assert stored[:, :edge].min() == 255
    assert stored[:, edge:].max() == 0
    assert "has 9 x 9 pixels, the photo 320 x 280" in problems_of(tmp_path / "set")["0.png"]


def test_bad_files_are_passed_over_counted_and_named(run, photos, tmp_path):
    good = write(photos / "anna/cut.png", textured(5)).read_bytes()
    (photos / "anna/cut.png").write_bytes(good[: len(good) // 2])
    (photos / "anna/raw.heic").write_bytes(b"x")
    (photos / "ben/empty.jpg").touch()
    (photos / "notes.txt").write_text("of no interest")
    write(photos / "nobody.png", textured(6))
    result = run(photos)
    assert len(records_of(tmp_path / "set")) == 6
    assert set(problems_of(tmp_path / "set")) == {"cut.png", "raw.heic", "empty.jpg", "nobody.png"}
    assert "Left out 4" in result.output
    assert "cut.png" in result.output
    run(photos, "--strict", code=1)


@pytest.mark.parametrize(
    ("pixels", "reason"),
    [
        (np.zeros((280, 320, 3), np.uint8), "no face found"),
        (textured(1, corner=(255, 0, 0)), "face of 3. pixels, smaller than 48"),
        (textured(1, corner=(0, 255, 0)), "another face of nearly the same size"),
        (cv2.GaussianBlur(textured(1), (0, 0), 6), "blurred: sharpness"),
    ],
)
def test_pictures_that_teach_nothing_are_rejected_with_the_reason(pack, pixels, reason):
    preparer = Preparer(load_pack(pack), PrepareSettings(limits=LENIENT))
    with pytest.raises(Rejected, match=reason):
        preparer.prepare(Photo(pixels, Path("x"), "x"))


def test_limits_on_score_and_disagreement_are_applied(pack):
    photo = Photo(textured(), Path("x"), "x")
    with pytest.raises(Rejected, match=r"face score 0.95\d below 0.99"):
        Preparer(load_pack(pack), PrepareSettings()).prepare(photo)
    strict = PrepareSettings(limits=QualityLimits(face_score=0, disagreement=0.0))
    with pytest.raises(Rejected, match="uncertain landmarks"):
        Preparer(load_pack(pack), strict).prepare(photo)


def test_rejected_pictures_are_counted_and_named(run, photos, tmp_path):
    write(photos / "anna/black.png", np.zeros((280, 320, 3), np.uint8))
    result = run(photos)
    assert problems_of(tmp_path / "set") == {"black": "no face found"}
    assert "not good enough: 1 x no face found" in result.output


def test_nothing_usable_ends_with_a_sentence_and_no_dataset(run, tmp_path):
    write(tmp_path / "photos/anna/black.png", np.zeros((280, 320, 3), np.uint8))
    result = run(tmp_path / "photos", code=1)
    assert "no face found (1)" in result.output
    assert not (tmp_path / "set/dataset.json").exists()


def test_videos_are_sampled_and_belong_to_one_person(run, tmp_path):
    (tmp_path / "photos").mkdir()
    writer = cv2.VideoWriter(
        str(tmp_path / "photos/dora.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 25, (320, 280)
    )
    for index in range(9):
        writer.write(textured(index)[..., ::-1] if index != 4 else np.zeros((280, 320, 3), np.uint8))
    writer.release()
    run(tmp_path / "photos", "--every", "4")
    records = records_of(tmp_path / "set")
    assert list(records) == ["dora/video_f000000", "dora/video_f000008"]
    assert records["dora/video_f000008"].frame == 8
    assert problems_of(tmp_path / "set") == {"video_f000004": "blurred: sharpness 0.0 below 15"}


def test_a_list_names_people_and_paths(run, photos, tmp_path):
    lines = ["# person, path", "x,photos/anna/0.png", "x\tphotos/ben/0.png", "", "y,photos/gone.png"]
    (tmp_path / "list.csv").write_text("\n".join(lines))
    run(tmp_path / "list.csv")
    records = records_of(tmp_path / "set")
    assert {record.person for record in records.values()} == {"x"}
    assert {Path(record.source).parent.name for record in records.values()} == {"anna", "ben"}
    assert list(problems_of(tmp_path / "set")) == ["gone.png"]


@pytest.mark.parametrize("line", ["no path", "../evil,a.png", ",a.png", ".hidden,a.png"])
def test_a_list_with_a_wrong_line_names_it(tmp_path, line):
    (tmp_path / "list.txt").write_text(f"# people\n{line}\n")
    with pytest.raises(InputError, match=r"list\.txt, line 2"):
        find_sources(tmp_path / "list.txt")


def test_photos_of_equal_names_stay_apart(tmp_path):
    for name in ("a.png", "a.jpg", "sub/a.png"):
        write(tmp_path / "photos/anna" / name, textured())
    names = [file.name for file in find_sources(tmp_path / "photos").files]
    assert len(set(names)) == 3
    assert "sub__a" in names


def test_what_a_killed_run_was_writing_is_taken_away(run, photos, tmp_path):
    run(photos)
    draft = tmp_path / "set/pictures/anna/.0.jpg.1234abcd.part"
    draft.touch()
    write(photos / "anna/9.png", textured(9))
    run(photos)
    assert not draft.exists()


def test_somebody_is_held_out_somebody_is_left_and_newcomers_move_nobody():
    people = [f"p{index}" for index in range(200)]
    chosen = held_out_people(people, 0.1, 0)
    assert 8 <= len(chosen) <= 35
    assert held_out_people(people[:150], 0.1, 0) == chosen & set(people[:150])
    assert held_out_people(people, 0.1, 1) != chosen
    assert len(held_out_people(people[:3], 1e-9, 0)) == 1
    assert len(held_out_people(people[:3], 0.999999, 0)) == 2
    assert held_out_people(people[:1], 0.999999, 0) <= {"p0"}
    assert held_out_people(people[:1], 0.999999, 0) == held_out_people(people, 0.0, 0) == set()


def test_folders_behind_links_count_once_even_if_they_lead_back(photos, tmp_path):
    (tmp_path / "all").mkdir()
    (tmp_path / "all/anna").symlink_to(photos / "anna")
    (photos / "anna/loop").symlink_to(tmp_path / "all")
    found = find_sources(tmp_path / "all")
    assert [(file.person, file.name) for file in found.files] == [("anna", "0"), ("anna", "1")]


def test_a_dataset_among_its_photos_is_refused(run, photos):
    result = run(photos, "-o", photos / "set", code=2)
    assert "would lie among the photos" in result.output
    assert not (photos / "set").exists()


def test_a_second_run_does_only_what_is_new_or_changed(run, photos, tmp_path):
    run(photos)
    stored = tmp_path / "set/pictures/anna/0.jpg"
    before = stored.stat().st_mtime_ns
    write(photos / "anna/9.png", textured(9))
    write(photos / "ben/0.png", textured(77))
    (tmp_path / "set/masks/cleo/1.png").unlink()
    result = run(photos)
    assert "7 (4 finished before)" in result.output
    assert stored.stat().st_mtime_ns == before
    assert len(records_of(tmp_path / "set")) == 7
    assert open_loader(tmp_path / "set", batch_size=1).people == 3 - 1


def test_other_settings_need_another_folder(run, photos):
    run(photos)
    result = run(photos, "--margin", "1.5", code=2)
    assert "other settings (margin)" in result.output


def test_half_a_line_at_the_end_of_the_journal_is_done_again(run, photos, tmp_path):
    run(photos)
    expected = (tmp_path / "set" / MANIFEST).read_bytes()
    journal = tmp_path / "set" / JOURNAL
    os.truncate(journal, journal.stat().st_size - 50)
    result = run(photos)
    assert "6 (5 finished before)" in result.output
    assert (tmp_path / "set" / MANIFEST).read_bytes() == expected
    assert "6 (6 finished before)" in run(photos).output


def test_a_run_that_is_killed_again_and_again_ends_in_the_same_dataset(run, photos, pack, tmp_path):
    for index in range(8):
        write(photos / f"p{index % 4}/{index}.png", textured(index))
    run(photos, "--held-out", "0.3")
    program = Path(__file__).with_name("kill_prepare.py")
    killed = tmp_path / "killed"
    done = subprocess.run(
        [sys.executable, program, photos, killed, pack, "6"],
        check=True,
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    counts = list(map(int, done.stdout.split()))
    assert len(counts) == 6
    assert counts == sorted(counts)
    assert 0 < counts[0] < 14
    assert (killed / MANIFEST).read_bytes() == (tmp_path / "set" / MANIFEST).read_bytes()
    files = {path.relative_to(killed) for path in killed.rglob("*") if path.is_file()}
    assert files == {
        path.relative_to(tmp_path / "set") for path in (tmp_path / "set").rglob("*") if path.is_file()
    }


def test_tars_are_written_beside_the_dataset(run, photos, tmp_path):
    run(photos, "--shards")
    loader = open_loader(tmp_path / "set-shards")
    assert next(loader.batches()).images.shape[:2] == (2, 2)
    assert loader.problems == {}


def test_real_photos_in_several_processes_give_good_labels(photos_dir, tmp_path):
    names = ("deca_aflw2000_image00302.jpg", "deca_aflw2000_image00480.jpg")
    truth = json.loads((photos_dir / "landmarks.json").read_text())
    for index, name in enumerate(names):
        folder = tmp_path / "photos" / f"p{index}"
        folder.mkdir(parents=True)
        (folder / name).write_bytes((photos_dir / "images" / name).read_bytes())
    words = ["train", "prepare", str(tmp_path / "photos")]
    words += [
        "-o",
        str(tmp_path / "set"),
        "--model",
        "open",
        "--device",
        "cpu",
        "--workers",
        "2",
        "--detector",
        "lbp",
    ]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    for record in records_of(tmp_path / "set").values():
        step, left, top = record.to_source
        entry = truth[Path(record.source).name]
        error = np.linalg.norm(record.landmarks * step + (left, top) - np.array(entry["landmarks"]), axis=1)
        side = (entry["bbox"][2] - entry["bbox"][0] + entry["bbox"][3] - entry["bbox"][1]) / 2
        assert error[np.array(entry["valid"])].mean() < 0.05 * side
    assert len(records_of(tmp_path / "set")) == 2
