"""Names, atomic writes and text formats of results."""

import errno
import json
import unicodedata
import zipfile
from pathlib import Path
from typing import NoReturn

import cv2
import numpy as np
import pytest

from deca_cli.errors import OutputError
from deca_cli.export import names as naming
from deca_cli.export.atomic import check_writable, make_folder, write_arrays, write_bytes, write_file
from deca_cli.export.names import MAX_BYTES, result_names
from deca_cli.export.obj import write_mtl, write_obj
from deca_cli.export.owner import claim_folder, is_owned_by
from deca_cli.export.params import as_stored, to_json
from deca_cli.export.pictures import resized, shrink, write_row
from deca_cli.npz import to_npz


def names(folder, *photos: str, output="out"):
    paths = [folder / photo for photo in photos]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return [options[0] for options in result_names(paths, folder / output)]


def test_a_single_photo_is_named_by_its_stem(tmp_path):
    assert names(tmp_path, "anna.jpg") == ["anna"]


def test_equal_stems_get_their_ending_then_their_folder(tmp_path):
    assert names(tmp_path, "a/x.jpg", "a/x.png", "a/y.png") == ["x_jpg", "x_png", "y"]
    assert names(tmp_path, "a/x.jpg", "b/x.jpg") == ["a_x", "b_x"]


def test_names_are_unique_also_where_case_does_not_count(tmp_path):
    given = names(tmp_path, "a/x.jpg", "b/X.JPG", "a_x.jpg", "a.x.png", "c/a/x.jpg")
    assert len({name.casefold() for name in given}) == 5


def test_names_do_not_depend_on_the_order_of_the_photos(tmp_path):
    photos = ["a/x.jpg", "b/x.jpg", "b/x.png", "z.jpg"]
    forwards = dict(zip(photos, names(tmp_path, *photos), strict=True))
    backwards = dict(zip(photos[::-1], names(tmp_path, *photos[::-1]), strict=True))
    assert forwards == backwards


def test_odd_characters_and_long_names_become_plain_folders(tmp_path):
    long, odd = names(tmp_path, "x" * 200 + ".jpg", "Ümläut, 日本 (1).jpeg")
    assert len(long) == MAX_BYTES
    assert odd == "Ümläut_日本_1"


def test_long_names_with_equal_beginnings_stay_apart(tmp_path):
    given = names(tmp_path, "x" * 200 + "1.jpg", "x" * 200 + "2.jpg")
    assert given[0] != given[1]


def test_a_folder_of_another_photo_is_not_taken_but_ones_own_is(tmp_path):
    (tmp_path / "out" / "x").mkdir(parents=True)
    claim_folder(tmp_path / "out", ["x"], tmp_path / "elsewhere" / "x.jpg")
    claim_folder(tmp_path / "out", ["y"], tmp_path / "y.jpg")
    assert names(tmp_path, "x.jpg") == ["x_jpg"]
    assert names(tmp_path, "y.jpg", "y.png") == ["y", "y_png"]


def test_only_folders_that_are_there_are_asked_whose_they_are(tmp_path, monkeypatch):
    out = tmp_path / "out"
    out.mkdir()
    given = names(tmp_path, "a/x.jpg", "a/Ä.jpg", "b/z.jpg")
    assert given == ["x", "Ä", "z"]
    claim_folder(out, ["x"], tmp_path / "elsewhere" / "x.jpg")
    claim_folder(out, [unicodedata.normalize("NFD", "ä")], tmp_path / "a" / "Ä.jpg")
    claim_folder(out, ["a_x_jpg"], tmp_path / "a" / "x.jpg")
    asked = []
    real = naming.owner_of
    monkeypatch.setattr(naming, "owner_of", lambda folder: asked.append(folder.name) or real(folder))
    assert names(tmp_path, "a/x.jpg", "a/Ä.jpg", "b/z.jpg")[0] == "a_x_jpg"
    assert asked == ["x", "a_x_jpg", "Ä"]  # the last one as some disks take it for the folder that is there


def test_a_folder_that_cannot_be_listed_is_asked_for_every_name(tmp_path, monkeypatch):
    claim_folder(tmp_path, ["x_jpg"], tmp_path / "x.jpg")

    def closed(_folder: Path) -> NoReturn:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(naming.os, "scandir", closed)
    assert names(tmp_path, "x.jpg", "y.jpg", output=".") == ["x_jpg", "y"]


def test_two_programs_that_mean_the_same_folder_get_different_ones(tmp_path):
    (tmp_path / "out").mkdir()
    photos = [tmp_path / "left" / "x.jpg", tmp_path / "right" / "x.jpg"]
    planned = [result_names([photo], tmp_path / "out")[0] for photo in photos]
    assert planned[0][0] == planned[1][0] == "x"
    folders = [
        claim_folder(tmp_path / "out", options, photo) for options, photo in zip(planned, photos, strict=True)
    ]
    assert [folder.name for folder in folders] == ["x", "x_jpg"]
    assert all(is_owned_by(folder, photo) for folder, photo in zip(folders, photos, strict=True))
    assert claim_folder(tmp_path / "out", planned[0], photos[0]) == folders[0]


def test_a_result_is_refused_where_every_name_is_taken(tmp_path):
    (tmp_path / "x").write_text("a file")
    (tmp_path / "x_jpg").mkdir()
    (tmp_path / "x_jpg" / "mine").touch()
    with pytest.raises(OutputError, match="holds something else"):
        claim_folder(tmp_path, ["x", "x_jpg"], tmp_path / "x.jpg")


def test_a_link_is_named_as_it_is_called_and_marks_stay_on_their_letters(tmp_path):
    (tmp_path / "real.jpg").touch()
    (tmp_path / "anna.jpg").symlink_to(tmp_path / "real.jpg")
    assert names(tmp_path, "anna.jpg", "Zoe\u0308.jpg", "हिन्दी.jpg") == ["anna", "Zo\u00eb", "हिन्दी"]


def test_a_failed_write_leaves_the_older_file_and_nothing_else(tmp_path):
    target = write_bytes(tmp_path / "file", b"old")

    def fill(stream) -> NoReturn:
        stream.write(b"new, but only half of")
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OutputError, match="the disk is full"):
        write_file(target, fill)
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


def test_why_a_write_failed_is_told_even_if_its_rest_cannot_be_removed(tmp_path, monkeypatch):
    def refuse(*_: object, **__: object) -> NoReturn:
        raise PermissionError(errno.EACCES, "Permission denied")

    def fill(_) -> NoReturn:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "unlink", refuse)
    with pytest.raises(OutputError, match="the disk is full"):
        write_file(tmp_path / "file", fill)
    with pytest.raises(OutputError, match="permission is denied"):
        check_writable(tmp_path)


def test_a_fault_while_writing_leaves_nothing_either(tmp_path):
    with pytest.raises(ZeroDivisionError):
        write_file(tmp_path / "file", lambda _: 1 / 0)
    assert list(tmp_path.iterdir()) == []


def test_a_writable_folder_is_made_and_left_empty(tmp_path):
    folder = check_writable(tmp_path / "a" / "b")
    assert folder.is_dir()
    assert list(folder.iterdir()) == []


def test_an_obj_holds_the_mesh_with_texture_coordinates_and_a_material_beside_it(tmp_path):
    vertices = np.array([[0, 0, 0], [1, 0, 0], [0, 0.25, 1 / 3]])
    uv = np.array([[0.5, 0.25], [1, 0], [0, 1], [0.1, 0.2]])
    path = write_obj(
        tmp_path / "x.obj",
        vertices,
        np.array([[0, 1, 2]]),
        uv,
        np.array([[3, 1, 2]]),
        material="skin",
        comments=["hi"],
    )
    assert path.read_text().splitlines() == [
        "# hi", "mtllib skin.mtl", "o x",
        "v 0.000000 0.000000 0.000000", "v 1.000000 0.000000 0.000000", "v 0.000000 0.250000 0.333333",
        "vt 0.500000 0.250000", "vt 1.000000 0.000000", "vt 0.000000 1.000000", "vt 0.100000 0.200000",
        "usemtl skin", "s 1", "f 1/4 2/2 3/3",
    ]  # fmt: skip


def test_a_material_names_its_picture_without_a_folder(tmp_path):
    lines = write_mtl(tmp_path / "skin.mtl", texture="skin.png").read_text().splitlines()
    assert lines[0] == "newmtl skin"
    assert lines[-1] == "map_Kd skin.png"


def test_json_has_a_line_per_field_and_refuses_nan():
    text = to_json({"a": np.array([1.5, 2]), "b": [{"c": 1}, {"c": 2}], "d": 0.1 + 0.2})
    assert text.splitlines()[1] == '  "a": [1.5, 2.0],'
    assert json.loads(text) == {"a": [1.5, 2.0], "b": [{"c": 1}, {"c": 2}], "d": 0.3}
    with pytest.raises(ValueError, match="JSON"):
        to_json({"a": np.array([np.nan])})


@pytest.mark.parametrize("shape", [(1000,), (250, 4), (10, 20, 5), (0,), (0, 3), (3, 0)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_arrays_are_json_of_their_rounded_numbers(shape, dtype):
    random = np.random.default_rng(0)
    values = (random.normal(size=shape) * 10.0 ** random.integers(-12, 12, shape)).astype(dtype)
    values.flat[::7] = np.round(values.flat[::7])
    expected = json.dumps(as_stored(values.tolist()))
    assert to_json({"a": {"b": values}}) == f'{{\n  "a": {{"b": {expected}}}\n}}\n'
    for bad in (np.nan, np.inf):
        with pytest.raises(ValueError, match="JSON"):
            to_json({"a": np.append(values, bad)})


def test_numbers_of_every_size_are_written_as_python_writes_them():
    values = np.array([0.0, -0.0, 1, -3, 1e6, 1234567, 12345678, 1e16, 1e-4, 1.25e-5, 0.1, 1 / 3, 9.9999999])
    expected = [float(f"{value:.7g}") for value in values]
    assert to_json({"a": values}) == f'{{\n  "a": {expected}\n}}\n'


@pytest.mark.filterwarnings("error")
def test_an_npz_is_read_by_numpy_and_is_a_whole_zip_file(tmp_path):
    arrays = {
        "flat": np.arange(7, dtype=np.float32),
        "turned": np.arange(12.0).reshape(3, 4).T,
        "single": np.asarray(np.nan),
        "empty": np.empty((0, 3), np.float64),
        "flags": np.array([True, False]),
        "texts": np.array(["jawOpen", "ü"]),
        "path": np.asarray("a" * 300),
        "many": np.zeros((1,) * 30, np.uint8),
    }
    path = write_arrays(tmp_path / "a.npz", arrays)
    assert path.read_bytes() == to_npz(arrays)
    with np.load(path, allow_pickle=False) as read:
        assert read.files == list(arrays)
        for name, array in arrays.items():
            assert read[name].dtype == array.dtype
            np.testing.assert_array_equal(read[name], array)
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        assert {entry.date_time for entry in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
    with pytest.raises(ValueError, match="object"):
        to_npz({"a": np.array([{}])})


def test_pictures_are_shrunk_only_where_they_are_larger():
    picture = np.zeros((40, 100, 3), np.uint8)
    assert shrink(picture, 100) is picture
    assert shrink(picture, 50).shape == (20, 50, 3)


def test_pictures_are_written_side_by_side_with_white_between_them(tmp_path):
    random = np.random.default_rng(0)
    one, two, three = (random.integers(0, 255, (7, width, 3), np.uint8) for width in (5, 9, 1))
    row = cv2.imread(str(write_row(tmp_path / "row.png", [one, two[:, ::-1], three], 2)))[..., ::-1]
    gap = np.full((7, 2, 3), 255, np.uint8)
    np.testing.assert_array_equal(row, np.concatenate([one, gap, two[:, ::-1], gap, three], axis=1))


@pytest.mark.parametrize("odd", [np.zeros((6, 9, 3), np.uint8), np.zeros((7, 9, 3), np.float32)])
def test_pictures_that_do_not_fit_into_one_row_are_refused(tmp_path, odd):
    with pytest.raises(ValueError, match="of one height"):
        write_row(tmp_path / "row.png", [np.zeros((7, 5, 3), np.uint8), odd], 2)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "size", [(70, 50), (140, 100), (75, 53), (90, 80), (200, 120), (33, 24), (35, 25), (20, 14)]
)
def test_a_picture_of_another_size_shows_the_same(size):
    down, right = np.indices((100, 140))
    picture = np.stack([right, down, down + right], axis=2).astype(np.uint8)
    original = picture.copy()
    other = resized(picture, size)
    assert other.shape == (size[1], size[0], 3)
    x, y = ((np.arange(count) + 0.5) * was / count - 0.5 for count, was in zip(size, (140, 100), strict=True))
    expected = np.stack(np.broadcast_arrays(x, y[:, None], x + y[:, None]), axis=2)
    assert np.abs(other - expected)[3:-3, 3:-3].max() < 1.1 + 0.5 * (size[0] < 70)  # rounded twice
    other[:] = 0
    np.testing.assert_array_equal(picture, original)


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs Linux's /proc, which takes no folders")
def test_a_place_that_takes_no_folders_is_said_to_be_one():
    with pytest.raises(OutputError, match="the folder above does not take new folders; choose another one"):
        make_folder(Path("/proc/foo"))
